// The system call table: one row a call, arguments converted by their C++ types.
//
// A family of calls is one file (sys_file.cpp, sys_signal.cpp ...) that ends with its rows:
//
//   const SyscallRow kSysFileRows[] = {full<sys_pread64>(17, "pread64"), partial<sys_fcntl>(72, "fcntl", "no leases"), ...};
//
// and is named in families.h. `table()` collects the families once at boot. A number without a row answers ENOSYS and is counted.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <type_traits>

#include "core/base/result.h"
#include "core/kernel/guest/registers.h"
#include "core/kernel/guest/user_memory.h"
#include "core/kernel/task/task.h"

namespace umk {

/// How far a call is supported.
enum class Support : uint8_t { Full, Partial };

using SyscallHandler = int64_t (*)(Task& task, const Registers& registers);

struct SyscallRow {
  uint16_t number;
  Support support;
  SyscallHandler handler;
  const char* name;
  const char* note;  // what is missing, for Support::Partial
};

namespace syscall_detail {

/// Takes the next argument registers for a parameter of type T.
template <typename T>
struct Argument {
  static constexpr unsigned kRegisters = 1;
  static T take(const Registers& registers, unsigned index) {
    const uint64_t raw = registers.argument(index);
    if constexpr (std::is_same_v<T, Fd>) {
      return Fd{static_cast<int>(raw)};
    } else if constexpr (std::is_integral_v<T>) {
      return static_cast<T>(raw);
    } else {
      return T(raw);  // UserPtr, UserString
    }
  }
};
/// Buffers are two arguments: address and size, which read(2) and write(2) cut to what fits in a positive int of whole pages.
template <typename T>
  requires(std::is_same_v<T, UserOutBuffer> || std::is_same_v<T, UserInBuffer>)
struct Argument<T> {
  static constexpr unsigned kRegisters = 2;
  static T take(const Registers& registers, unsigned index) {
    constexpr uint64_t kMaximum = 0x7ffff000;
    const uint64_t size = registers.argument(index + 1);
    return T(registers.argument(index), size < kMaximum ? size : kMaximum);
  }
};

template <typename T>
int64_t to_raw(Result<T> result) {
  if (!result.ok()) return -result.failure().code;
  if constexpr (std::is_void_v<T>) {
    return 0;
  } else if constexpr (std::is_same_v<T, Fd>) {
    return result.take().number;
  } else {
    return static_cast<int64_t>(result.take());
  }
}

template <auto kFunction>
struct Adapter;
template <typename R, typename... Arguments, R (*kFunction)(Task&, Arguments...)>
struct Adapter<kFunction> {
  static int64_t call(Task& task, const Registers& registers) {
    return call_with(task, registers, std::index_sequence_for<Arguments...>{});
  }
  template <size_t... kIndexes>
  static int64_t call_with(Task& task, [[maybe_unused]] const Registers& registers, std::index_sequence<kIndexes...>) {
    return to_raw(kFunction(task, Argument<std::remove_cvref_t<Arguments>>::take(registers, first_register<kIndexes>())...));
  }
  template <size_t kIndex>
  static constexpr unsigned first_register() {
    constexpr unsigned counts[] = {Argument<std::remove_cvref_t<Arguments>>::kRegisters..., 0};
    unsigned first = 0;
    for (size_t i = 0; i < kIndex; ++i) first += counts[i];
    return first;
  }
};

}  // namespace syscall_detail

template <auto kFunction>
constexpr SyscallRow full(uint16_t number, const char* name) {
  return {number, Support::Full, &syscall_detail::Adapter<kFunction>::call, name, ""};
}
template <auto kFunction>
constexpr SyscallRow partial(uint16_t number, const char* name, const char* note) {
  return {number, Support::Partial, &syscall_detail::Adapter<kFunction>::call, name, note};
}

}  // namespace umk

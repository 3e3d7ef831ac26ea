// Guest memory in the resident engine: plain accesses with fault recovery, behind the primitives of kernel/guest/user_memory.h.
#include "core/kernel/guest/user_memory.h"
#include "core/kernel/mm/address_space.h"
#include "core/kernel/task/task.h"
#include "engine/vessel/machine.h"

namespace umk {

namespace {

struct CopyResult {
  uint64_t remaining;
  uint64_t fault;
};

extern "C" {
CopyResult umk_user_copy(void* to, const void* from, uint64_t size);
CopyResult umk_user_zero(void* to, uint64_t size);
CopyResult umk_user_load_word(const void* address);
CopyResult umk_user_exchange_word(void* address, uint32_t expected, uint32_t desired);
CopyResult umk_user_string(char* to, const void* from, uint64_t size);
}

/// Brings the page of a faulting access in; false when the guest has no right to it.
bool resolve(uint64_t fault) {
  engine::Bundle& bundle = engine::Bundle::of(current_stack());
  if (!bundle.head.task || !is_user_range(fault, 1)) return false;
  bool is_mapped = false;
  return bundle.head.task->address_space().handle_fault(fault, bundle.trap.error_code, &is_mapped).ok();
}

/// Repeats `attempt(done)` until everything is copied or a fault cannot be resolved. `attempt` starts after the first `done` bytes.
template <typename Attempt>
CopyOutcome copy_with_recovery(size_t size, Attempt&& attempt) {
  size_t done = 0;
  uint64_t last_fault = 0;
  size_t last_done = 0;
  for (int repeats = 0;;) {
    const CopyResult result = attempt(done);
    done = size - result.remaining;
    if (result.fault == 0) return {size, false};
    // A page that faults again without any progress cannot be helped; a few repeats allow for races with other threads.
    repeats = result.fault == last_fault && done == last_done ? repeats + 1 : 0;
    if (repeats > 8 || !resolve(result.fault)) return {done, true};
    last_fault = result.fault;
    last_done = done;
  }
}

/// Has the processor look up the pages of a copy's source at once, which it would else do one after the other, each time it comes to the end of one: a sixth
/// of the time of a copy of 64 KiB. A prefetch never faults.
void look_up_pages(uint64_t from, size_t size) {
  constexpr size_t kMost = 64 << 10;
  if (size > kMost) size = kMost;
  for (size_t ahead = kPageSize; ahead < size; ahead += kPageSize) __builtin_prefetch(reinterpret_cast<const void*>(from + ahead));
}

}  // namespace

bool is_user_range(uint64_t address, uint64_t size) {
  uint64_t end;
  return !add_overflows(address, size, &end) && end <= layout::kUserEnd;
}

CopyOutcome copy_from_user(void* to, uint64_t from, size_t size) {
  if (!is_user_range(from, size)) return {0, true};
  look_up_pages(from, size);
  return copy_with_recovery(size, [&](size_t done) {
    return umk_user_copy(static_cast<std::byte*>(to) + done, reinterpret_cast<const void*>(from + done), size - done);
  });
}

CopyOutcome copy_to_user(uint64_t to, const void* from, size_t size) {
  if (!is_user_range(to, size)) return {0, true};
  look_up_pages(reinterpret_cast<uint64_t>(from), size);
  return copy_with_recovery(size, [&](size_t done) {
    return umk_user_copy(reinterpret_cast<void*>(to + done), static_cast<const std::byte*>(from) + done, size - done);
  });
}

CopyOutcome zero_user(uint64_t to, size_t size) {
  if (!is_user_range(to, size)) return {0, true};
  return copy_with_recovery(size, [&](size_t done) { return umk_user_zero(reinterpret_cast<void*>(to + done), size - done); });
}

Result<size_t> copy_string_from_user(char* to, uint64_t from, size_t size) {
  // The string may end before the guest's part does, so only the start is checked and the size is cut.
  if (from >= layout::kUserEnd) return error(EFAULT);
  const bool is_cut = size > layout::kUserEnd - from;
  const size_t limit = is_cut ? layout::kUserEnd - from : size;
  size_t done = 0;
  for (int repeats = 0; repeats < 64; ++repeats) {
    const CopyResult result = umk_user_string(to + done, reinterpret_cast<const void*>(from + done), limit - done);
    if (result.fault != 0) {
      done = limit - result.remaining;
      if (!resolve(result.fault)) return error(EFAULT);
      continue;
    }
    if (result.remaining == ~uint64_t{0}) return error(is_cut ? EFAULT : ENAMETOOLONG);
    return limit - result.remaining - 1;
  }
  return error(EFAULT);
}

Result<uint32_t> load_user_word(uint64_t address) {
  if (!is_user_range(address, 4)) return error(EFAULT);
  for (int repeats = 0; repeats < 8; ++repeats) {
    const CopyResult result = umk_user_load_word(reinterpret_cast<const void*>(address));
    if (result.fault == 0) return static_cast<uint32_t>(result.remaining);
    if (!resolve(result.fault)) break;
  }
  return error(EFAULT);
}

Result<uint32_t> compare_exchange_user_word(uint64_t address, uint32_t expected, uint32_t desired) {
  if (!is_user_range(address, 4)) return error(EFAULT);
  for (int repeats = 0; repeats < 8; ++repeats) {
    const CopyResult result = umk_user_exchange_word(reinterpret_cast<void*>(address), expected, desired);
    if (result.fault == 0) return static_cast<uint32_t>(result.remaining);
    if (!resolve(result.fault)) break;
  }
  return error(EFAULT);
}

}  // namespace umk

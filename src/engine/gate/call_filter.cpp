#include "engine/gate/call_filter.h"

#include <linux/filter.h>
#include <linux/seccomp.h>

#include <cstddef>

#include "core/host/calls.h"
#include "engine/vessel/host_numbers.h"

namespace umk::engine {

namespace {

extern "C" {
extern const char umk_host_call_instruction[], umk_clone_instruction[], umk_exit_thread_instruction[], umk_signal_return_instruction[];
}

constexpr uint32_t kArchX8664 = 0xc000003e;
constexpr uint64_t kSyscallInstructionBytes = 2;

constexpr sock_filter load(size_t offset) { return {BPF_LD | BPF_W | BPF_ABS, 0, 0, static_cast<uint32_t>(offset)}; }
constexpr sock_filter jump_if_equal(uint32_t value, uint8_t when_equal, uint8_t otherwise) { return {BPF_JMP | BPF_JEQ | BPF_K, when_equal, otherwise, value}; }
constexpr sock_filter answer(uint32_t action) { return {BPF_RET | BPF_K, 0, 0, action}; }

/// What the host shows as the place of a call: behind the instruction.
uint64_t place_of(const char* instruction) { return reinterpret_cast<uint64_t>(instruction) + kSyscallInstructionBytes; }
uint32_t low(uint64_t value) { return static_cast<uint32_t>(value); }

}  // namespace

void install_call_filter() {
  constexpr size_t kPlace = offsetof(seccomp_data, instruction_pointer);
  const uint64_t call = place_of(umk_host_call_instruction);
  sock_filter program[] = {
      load(offsetof(seccomp_data, arch)),
      jump_if_equal(kArchX8664, 0, 7),
      load(kPlace + 4),
      jump_if_equal(static_cast<uint32_t>(call >> 32), 0, 5),
      load(kPlace),
      jump_if_equal(low(call), 4, 0),
      jump_if_equal(low(place_of(umk_signal_return_instruction)), 3, 0),
      jump_if_equal(low(place_of(umk_clone_instruction)), 2, 0),
      jump_if_equal(low(place_of(umk_exit_thread_instruction)), 1, 0),
      answer(SECCOMP_RET_TRAP),
      answer(SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{static_cast<unsigned short>(sizeof program / sizeof program[0]), program};
  host::raw_call(kHostPrctl, kPrSetNoNewPrivileges, 1, 0, 0, 0);
  MUST(host::checked(host::raw_call(kHostSeccomp, SECCOMP_SET_MODE_FILTER, 0, reinterpret_cast<uint64_t>(&filter))), "the host offered seccomp at boot");
}

}  // namespace umk::engine

#include "engine/gate/call_filter.h"

#include <linux/filter.h>
#include <linux/seccomp.h>

#include <cstddef>
#include <iterator>

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

namespace {

/// A filter in the making.
class Program {
 public:
  void add(sock_filter instruction) {
    CHECK(length_ < kMaximum, "there is room for all calls of the table");
    instructions_[length_++] = instruction;
  }
  /// Refuses what is loaded unless it is `value`.
  void demand(uint32_t value) {
    add(jump_if_equal(value, 1, 0));
    add(answer(SECCOMP_RET_TRAP));
  }
  void allow_if(uint32_t value) {
    add(jump_if_equal(value, 0, 1));
    add(answer(SECCOMP_RET_ALLOW));
  }
  sock_fprog finished() { return {static_cast<unsigned short>(length_), instructions_}; }

 private:
  static constexpr size_t kMaximum = 2 * std::size(host::kCallTable) + 64;
  sock_filter instructions_[kMaximum];
  size_t length_ = 0;
};

constexpr uint32_t number_of(host::Call call) { return static_cast<uint32_t>(call); }

}  // namespace

void install_call_filter() {
  constexpr size_t kPlace = offsetof(seccomp_data, instruction_pointer), kNumber = offsetof(seccomp_data, nr);
  const struct {
    const char* instruction;
    host::Call call;
  } gate_calls[] = {{umk_signal_return_instruction, host::Call::RtSigreturn}, {umk_clone_instruction, host::Call::Clone}, {umk_exit_thread_instruction, host::Call::Exit}};
  const uint64_t place = place_of(umk_host_call_instruction);
  Program program;
  program.add(load(offsetof(seccomp_data, arch)));
  program.demand(kArchX8664);
  program.add(load(kPlace + 4));
  program.demand(static_cast<uint32_t>(place >> 32));
  program.add(load(kPlace));
  for (const auto& gate_call : gate_calls) {
    program.add(jump_if_equal(low(place_of(gate_call.instruction)), 0, 4));
    program.add(load(kNumber));
    program.demand(number_of(gate_call.call));
    program.add(answer(SECCOMP_RET_ALLOW));
  }
  program.demand(low(place));
  program.add(load(kNumber));
  for (const host::CallRow& row : host::kCallTable)
    if (row.maker == host::CallMaker::Kernel) program.allow_if(number_of(row.call));
  program.add(answer(SECCOMP_RET_TRAP));

  const sock_fprog filter = program.finished();
  host::raw_call(host::Call::Prctl, kPrSetNoNewPrivileges, 1, 0, 0, 0);
  MUST(host::checked(host::raw_call(host::Call::Seccomp, SECCOMP_SET_MODE_FILTER, 0, reinterpret_cast<uint64_t>(&filter))), "the host offered seccomp at boot");
}

}  // namespace umk::engine

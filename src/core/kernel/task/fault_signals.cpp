#include "core/kernel/task/signal_delivery.h"
#include "core/kernel/task/signals.h"

namespace umk {

namespace {

struct FaultSignal {
  int signal;
  int code;
  bool has_address;  // si_addr is the instruction
};

/// Exceptions other than page faults: Intel SDM 3A, 6.15, as Linux reports them.
FaultSignal signal_of_vector(unsigned vector, uint64_t reported_code) {
  switch (vector) {
    case 0:  return {signals::kFloatingPoint, signal_codes::kIntegerDivision, true};
    case 1:  return {signals::kTrap, signal_codes::kTrapTrace, true};
    case 3:  return {signals::kTrap, signal_codes::kKernel, false};
    case 6:  return {signals::kIllegal, signal_codes::kIllegalOperand, true};
    case 11: case 12: return {signals::kBus, signal_codes::kKernel, false};
    case 16: case 19: return {signals::kFloatingPoint, reported_code != 0 ? static_cast<int>(reported_code) : signal_codes::kFloatInvalid, true};
    case 17: return {signals::kBus, signal_codes::kBusAlignment, false};
    default: return {signals::kSegv, signal_codes::kKernel, false};
  }
}

constexpr unsigned kPageFault = 14;

}  // namespace

void deliver_fault(Task& task, const Trap& trap, bool is_mapped, bool is_beyond_file) {
  task.fault_vector = trap.vector;
  const bool is_float = trap.vector == 16 || trap.vector == 19;
  // What else the engine says in the error code is between it and the address space.
  constexpr uint64_t kProcessorBits = 0xff;
  task.fault_error = is_float ? 0 : trap.vector == kPageFault ? trap.error_code & kProcessorBits : trap.error_code;
  if (trap.vector == kPageFault) {
    task.fault_address = trap.address;
    // Guests see their own faults as faults of user mode.
    task.fault_error |= 4;
    SignalInfo info = is_beyond_file ? SignalInfo::from_kernel(signals::kBus, signal_codes::kBusAddress)
                                     : SignalInfo::from_kernel(signals::kSegv, is_mapped ? signal_codes::kSegvAccess : signal_codes::kSegvUnmapped);
    info.fault.address = trap.address;
    force_signal(task, info);
    return;
  }
  const FaultSignal fault = signal_of_vector(trap.vector, is_float ? trap.error_code : 0);
  SignalInfo info = SignalInfo::from_kernel(fault.signal, fault.code);
  if (fault.has_address) info.fault.address = task.registers().rip;
  force_signal(task, info);
}

}  // namespace umk

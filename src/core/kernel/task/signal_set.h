// Signals: numbers, sets, and the queued information of one signal. signal(7), sigaction(2).
#pragma once

#include <cstdint>

#include "core/base/list.h"

namespace umk {

namespace signals {
inline constexpr int kHangup = 1, kInterrupt = 2, kQuit = 3, kIllegal = 4, kTrap = 5, kAbort = 6, kBus = 7, kFloatingPoint = 8, kKill = 9, kUser1 = 10,
                     kSegv = 11, kUser2 = 12, kPipe = 13, kAlarm = 14, kTerminate = 15, kStackFault = 16, kChild = 17, kContinue = 18, kStop = 19,
                     kTerminalStop = 20, kTerminalIn = 21, kTerminalOut = 22, kUrgent = 23, kCpuLimit = 24, kFileSizeLimit = 25, kVirtualAlarm = 26,
                     kProfiling = 27, kWindowChange = 28, kIo = 29, kPower = 30, kBadCall = 31, kFirstRealtime = 32, kLast = 64;
}

/// A set of signals 1..64; bit n-1 is signal n, as in the guest's sigset_t.
struct SignalSet {
  uint64_t bits = 0;
  static constexpr SignalSet of(int signal) { return {uint64_t{1} << (signal - 1)}; }
  constexpr bool has(int signal) const { return (bits >> (signal - 1)) & 1; }
  constexpr void add(int signal) { bits |= uint64_t{1} << (signal - 1); }
  constexpr void remove(int signal) { bits &= ~(uint64_t{1} << (signal - 1)); }
  constexpr bool empty() const { return bits == 0; }
  friend constexpr SignalSet operator|(SignalSet a, SignalSet b) { return {a.bits | b.bits}; }
  friend constexpr SignalSet operator&(SignalSet a, SignalSet b) { return {a.bits & b.bits}; }
  friend constexpr SignalSet operator~(SignalSet a) { return {~a.bits}; }
};

/// si_code values: sigaction(2).
namespace signal_codes {
inline constexpr int kUser = 0, kKernel = 0x80, kQueue = -1, kTimer = -2, kMessageQueue = -3, kSigIo = -5, kThread = -6;
inline constexpr int kChildExited = 1, kChildKilled = 2, kChildDumped = 3, kChildTrapped = 4, kChildStopped = 5, kChildContinued = 6;
inline constexpr int kIllegalOperand = 2, kIntegerDivision = 1, kFloatInvalid = 7, kSegvUnmapped = 1, kSegvAccess = 2, kBusAlignment = 1,
                     kBusAddress = 2, kTrapBreakpoint = 1, kTrapTrace = 2;
}  // namespace signal_codes

/// What a signal does without a handler: signal(7).
enum class DefaultAction : uint8_t { Terminate, Core, Ignore, Stop, Continue };
constexpr DefaultAction default_action(int signal) {
  switch (signal) {
    case signals::kChild: case signals::kUrgent: case signals::kWindowChange: return DefaultAction::Ignore;
    case signals::kContinue: return DefaultAction::Continue;
    case signals::kStop: case signals::kTerminalStop: case signals::kTerminalIn: case signals::kTerminalOut: return DefaultAction::Stop;
    case signals::kQuit: case signals::kIllegal: case signals::kTrap: case signals::kAbort: case signals::kBus: case signals::kFloatingPoint:
    case signals::kSegv: case signals::kCpuLimit: case signals::kFileSizeLimit: case signals::kBadCall: return DefaultAction::Core;
    default: return DefaultAction::Terminate;
  }
}
inline constexpr SignalSet kStopSignals = {SignalSet::of(signals::kStop).bits | SignalSet::of(signals::kTerminalStop).bits |
                                           SignalSet::of(signals::kTerminalIn).bits | SignalSet::of(signals::kTerminalOut).bits};
/// Signals that cannot be blocked, caught or ignored.
inline constexpr SignalSet kUnblockable = {SignalSet::of(signals::kKill).bits | SignalSet::of(signals::kStop).bits};
/// Raised by the instruction that runs: taken before others.
inline constexpr SignalSet kSynchronous = {SignalSet::of(signals::kSegv).bits | SignalSet::of(signals::kBus).bits | SignalSet::of(signals::kIllegal).bits |
                                           SignalSet::of(signals::kTrap).bits | SignalSet::of(signals::kFloatingPoint).bits |
                                           SignalSet::of(signals::kBadCall).bits};

/// siginfo_t as guests see it: 128 bytes. Which members of the union count depends on the signal and code; sigaction(2).
struct SignalInfo {
  int32_t number = 0;
  int32_t error = 0;
  int32_t code = 0;
  int32_t padding = 0;
  union {
    struct {
      int32_t pid;
      uint32_t uid;
      union {
        uint64_t value;  // sigqueue
        struct {
          int32_t status;
          int32_t padding2;
          int64_t user_time, system_time;  // clock ticks, SIGCHLD
        } child;
      };
    } sender;
    struct {
      int32_t timer_id;
      int32_t overrun;
      uint64_t value;
    } timer;
    struct {
      uint64_t address;
      uint64_t extra[2];
    } fault;
    struct {
      int64_t band;
      int32_t fd;
    } io;
    struct {
      uint64_t call_address;
      int32_t call_number;
      uint32_t architecture;
    } bad_call;
    uint8_t bytes[112];
  };

  SignalInfo() : bytes{} {}
  static SignalInfo from_kernel(int signal, int code = 0x80) {
    SignalInfo info;
    info.number = signal;
    info.code = code;
    return info;
  }
  static SignalInfo from_user(int signal, int code, int32_t pid, uint32_t uid) {
    SignalInfo info = from_kernel(signal, code);
    info.sender.pid = pid;
    info.sender.uid = uid;
    return info;
  }
};
static_assert(sizeof(SignalInfo) == 128);

}  // namespace umk

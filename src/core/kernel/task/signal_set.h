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

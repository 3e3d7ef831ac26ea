#pragma once
// The frame of an attack program.
//
// A program is a list of attacks on the kernel that shares its address space. Each runs in a machine of its own, as `PROGRAM NAME`: beside it
// runs a victim, another guest process with a secret, and the attack itself is made in child processes that may die of it. An
// attack is stopped when its processes were killed or got the errno that they ought to, when the victim then still has what it had, and nobody
// else got it. Then the program prints "stopped" and ends with 0; tests/attack/attack.py sees to it that the machine lives too.
//
//   ATTACK(read_kernel_data, Needs::Keys) {
//     const Ended ended = attempt([] { peek(kKernelData); });
//     if (!ended.was_killed()) broken("the read went through");
//   }
//
// `PROGRAM list` tells the attacks and what each needs. No program of these may contain WRPKRU, at any offset: a kernel that scans text for it
// would not run it, and what is tested here is everything else.

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <initializer_list>
#include <string>
#include <vector>

#include "core/kernel/mm/layout.h"

namespace attack {

/// What must be there for the attack to make sense: protection keys and a kernel behind them, or nothing.
enum class Needs { Nothing, Keys };

/// The attack went through: says how, and ends with 1.
[[noreturn]] __attribute__((format(printf, 1, 2))) void broken(const char* format, ...);
/// The test itself cannot go on: ends with 2.
[[noreturn]] void cannot(const char* what);
inline long must(const char* what, long value) {
  if (value < 0) cannot(what);
  return value;
}
/// The whole of what there is to try, and not a sample: set by the environment variable ATTACK_ALL.
bool is_thorough();

/// How an attempt ended.
struct Ended {
  int status;
  bool timed_out;
  bool was_killed() const { return WIFSIGNALED(status) && !timed_out; }
  bool exited_with(int code) const { return WIFEXITED(status) && WEXITSTATUS(status) == code; }
};
std::string to_text(const Ended& ended);

/// Exit codes of attempts that got what they must not get.
enum : int { kGotRights = 77, kGotMemory = 78, kGotHost = 79, kGotWrongResult = 80 };
const char* loot_of(const Ended& ended);  // nullptr when it got nothing

pid_t start(void (*body)(void*), void* argument);
Ended finish(pid_t child, int milliseconds);
/// Runs `body` in a child process; 0 is its exit code when it returns.
template <typename Body>
Ended attempt(Body body, int milliseconds = 10000) {
  return finish(start([](void* pointer) { (*static_cast<Body*>(pointer))(); }, &body), milliseconds);
}

/// True when the byte can be read, or written with what it held; faults are caught.
bool can_read(uint64_t address);
bool can_write(uint64_t address);
/// One word of memory without catching faults.
inline uint64_t peek(uint64_t address) { return *reinterpret_cast<volatile uint64_t*>(address); }

/// Makes a system call with a `syscall` instruction that was never called before and that no kernel patches: its bytes are fresh.
long fresh_call(long number, long a = 0, long b = 0, long c = 0, long d = 0, long e = 0, long f = 0);
/// True when a fresh `syscall` instruction is answered by the host rather than by the guest's kernel: their releases differ.
bool calls_reach_host();

/// False on a plain Linux, where the programs run too, to be checked themselves.
bool in_guest();
bool has_keys();
uint32_t read_pkru();
/// Has this thread more rights than guests have? Ends the process with one of the codes above then.
void check_rights();

inline uint64_t read_gs_base() {
  uint64_t base;
  asm volatile("rdgsbase %0" : "=r"(base));
  return base;
}
inline void write_gs_base(uint64_t base) { asm volatile("wrgsbase %0" ::"r"(base)); }

inline void sleep_ms(long ms) {
  timespec time{ms / 1000, ms % 1000 * 1000000};
  while (nanosleep(&time, &time) != 0 && errno == EINTR) {
  }
}

/// The victim's secret: a word that memory, a file and a pipe of the victim are full of.
extern uint64_t secret;
/// True when the bytes hold the secret anywhere.
bool holds_secret(const void* bytes, size_t size);

struct Attack {
  const char* name;
  Needs needs;
  void (*run)();
  Attack* next = nullptr;
};
struct Register : Attack {
  Register(const char* attack_name, Needs what, void (*function)());
};

}  // namespace attack

#define ATTACK(name, needs)                                                   \
  static void name##_attack();                                                \
  static attack::Register name##_entry(#name, attack::needs, &name##_attack); \
  static void name##_attack()

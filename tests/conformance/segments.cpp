// arch_prctl: FS and GS base, in the way of programs that keep something of their own there.
#include "check.h"

#include <asm/prctl.h>
#include <pthread.h>

namespace {

long get(int code) {
  unsigned long value = 0;
  if (syscall(SYS_arch_prctl, code, &value) != 0) return -1;
  return static_cast<long>(value);
}
unsigned long block[8] = {11, 22, 33, 44};
unsigned long load(int index) {
  unsigned long value = 0;
  asm volatile("movq %%gs:(%1), %0" : "=r"(value) : "r"(static_cast<unsigned long>(index) * 8));
  return value;
}

}  // namespace

CASE(gs_base) {
  shown("at the start", get(ARCH_GET_GS));
  shown("set", syscall(SYS_arch_prctl, ARCH_SET_GS, block));
  shown("get", get(ARCH_GET_GS) == reinterpret_cast<long>(block));
  shown("load", static_cast<long>(load(1)));
  for (int i = 0; i < 1000; i++) getppid();
  shown("after many calls", static_cast<long>(load(2)));
  in_child("in a child", [] { shown("load", static_cast<long>(load(3))); });
  signal(SIGUSR1, [](int) { shown("in a handler", static_cast<long>(load(0))); });
  raise(SIGUSR1);
  pthread_t thread;
  pthread_create(
      &thread, nullptr,
      [](void*) -> void* {
        shown("a thread has the same at first", get(ARCH_GET_GS) == reinterpret_cast<long>(block));
        static unsigned long own[4] = {5, 6, 7, 8};
        syscall(SYS_arch_prctl, ARCH_SET_GS, own);
        for (int i = 0; i < 100; i++) sched_yield();
        shown("own", static_cast<long>(load(1)));
        return nullptr;
      },
      nullptr);
  pthread_join(thread, nullptr);
  shown("main keeps its own", static_cast<long>(load(1)));
  shown("kernel address", syscall(SYS_arch_prctl, ARCH_SET_GS, 0xffff800000000000));
  shown("bad pointer", syscall(SYS_arch_prctl, ARCH_GET_GS, bad()));
  shown("unknown code", syscall(SYS_arch_prctl, 0x9999, 0));
  in_child("exec starts at 0", [] { check::self("gs"); });
  shown("back to 0", syscall(SYS_arch_prctl, ARCH_SET_GS, 0));
  shown("get", get(ARCH_GET_GS));
}

CHILD(gs) { shown("gs", get(ARCH_GET_GS)); }

CASE(killed_with_a_gs_base) {
  // What a process had in the register when it was killed is nobody's afterwards.
  for (int i = 0; i < 8; i++) {
    const pid_t child = fork();
    if (child == 0) {
      syscall(SYS_arch_prctl, ARCH_SET_GS, block);
      for (volatile int forever = 1; forever;) {
      }
    }
    usleep(2000);
    kill(child, SIGKILL);
    int status = 0;
    waitpid(child, &status, 0);
    const pid_t program = vfork();
    if (program == 0) check::self("gs");
    waitpid(program, &status, 0);
    shown("ended", status);
  }
}

CASE(gs_by_instruction) {
  // wrgsbase, where the host lets programs use it (AT_HWCAP2 bit 1).
  unsigned eax = 0;
  asm volatile("" : "+r"(eax));
  if ((getenv("UMK_NO_FSGSBASE") != nullptr)) return;
  unsigned long value = 0;
  asm volatile("wrgsbase %0" ::"r"(block));
  shown("load", static_cast<long>(load(2)));
  for (int i = 0; i < 100; i++) getppid();
  asm volatile("rdgsbase %0" : "=r"(value));
  shown("kept", value == reinterpret_cast<unsigned long>(block));
  shown("arch_prctl agrees", get(ARCH_GET_GS) == reinterpret_cast<long>(block));
}

CASE(fs_base) {
  const long own = get(ARCH_GET_FS);
  shown("thread pointer", own == static_cast<long>(__builtin_ia32_rdfsbase64()));
  shown("kernel address", syscall(SYS_arch_prctl, ARCH_SET_FS, 0xffff800000000000));
  shown("set to the same", syscall(SYS_arch_prctl, ARCH_SET_FS, own));
}

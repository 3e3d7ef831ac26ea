/* Preloaded into Debian's User Mode Linux 6.1, which keeps 2,696 bytes of a process's extended state and cannot start where the host's
 * state is larger (with AMX it is 11,008 bytes): PTRACE_SETREGSET refuses less than all of it. The rest is set to zero: no component beyond
 * those 2,696 bytes is in use. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/uio.h>

#define LARGEST 16384

long ptrace(enum __ptrace_request request, ...) {
  static long (*real)(enum __ptrace_request, pid_t, void*, void*);
  static char whole[LARGEST] __attribute__((aligned(64)));
  static size_t whole_bytes;
  va_list list;
  va_start(list, request);
  const pid_t pid = va_arg(list, pid_t);
  void* const address = va_arg(list, void*);
  void* const data = va_arg(list, void*);
  va_end(list);
  if (!real) *(void**)&real = dlsym(RTLD_NEXT, "ptrace");

  if (address == (void*)NT_X86_XSTATE && request == PTRACE_GETREGSET && !whole_bytes) {
    struct iovec all = {whole, sizeof whole};
    if (real(request, pid, address, &all) == 0) whole_bytes = all.iov_len;
  }
  struct iovec* const part = data;
  if (address == (void*)NT_X86_XSTATE && request == PTRACE_SETREGSET && part->iov_len < whole_bytes) {
    memset(whole, 0, whole_bytes);
    memcpy(whole, part->iov_base, part->iov_len);
    struct iovec all = {whole, whole_bytes};
    return real(request, pid, address, &all);
  }
  return real(request, pid, address, data);
}

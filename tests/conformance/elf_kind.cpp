// One source, linked in several ways: what a new program finds.
#include "check.h"

#include <elf.h>
#include <link.h>
#include <sys/auxv.h>

extern "C" char** environ;

namespace {

int initialised = 0;
__attribute__((constructor)) void construct() { initialised++; }
thread_local int local = 17;
int data = 4;
int zero[5000];

}  // namespace

CASE(start) {
  say("constructor %d thread-local %d data %d bss %d", initialised, local, data, zero[4999]);
  say("page size %lu", getauxval(AT_PAGESZ));
  say("clock ticks %lu", getauxval(AT_CLKTCK));
  say("uid %lu euid %lu gid %lu egid %lu secure %lu", getauxval(AT_UID), getauxval(AT_EUID), getauxval(AT_GID), getauxval(AT_EGID), getauxval(AT_SECURE));
  say("platform %s", reinterpret_cast<char*>(getauxval(AT_PLATFORM)));
  const char* name = reinterpret_cast<char*>(getauxval(AT_EXECFN));
  say("name %s", strrchr(name, '/') != nullptr ? strrchr(name, '/') + 1 : name);
  const auto* random = reinterpret_cast<const unsigned char*>(getauxval(AT_RANDOM));
  int sum = 0;
  for (int i = 0; i < 16; i++) sum += random[i];
  say("random %d", sum != 0);
  say("entry %d headers %lu of %lu base %d", getauxval(AT_ENTRY) != 0, getauxval(AT_PHNUM), getauxval(AT_PHENT), getauxval(AT_BASE) != 0);
  say("hwcap %d", getauxval(AT_HWCAP) != 0);
  const auto* headers = reinterpret_cast<const ElfW(Phdr)*>(getauxval(AT_PHDR));
  for (unsigned long i = 0; i < getauxval(AT_PHNUM); i++) {
    if (headers[i].p_type == PT_LOAD) say("load %c%c%c", headers[i].p_flags & 4 ? 'r' : '-', headers[i].p_flags & 2 ? 'w' : '-', headers[i].p_flags & 1 ? 'x' : '-');
  }
  uintptr_t stack = reinterpret_cast<uintptr_t>(__builtin_frame_address(0));
  say("frame is aligned %d", stack % 16 == 0);
  say("argv ends %d", check::arguments[check::argument_count] == nullptr);
}

CASE(maps) {
  // What stands in /proc/self/maps of the program's own file.
  char target[4096];
  snprintf(target, sizeof target, "%s", strrchr(check::program, '/'));
  FILE* file = fopen("/proc/self/maps", "r");
  char line[4600];
  bool stack = false;
  bool vdso = false;
  while (file != nullptr && fgets(line, sizeof line, file) != nullptr) {
    char mode[8] = "";
    char name[4096] = "";
    sscanf(line, "%*s %7s %*s %*s %*s %4095s", mode, name);
    if (strstr(name, target) != nullptr) say("own file %s", mode);
    stack = stack || strcmp(name, "[stack]") == 0;
    vdso = vdso || strcmp(name, "[vdso]") == 0;
  }
  say("stack %d vdso %d", stack, vdso);
}

CASE(write_to_text) {
  in_child("text is read-only", [] { *reinterpret_cast<volatile char*>(reinterpret_cast<uintptr_t>(&check::run)) = 0; });
  in_child("constants are read-only", [] { *const_cast<volatile char*>("constant") = 0; });
  const int fd = open(check::program, O_WRONLY);
  shown("open for writing while it runs", fd);
}

// mmap, munmap, mremap, mprotect, madvise, brk, mincore, mlock: anonymous memory.
#include "check.h"

#include <sys/mman.h>
#include <sys/resource.h>

namespace {

char* map(size_t size, int protection = PROT_READ | PROT_WRITE, int flags = MAP_PRIVATE | MAP_ANONYMOUS) {
  return static_cast<char*>(mmap(nullptr, size, protection, flags, -1, 0));
}
void shown_map(const char* what, const void* result) { shown(what, result == MAP_FAILED ? -1 : 0); }

// Whether the kernel can read a byte there, without a signal.
bool readable(const void* address) {
  static int p[2] = {-1, -1};
  if (p[0] < 0) pipe(p);
  if (write(p[1], address, 1) != 1) return false;
  char c = 0;
  read(p[0], &c, 1);
  return true;
}

// Protections of the areas from address on, as /proc/self/maps tells them: "rw-p 3 pages".
void shown_areas(const char* what, const char* from, size_t pages) {
  char line[512] = "";
  char text[512];
  FILE* file = fopen("/proc/self/maps", "r");
  const uintptr_t first = reinterpret_cast<uintptr_t>(from);
  const uintptr_t last = first + pages * 4096;
  while (file != nullptr && fgets(text, sizeof text, file) != nullptr) {
    unsigned long begin = 0;
    unsigned long end = 0;
    char mode[8] = "";
    if (sscanf(text, "%lx-%lx %7s", &begin, &end, mode) != 3 || end <= first || begin >= last) continue;
    if (begin < first) begin = first;
    if (end > last) end = last;
    snprintf(line + strlen(line), 40, " %s*%lu@%lu", mode, (end - begin) / 4096, (begin - first) / 4096);
  }
  if (file != nullptr) fclose(file);
  say("%s:%s", what, line);
}

}  // namespace

CASE(mapping) {
  char* a = map(16384);
  shown("zero", a[0] + a[16383]);
  a[5000] = 7;
  shown("unmap the middle", munmap(a + 4096, 4096));
  say("%d %d %d", readable(a), readable(a + 4096), readable(a + 8192));
  shown_areas("areas", a, 4);
  char* again = static_cast<char*>(mmap(a + 4096, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  shown("fixed", again == a + 4096);
  shown("fresh", again[904]);
  shown_map("noreplace on something", mmap(a, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
  munmap(a, 4096);
  shown("noreplace on nothing", mmap(a, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0) == a);
  shown_map("hint is taken", mmap(a + 1 * 4096, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  shown_map("fixed, not aligned", mmap(a + 5, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  shown_map("length 0", mmap(nullptr, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  shown_map("neither shared nor private", mmap(nullptr, 4096, PROT_READ, MAP_ANONYMOUS, -1, 0));
  shown_map("too large", mmap(nullptr, size_t{1} << 48, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  shown_map("huge length", mmap(nullptr, ~size_t{0}, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  shown_map("beyond the address space", mmap(reinterpret_cast<void*>(0x7ffffffff000), 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  shown_map("kernel's half", mmap(reinterpret_cast<void*>(0xffff800000000000), 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
  shown_map("bad descriptor", mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE, 99, 0));
  shown_map("anonymous ignores the descriptor", mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, 99, 0));
  shown_map("odd length", mmap(nullptr, 4097, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  shown("unmap nothing", munmap(a, 0));
  shown("unmap not aligned", munmap(a + 1, 4096));
  shown("unmap free space", munmap(a, 4096) + munmap(a, 4096));
  shown("unmap too much", munmap(a, ~size_t{4095}));
  shown("below 4 GiB on request", reinterpret_cast<uintptr_t>(map(4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT)) < (1UL << 31));
  char* large = map(size_t{1} << 34, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
  shown("16 GiB reserved", large != MAP_FAILED);
  shown("part of it", mprotect(large + (size_t{1} << 33), 8192, PROT_READ | PROT_WRITE));
  large[size_t{1} << 33] = 1;
  shown("grow down", map(4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_GROWSDOWN) != MAP_FAILED);
  shown("populate", map(65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE) != MAP_FAILED);
}

CASE(unmapping_everything) {
  constexpr unsigned long kEnd = 0x7ffffffff000;
  shown("beyond the end", syscall(SYS_munmap, 0, kEnd + 4096));
  shown("at the end", syscall(SYS_munmap, kEnd, 4096));
  in_child("all", [] { syscall(SYS_munmap, 0, kEnd); });
}

CASE(protection) {
  char* a = map(5 * 4096);
  memset(a, 'x', 5 * 4096);
  shown("read", mprotect(a + 4096, 4096, PROT_READ));
  shown("none", mprotect(a + 3 * 4096, 4096, PROT_NONE));
  shown_areas("areas", a, 5);
  say("%d %d %d", readable(a + 4096), readable(a + 3 * 4096), readable(a + 4 * 4096));
  shown("back", mprotect(a, 5 * 4096, PROT_READ | PROT_WRITE));
  shown_areas("areas", a, 5);
  shown("content", a[3 * 4096] == 'x');
  shown("not aligned", mprotect(a + 1, 4096, PROT_READ));
  shown("length 0", mprotect(a, 0, PROT_READ));
  shown("bad bits", mprotect(a, 4096, 0x100));
  munmap(a + 2 * 4096, 4096);
  shown("over a hole", mprotect(a, 5 * 4096, PROT_READ));
  shown_areas("before the hole it acted", a, 5);
  shown("free space", mprotect(a + 2 * 4096, 4096, PROT_READ));
  shown("grow flags both", mprotect(a, 4096, PROT_READ | PROT_GROWSDOWN | PROT_GROWSUP));
}

CASE(remapping) {
  char* a = map(8192);
  strcpy(a, "first");
  strcpy(a + 4096, "second");
  char* b = static_cast<char*>(mremap(a, 8192, 65536, MREMAP_MAYMOVE));
  shown_map("grow", b);
  say("%s %s %d", b, b + 4096, b[65535]);
  shown("shrink", mremap(b, 65536, 4096, 0) == b);
  say("%d %d", readable(b), readable(b + 4096));
  char* target = map(16384);
  char* c = static_cast<char*>(mremap(b, 4096, 8192, MREMAP_MAYMOVE | MREMAP_FIXED, target));
  shown("to a fixed place", c == target);
  say("%s, old %d", c, readable(b));
  shown_map("fixed without may-move", mremap(c, 4096, 4096, MREMAP_FIXED, b));
  shown_map("overlap", mremap(c, 8192, 8192, MREMAP_MAYMOVE | MREMAP_FIXED, c + 4096));
  shown_map("not aligned", mremap(c + 1, 4096, 8192, MREMAP_MAYMOVE));
  shown_map("new size 0", mremap(c, 4096, 0, MREMAP_MAYMOVE));
  shown_map("old size 0 of private", mremap(c, 0, 4096, MREMAP_MAYMOVE));
  shown_map("unmapped", mremap(b, 4096, 8192, MREMAP_MAYMOVE));
  shown_map("bad flags", mremap(c, 4096, 8192, 64));
  char* wall = map(3 * 4096);
  shown_map("cannot grow in place", mremap(wall, 4096, 8192, 0));
  munmap(wall + 4096, 4096);
  shown_map("room to grow in place", mremap(wall, 4096, 8192, 0));
  char* kept = map(8192);
  strcpy(kept, "kept");
  // The library hands over an address only with MREMAP_FIXED; the kernel looks at it here too.
  char* moved = reinterpret_cast<char*>(syscall(SYS_mremap, kept, 8192, 8192, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0));
  shown_map("do not unmap", moved);
  if (moved != MAP_FAILED) say("%s, old is zero %d", moved, kept[0] == 0);
  char* shared = map(8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
  strcpy(shared, "twice");
  char* second = static_cast<char*>(mremap(shared, 0, 8192, MREMAP_MAYMOVE));
  shown_map("duplicate of shared memory", second);
  if (second != MAP_FAILED) {
    shared[0] = 'T';
    say("%s", second);
  }
}

CASE(advice) {
  char* a = map(16384);
  memset(a, 'y', 16384);
  shown("dontneed", madvise(a, 8192, MADV_DONTNEED));
  say("%d %c", a[0], a[8192]);
  shown("free", madvise(a + 8192, 4096, MADV_FREE));
  a[8192] = 'z';
  say("%c", a[8192]);
  for (const int advice : {MADV_NORMAL, MADV_RANDOM, MADV_SEQUENTIAL, MADV_WILLNEED, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_DONTDUMP, MADV_COLD}) {
    char what[32];
    snprintf(what, sizeof what, "advice %d", advice);
    shown(what, madvise(a, 16384, advice));
  }
  shown("unknown", madvise(a, 4096, 9999));
  shown("not aligned", madvise(a + 1, 4096, MADV_DONTNEED));
  shown("length 0", madvise(a, 0, MADV_DONTNEED));
  munmap(a + 4096, 4096);
  shown("over a hole", madvise(a, 16384, MADV_DONTNEED));
  say("%d %d", a[0], a[8192]);
  char* shared = map(8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS);
  shared[0] = 's';
  shown("dontneed of shared keeps", madvise(shared, 8192, MADV_DONTNEED));
  say("%c", shared[0]);
  shown("remove", madvise(shared, 8192, MADV_REMOVE));
  say("%d", shared[0]);
  shown("populate write", madvise(a, 4096, MADV_POPULATE_WRITE));
}

CASE(program_break) {
  char* start = static_cast<char*>(sbrk(0));
  shown("grow", brk(start + 100000));
  start[99999] = 1;
  shown("rest of the page", start[100001]);
  shown("shrink", brk(start + 5000));
  shown("grow again", brk(start + 100000));
  shown("zero again", start[99999]);
  shown("impossible", brk(reinterpret_cast<void*>(0x7fffffffffff)));
  shown("below the start answers the old one", syscall(SYS_brk, 0x1000) == reinterpret_cast<long>(start + 100000));
  rlimit limit{1 << 20, 1 << 20};
  setrlimit(RLIMIT_DATA, &limit);
  shown("limit", brk(start + (64 << 20)));
}

CASE(residency_and_locks) {
  unsigned char state[4] = {9, 9, 9, 9};
  char* a = map(16384);
  a[0] = 1;
  a[8192] = 1;
  shown("mincore", mincore(a, 16384, state));
  say("%d %d %d %d", state[0] & 1, state[1] & 1, state[2] & 1, state[3] & 1);
  shown("not aligned", mincore(a + 1, 4096, state));
  shown("bad vector", mincore(a, 4096, bad<unsigned char>()));
  munmap(a + 4096, 4096);
  shown("hole", mincore(a, 16384, state));
  shown("mlock", mlock(a, 4096));
  shown("mlock hole", mlock(a, 16384));
  shown("munlock", munlock(a, 4096));
  shown("mlock2 on fault", mlock2(a, 4096, MLOCK_ONFAULT));
  shown("mlock2 bad", mlock2(a, 4096, 77));
  shown("mlockall bad", mlockall(0));
  shown("mlockall", mlockall(MCL_CURRENT));
  shown("munlockall", munlockall());
  in_child("limit", [] {
    setresuid(65534, 65534, 65534);
    rlimit limit{8192, 8192};
    setrlimit(RLIMIT_MEMLOCK, &limit);
    char* m = map(65536);
    shown("within", mlock(m, 8192));
    shown("over", mlock(m, 65536));
  });
  shown("msync anonymous", msync(a, 4096, MS_SYNC));
  shown("msync hole", msync(a, 16384, MS_SYNC));
  shown("msync both", msync(a, 4096, MS_SYNC | MS_ASYNC));
  shown("msync bad", msync(a, 4096, 64));
  shown("membarrier query", syscall(SYS_membarrier, 0, 0, 0) > 0);
}

CASE(stack_growth) {
  struct Stack {
    static int use(int depth) {
      volatile char frame[16384];
      frame[0] = static_cast<char>(depth);
      frame[16383] = 1;
      return depth == 0 ? frame[0] : use(depth - 1) + frame[16383];
    }
  };
  shown("six megabytes", Stack::use(380));
  in_child("limit", [] {
    rlimit limit{256 << 10, 256 << 10};
    setrlimit(RLIMIT_STACK, &limit);
    Stack::use(380);
  });
}

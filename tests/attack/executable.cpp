// Executable pages: who may change them, and when. What the host's own tables then say is checked from outside (attack.py, host_view).
#include <atomic>

#include "attack.h"

using namespace attack;

namespace {

constexpr size_t kPage = 4096;

// mov $value,%eax; ret
void put_function(void* at, uint32_t value) {
  const unsigned char code[] = {0xb8,
                                static_cast<unsigned char>(value),
                                static_cast<unsigned char>(value >> 8),
                                static_cast<unsigned char>(value >> 16),
                                static_cast<unsigned char>(value >> 24),
                                0xc3};
  memcpy(at, code, sizeof code);
}
uint32_t call(void* at) { return reinterpret_cast<uint32_t (*)()>(at)(); }

std::string file_with_function(const char* name, uint32_t value) {
  const int fd = static_cast<int>(must("open", open(name, O_RDWR | O_CREAT | O_TRUNC, 0700)));
  unsigned char page[kPage] = {};
  put_function(page, value);
  must("write", write(fd, page, sizeof page));
  close(fd);
  return name;
}

}  // namespace

// A thread writes while another makes the page executable and runs it. Both work, as they do for a compiler that does so; what runs is always
// a whole function that was there, and no write gets lost.
ATTACK(exec_toctou, Needs::Nothing) {
  const Ended ended = attempt(
      [] {
        static void* page = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        put_function(page, 7);
        static std::atomic<bool> stop{false};
        static std::atomic<long> writes{0};
        pthread_t writer;
        pthread_create(
            &writer, nullptr,
            [](void*) -> void* {
              // The immediate operand alone, in one store.
              static sigjmp_buf refused;
              struct sigaction action = {};
              action.sa_handler = [](int) { siglongjmp(refused, 1); };
              action.sa_flags = SA_NODEFER;
              sigaction(SIGSEGV, &action, nullptr);
              volatile uint32_t value = 0;
              sigsetjmp(refused, 0);
              while (!stop) {
                value = value + 1;
                *reinterpret_cast<volatile unsigned char*>(static_cast<char*>(page) + 1) = static_cast<unsigned char>(value);
                writes++;
              }
              return nullptr;
            },
            nullptr);
        for (int i = 0; i < 3000; i++) {
          const int protection = i % 3 == 0 ? PROT_READ | PROT_EXEC : PROT_READ | PROT_WRITE | PROT_EXEC;
          must("mprotect", mprotect(page, kPage, protection));
          if (call(page) > 255) _exit(kGotWrongResult);
          if (i % 3 == 2) must("mprotect", mprotect(page, kPage, PROT_READ | PROT_WRITE));
        }
        stop = true;
        pthread_join(writer, nullptr);
        _exit(writes > 0 ? 0 : 3);
      },
      60000);
  if (const char* loot = loot_of(ended)) broken("%s", loot);
  if (!ended.exited_with(0)) broken("%s", to_text(ended).c_str());
}

// Memory that one process has executable and another writes: the program works as on Linux, or is refused; it never runs half of one and half of
// the other.
ATTACK(exec_shared_alias, Needs::Nothing) {
  const int fd = static_cast<int>(must("memfd", syscall(SYS_memfd_create, "alias", 0)));
  must("ftruncate", ftruncate(fd, kPage));
  void* writable = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  put_function(writable, 1);
  int to[2], from[2];
  must("pipe", pipe(to));
  must("pipe", pipe(from));
  struct Lines {
    int fd, in, out, not_ours;
  } lines{fd, to[0], from[1], to[1]};
  const pid_t child = start(
      [](void* argument) {
        const Lines& l = *static_cast<Lines*>(argument);
        close(l.not_ours);
        void* code = mmap(nullptr, kPage, PROT_READ | PROT_EXEC, MAP_SHARED, l.fd, 0);
        if (code == MAP_FAILED) _exit(40);
        uint32_t round = 0;
        while (read(l.in, &round, sizeof round) == sizeof round) {
          const uint32_t got = call(code);
          if (write(l.out, &got, sizeof got) != sizeof got) _exit(41);
        }
      },
      &lines);
  close(to[0]);
  close(from[1]);
  long stale = 0;
  for (uint32_t round = 1; round <= 200; round++) {
    put_function(writable, round);
    uint32_t got = 0;
    if (write(to[1], &round, sizeof round) != sizeof round || read(from[0], &got, sizeof got) != sizeof got) break;
    if (got != round) stale++;
  }
  close(to[1]);
  const Ended ended = finish(child, 10000);
  printf("%s, %ld stale runs\n", to_text(ended).c_str(), stale);
  if (ended.timed_out) broken("%s", to_text(ended).c_str());
  if (stale > 0 && ended.exited_with(0)) broken("%ld of 200 runs were of old code", stale);
}

// A file that is mapped for execution is changed by pwrite, by another mapping, and cut; with the mapping private and shared.
ATTACK(exec_hostfs_change, Needs::Nothing) {
  for (const int flags : {MAP_PRIVATE, MAP_SHARED}) {
    const Ended ended = attempt([=] {
      const std::string name = file_with_function("text", 5);
      const int fd = open(name.c_str(), O_RDWR);
      void* code = mmap(nullptr, kPage, PROT_READ | PROT_EXEC, flags, fd, 0);
      if (code == MAP_FAILED) _exit(40);
      if (call(code) != 5) _exit(kGotWrongResult);
      unsigned char bytes[6];
      put_function(bytes, 6);
      must("pwrite", pwrite(fd, bytes, sizeof bytes, 0));
      const uint32_t after = call(code);
      // Old or new, but whole.
      if (after != 5 && after != 6) _exit(kGotWrongResult);
      // read(2) sees the file's own bytes, and a new mapping runs them.
      unsigned char seen[6];
      if (pread(fd, seen, sizeof seen, 0) != sizeof seen || memcmp(seen, bytes, sizeof seen) != 0) _exit(kGotWrongResult);
      void* writable = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
      if (writable == MAP_FAILED) _exit(41);
      put_function(writable, 9);
      const uint32_t again = call(code);
      if (again != 5 && again != 6 && again != 9) _exit(kGotWrongResult);
      if (*reinterpret_cast<volatile unsigned char*>(writable) != 0xb8) _exit(kGotWrongResult);
      // Executable by mprotect of a shared writable mapping.
      if (mprotect(writable, kPage, PROT_READ | PROT_EXEC) == 0 && call(writable) != 9) _exit(kGotWrongResult);
      _exit(0);
    });
    printf("%s mapping: %s\n", flags == MAP_SHARED ? "shared" : "private", to_text(ended).c_str());
    if (const char* loot = loot_of(ended)) broken("%s", loot);
    if (ended.exited_with(40)) continue;  // refused
    if (!ended.exited_with(0)) broken("%s", to_text(ended).c_str());
  }
}

// Execute-only memory makes a host allocate a key of its own accord; the guest's rights must not change by it, nor open anything.
ATTACK(exec_only_pkey, Needs::Nothing) {
  const uint32_t before = read_pkru();
  void* page = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  put_function(page, 3);
  must("mprotect", mprotect(page, kPage, PROT_EXEC));
  if (call(page) != 3) broken("execute-only code does not run");
  void* mapped = mmap(nullptr, kPage, PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) cannot("mmap");
  if (!in_guest()) return;
  if (read_pkru() != before) broken("PKRU was %x and is %x", before, read_pkru());
  if (has_keys() && !can_read(reinterpret_cast<uint64_t>(page))) broken("the page has a key of its own");
}

// READ_IMPLIES_EXEC would make every mapping executable behind the kernel's back.
ATTACK(read_implies_exec, Needs::Nothing) {
  if (!in_guest()) return;
  constexpr long kReadImpliesExec = 0x0400000;
  syscall(SYS_personality, kReadImpliesExec);
  const Ended ended = attempt([] {
    void* page = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    put_function(page, 4);
    mprotect(page, kPage, PROT_READ);
    _exit(call(page) == 4 ? kGotWrongResult : 3);
  });
  // Linux obeys the personality and runs the code; here both are fine, as long as the kernel made the page executable itself (host_view).
  printf("%s\n", to_text(ended).c_str());
}

namespace {

/// A page of memory that this process and its child share, writable at one place and executable at another, and what was done to it last.
struct Double {
  char* writable;
  char* executable;
  bool was_executed;
};

std::vector<Double> map_doubles() {
  const int fd = static_cast<int>(must("memfd", syscall(SYS_memfd_create, "doubles", 0)));
  must("ftruncate", ftruncate(fd, 4 * kPage));
  auto* writable = static_cast<char*>(mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
  auto* executable = static_cast<char*>(mmap(nullptr, 4 * kPage, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0));
  if (writable == MAP_FAILED || executable == MAP_FAILED) cannot("map memory twice");
  std::vector<Double> doubles;
  for (uint32_t i = 0; i < 4; i++) {
    doubles.push_back({writable + i * kPage, executable + i * kPage, i % 2 == 1});
    put_function(doubles.back().writable, i);
    if (i > 0 && call(doubles.back().executable) != i) broken("the code of page %u does not run", i);
    if (i == 2) put_function(doubles.back().writable, 9);
  }
  return doubles;
}

}  // namespace

// Holds what the host's tables are looked at for: pages in every state of being written and executed, in several processes and threads. Says
// which doubly mapped pages were executed last and which written ("code ADDRESS" and "data ADDRESS" of the mapping that has the right), then "ready", and
// stays until its input ends.
ATTACK(hold_executable, Needs::Nothing) {
  const std::vector<Double> doubles = map_doubles();
  const int shared = static_cast<int>(must("memfd", syscall(SYS_memfd_create, "alias", 0)));
  must("ftruncate", ftruncate(shared, 16 * kPage));
  const std::string name = file_with_function("held", 5);
  const int file = static_cast<int>(must("open", open(name.c_str(), O_RDWR)));
  const int constant = static_cast<int>(must("open", open(name.c_str(), O_RDONLY)));
  const auto hold = [&] {
    for (const int protection : {PROT_EXEC, PROT_READ | PROT_EXEC, PROT_READ | PROT_WRITE | PROT_EXEC}) {
      void* page = mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      put_function(page, 3);
      must("mprotect", mprotect(page, 4 * kPage, protection));
      if (call(page) != 3) broken("code does not run");
      if ((protection & PROT_WRITE) != 0) {
        put_function(static_cast<char*>(page) + kPage, 4);
        if (call(static_cast<char*>(page) + kPage) != 4) broken("code does not run");
        put_function(static_cast<char*>(page) + 2 * kPage, 4);
        call(page);
      }
      for (const int fd : {shared, file, constant}) {
        for (const int flags : {MAP_SHARED, MAP_PRIVATE}) {
          void* map = mmap(nullptr, kPage, protection, flags, fd, 0);
          if (map == MAP_FAILED) continue;
          // Some run before they are written, some are written only.
          if (flags == MAP_PRIVATE && fd == constant && call(map) != 5) broken("code does not run");
          if ((protection & PROT_WRITE) != 0) put_function(map, 6);
          if (fd != shared || (protection & PROT_WRITE) != 0) call(map);
        }
      }
    }
    void* unwritten = mmap(nullptr, kPage, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE, constant, 0);
    if (unwritten != MAP_FAILED && call(unwritten) != 5) broken("code does not run");
    void* writable = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, shared, 0);
    put_function(writable, 8);
    void* code = mmap(nullptr, kPage, PROT_READ | PROT_EXEC, MAP_SHARED, shared, 0);
    if (code != MAP_FAILED) call(code);
  };
  hold();
  struct Held {
    decltype(hold)* run;
    const std::vector<Double>* doubles;
    int line[2];
  } held{&hold, &doubles, {}};
  must("pipe", pipe(held.line));
  const pid_t child = start(
      [](void* argument) {
        auto& h = *static_cast<Held*>(argument);
        (*h.run)();
        // The parent executed this page, and the child turns it.
        put_function((*h.doubles)[1].writable, 77);
        pthread_t thread;
        pthread_create(
            &thread, nullptr, [](void*) -> void* { return pause(), nullptr; }, nullptr);
        must("write", write(h.line[1], "r", 1));
        pause();
      },
      &held);
  char byte;
  must("read", read(held.line[0], &byte, 1));
  for (const Double& page : doubles) {
    const bool is_code = page.was_executed && &page != &doubles[1];
    printf(is_code ? "code %lx\n" : "data %lx\n", reinterpret_cast<unsigned long>(is_code ? page.executable : page.writable));
  }
  printf("ready\n");
  fflush(stdout);
  while (read(0, &byte, 1) > 0) {
  }
  kill(child, SIGKILL);
  finish(child, 1000);
}

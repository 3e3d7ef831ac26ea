// The memory of other processes: /proc/PID/mem, process_vm_readv(2), environ and cmdline of others, files that are cut while others map them.
#include "check.h"

#include <elf.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include <atomic>

namespace {

constexpr size_t kPage = 4096;

volatile int number = 1;
char text[64] = "before";

struct Channel {
  int to_child[2], to_parent[2];
  Channel() {
    pipe(to_child);
    pipe(to_parent);
  }
  void tell_parent() { write(to_parent[1], "p", 1); }
  void tell_child() { write(to_child[1], "c", 1); }
  long wait_for_parent() {
    char c = 0;
    return read(to_child[0], &c, 1);
  }
  void wait_for_child() {
    char c = 0;
    if (read(to_parent[0], &c, 1) != 1) say("the child is gone");
  }
};

int open_memory(pid_t pid, int flags) {
  char name[64];
  snprintf(name, sizeof name, "/proc/%d/mem", pid);
  return open(name, flags);
}

off_t at(const volatile void* address) { return static_cast<off_t>(reinterpret_cast<uintptr_t>(address)); }

long read_process(pid_t pid, void* into, const volatile void* from, size_t length) {
  iovec local{into, length}, remote{const_cast<void*>(from), length};
  return process_vm_readv(pid, &local, 1, &remote, 1, 0);
}

long write_process(pid_t pid, const void* from, volatile void* to, size_t length) {
  iovec local{const_cast<void*>(from), length}, remote{const_cast<void*>(to), length};
  return process_vm_writev(pid, &local, 1, &remote, 1, 0);
}

char* map(size_t pages, int protection, int flags, int fd = -1) {
  void* place = mmap(nullptr, pages * kPage, protection, flags, fd, 0);
  if (place == MAP_FAILED) {
    say("CANNOT map: %s", check::error_name(errno));
    _exit(97);
  }
  return static_cast<char*>(place);
}

sigjmp_buf back;
const char* touch(volatile char* address, bool to_write = false) {
  const auto handler = [](int signal_number) { siglongjmp(back, signal_number); };
  signal(SIGBUS, handler);
  signal(SIGSEGV, handler);
  const int caught = sigsetjmp(back, 1);
  if (caught != 0) return sigabbrev_np(caught);
  if (to_write) *address = 'w';
  static char shown_bytes[16][8];
  static unsigned next = 0;
  char* const shown_byte = shown_bytes[next++ % 16];
  const char byte = *address;
  snprintf(shown_byte, sizeof shown_bytes[0], "%02x", static_cast<unsigned char>(byte));
  return shown_byte;
}

void finish(pid_t child) {
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  shown_status("child", status);
}

__attribute__((noinline, noclone)) int answer() {
  int value;
  asm volatile("movl $0x11223344, %0" : "=r"(value));
  return value;
}

}  // namespace

CASE(asleep) {
  Channel channel;
  const pid_t child = fork();
  if (child == 0) {
    strcpy(text, "in the child");
    number = 7;
    channel.tell_parent();
    // Its sleep is not ended by those who look.
    shown("slept", channel.wait_for_parent());
    say("number %d text '%s'", number, text);
    _exit(0);
  }
  channel.wait_for_child();
  sleep_ms(20);
  const int memory = ifd("open", open_memory(child, O_RDWR));
  char buffer[64] = "";
  shown("read", pread(memory, buffer, sizeof text, at(text)));
  say("'%s', here '%s'", buffer, text);
  shown("write", pwrite(memory, "by the parent", 14, at(text)));
  const int nine = 9;
  shown("call", write_process(child, &nine, &number, sizeof nine));
  int seen = 0;
  shown("read back", read_process(child, &seen, &number, sizeof seen));
  say("seen %d here %d", seen, number);
  sleep_ms(20);
  channel.tell_child();
  finish(child);
}

CASE(running) {
  Channel channel;
  const pid_t child = fork();
  if (child == 0) {
    channel.tell_parent();
    while (number != 42) {
    }
    _exit(42);
  }
  channel.wait_for_child();
  const int wanted = 42;
  shown("write", write_process(child, &wanted, &number, sizeof wanted));
  finish(child);
}

CASE(threads) {
  Channel channel;
  const pid_t child = fork();
  if (child == 0) {
    pthread_t spinner;
    pthread_create(&spinner, nullptr, [](void*) -> void* {
      while (number != 3) {
      }
      return nullptr;
    }, nullptr);
    channel.tell_parent();
    shown("slept", channel.wait_for_parent());
    pthread_join(spinner, nullptr);
    say("number %d", number);
    _exit(0);
  }
  channel.wait_for_child();
  const int memory = open_memory(child, O_RDWR);
  for (int i = 0; i < 1000; i++) {
    if (pread(memory, const_cast<int*>(&number), 0, at(&number)) != 0) say("empty read failed");
    int seen = 0;
    if (pread(memory, &seen, sizeof seen, at(&number)) != sizeof seen || seen != 1) say("seen %d", seen);
  }
  const int three = 3;
  shown("write", pwrite(memory, &three, sizeof three, at(&number)));
  channel.tell_child();
  finish(child);
}

CASE(leader_is_gone) {
  // The first thread has ended, the process lives on.
  static Channel channel;
  static auto* const other = reinterpret_cast<std::atomic<pid_t>*>(map(1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS));
  const pid_t child = fork();
  if (child == 0) {
    pthread_t thread;
    pthread_create(&thread, nullptr, [](void*) -> void* {
      sleep_ms(30);
      other->store(gettid());
      channel.tell_parent();
      channel.wait_for_parent();
      say("number %d", number);
      _exit(0);
    }, nullptr);
    syscall(SYS_exit, 0);
  }
  channel.wait_for_child();
  // The first thread has no memory any more; the living one is asked.
  int seen = 0;
  const int five = 5;
  shown("of the first", read_process(child, &seen, &number, sizeof seen));
  shown("read", read_process(other->load(), &seen, &number, sizeof seen));
  shown("write", write_process(other->load(), &five, &number, sizeof five));
  channel.tell_child();
  finish(child);
}

CASE(protections) {
  Channel channel;
  char* const area = map(6, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
  const int file = open("f", O_CREAT | O_RDWR, 0600);
  ftruncate(file, kPage);
  pwrite(file, "file", 4, 0);
  const int read_only_file = open("f", O_RDONLY);
  char* const shared = map(1, PROT_READ, MAP_SHARED, read_only_file);
  char* const shared_writable = map(1, PROT_READ, MAP_SHARED, file);
  char* const private_file = map(1, PROT_READ, MAP_PRIVATE, read_only_file);
  const pid_t child = fork();
  if (child == 0) {
    for (int i = 0; i < 6; i++) area[i * kPage] = static_cast<char>('a' + i);
    mprotect(area + kPage, kPage, PROT_READ);
    mprotect(area + 2 * kPage, kPage, PROT_NONE);
    mprotect(area + 3 * kPage, kPage, PROT_READ | PROT_EXEC);
    munmap(area + 4 * kPage, kPage);
    mprotect(area + 5 * kPage, kPage, PROT_READ | PROT_WRITE | PROT_EXEC);
    channel.tell_parent();
    channel.wait_for_parent();
    for (const int i : {0, 1, 2, 3, 4, 5}) say("page %d: %s, written %s", i, touch(area + i * kPage), touch(area + i * kPage + 1, true));
    say("private file %.4s", private_file);
    _exit(0);
  }
  channel.wait_for_child();
  const int memory = open_memory(child, O_RDWR);
  char byte = 0;
  for (int i = 0; i < 6; i++) {
    say("page %d", i);
    byte = 0;
    shown("mem read", pread(memory, &byte, 1, at(area + i * kPage)));
    say("byte %02x", byte);
    shown("mem write", pwrite(memory, "M", 1, at(area + i * kPage)));
    shown("call read", read_process(child, &byte, area + i * kPage, 1));
    shown("call write", write_process(child, "V", area + i * kPage, 1));
  }
  shown("shared, read only", pwrite(memory, "M", 1, at(shared)));
  shown("shared, not writable", pwrite(memory, "M", 1, at(shared_writable)));
  shown("private file", pwrite(memory, "PRIV", 4, at(private_file)));
  char buffer[8] = "";
  pread(file, buffer, 4, 0);
  say("file %s", buffer);
  char across[2 * kPage];
  shown("into the gap", pread(memory, across, sizeof across, at(area + 3 * kPage + 100)));
  shown("call into the gap", read_process(child, across, area + 3 * kPage + 100, sizeof across));
  shown("low", pread(memory, &byte, 1, 16));
  shown("no place for it", pread(memory, bad(), 1, at(area)));
  channel.tell_child();
  finish(child);
}

CASE(code) {
  Channel channel;
  const pid_t child = fork();
  if (child == 0) {
    say("before %x", static_cast<unsigned>(answer()));
    channel.tell_parent();
    channel.wait_for_parent();
    say("after %x", static_cast<unsigned>(answer()));
    _exit(0);
  }
  channel.wait_for_child();
  const int memory = open_memory(child, O_RDWR);
  const auto* const start = reinterpret_cast<const unsigned char*>(reinterpret_cast<uintptr_t>(&answer));
  size_t place = 0;
  const unsigned char pattern[4] = {0x44, 0x33, 0x22, 0x11};
  while (place < 64 && memcmp(start + place, pattern, 4) != 0) place++;
  shown("write", pwrite(memory, "\xdd\xcc\xbb\xaa", 4, at(start + place)));
  shown("call write", write_process(child, "\x01\x02\x03\x04", const_cast<unsigned char*>(start + place), 4));
  unsigned char seen[4] = {};
  shown("read", pread(memory, seen, 4, at(start + place)));
  say("%02x %02x", seen[0], seen[3]);
  say("here %x", static_cast<unsigned>(answer()));
  channel.tell_child();
  finish(child);
}

CASE(code_of_library) {
  // What is shown is the file's, whatever is done to run it.
  Channel channel;
  const pid_t child = fork();
  if (child == 0) {
    getppid();
    channel.tell_parent();
    channel.wait_for_parent();
    say("parent %d", getppid() > 0);
    _exit(0);
  }
  channel.wait_for_child();
  const int memory = open_memory(child, O_RDWR);
  const auto* const start = reinterpret_cast<const unsigned char*>(reinterpret_cast<uintptr_t>(&getppid));
  unsigned char bytes[16] = {};
  shown("read", pread(memory, bytes, sizeof bytes, at(start)));
  bool has_call = false;
  for (int i = 0; i < 15; i++) has_call = has_call || (bytes[i] == 0x0f && bytes[i + 1] == 0x05);
  bool has_number = false;
  for (int i = 0; i < 12; i++) has_number = has_number || (bytes[i] == 0xb8 && bytes[i + 1] == 110);
  say("call %d number %d", has_call, has_number);
  // A debugger's breakpoint and its removal.
  unsigned char old = bytes[0];
  shown("write", pwrite(memory, "\xcc", 1, at(start)));
  shown("back", pwrite(memory, &old, 1, at(start)));
  channel.tell_child();
  finish(child);
}

CASE(positions) {
  const int memory = ifd("own", open("/proc/self/mem", O_RDWR));
  shown("seek", lseek(memory, 4096, SEEK_SET));
  shown("seek", lseek(memory, 100, SEEK_CUR));
  shown("seek to the end", lseek(memory, 0, SEEK_END));
  char buffer[16] = "";
  lseek(memory, at(text), SEEK_SET);
  shown("read", read(memory, buffer, 6));
  say("%s, moved %d", buffer, lseek(memory, 0, SEEK_CUR) == at(text) + 6);
  shown("write", write(memory, "!", 1));
  say("%s", text);
  struct stat st{};
  fstat(memory, &st);
  say("mode %o", st.st_mode);
}

CASE(ranges) {
  Channel channel;
  const pid_t child = fork();
  if (child == 0) {
    channel.tell_parent();
    channel.wait_for_parent();
    say("%s", text);
    _exit(0);
  }
  channel.wait_for_child();
  char a[4] = "", b[8] = "";
  iovec local[2] = {{a, 3}, {b, 7}};
  iovec remote[3] = {{text, 2}, {text + 3, 2}, {text + 1, 3}};
  shown("readv", process_vm_readv(child, local, 2, remote, 3, 0));
  say("%s %s", a, b);
  iovec into[2] = {{text + 8, 2}, {text + 20, 9}};
  local[0] = {const_cast<char*>("XY"), 2};
  local[1] = {const_cast<char*>("12345"), 5};
  shown("writev", process_vm_writev(child, local, 2, into, 2, 0));
  remote[1].iov_base = bad();
  local[0] = {a, 3};
  local[1] = {b, 7};
  shown("a bad one in the middle", process_vm_readv(child, local, 2, remote, 3, 0));
  remote[0].iov_base = bad();
  shown("a bad one first", process_vm_readv(child, local, 2, remote, 3, 0));
  shown("flags", process_vm_readv(child, local, 2, remote, 3, 1));
  shown("too many", process_vm_readv(child, local, 2000, remote, 1, 0));
  shown("too many there", process_vm_readv(child, local, 1, remote, 2000, 0));
  shown("nothing", process_vm_readv(child, local, 0, remote, 1, 0));
  shown("nothing there", process_vm_readv(child, local, 1, remote, 0, 0));
  shown("nobody", process_vm_readv(999999, local, 1, remote, 1, 0));
  remote[0].iov_len = static_cast<size_t>(-1);
  shown("negative", process_vm_readv(child, local, 1, remote, 1, 0));
  shown("self", read_process(getpid(), a, text, 3));
  channel.tell_child();
  finish(child);
}

CASE(strangers) {
  Channel channel;
  const pid_t child = fork();
  if (child == 0) {
    channel.tell_parent();
    channel.wait_for_parent();
    _exit(0);
  }
  channel.wait_for_child();
  in_child("stranger", [&] {
    setresgid(65534, 65534, 65534);
    setresuid(65534, 65534, 65534);
    shown("open", open_memory(child, O_RDONLY));
    char byte = 0;
    shown("call", read_process(child, &byte, text, 1));
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/environ", child);
    shown("environ", open(name, O_RDONLY));
  });
  channel.tell_child();
  finish(child);
}

CHILD(waiting_program) {
  // Descriptors 10 and 11 lead to the parent.
  char c = 0;
  write(10, "p", 1);
  read(11, &c, 1);
}

CASE(other_program) {
  Channel channel;
  const pid_t child = fork();
  if (child == 0) {
    channel.tell_parent();
    channel.wait_for_parent();
    dup2(channel.to_parent[1], 10);
    dup2(channel.to_child[0], 11);
    clearenv();
    setenv("COLOUR", "green", 1);
    setenv("EMPTY", "", 1);
    check::self("waiting_program", "an argument");
  }
  channel.wait_for_child();
  const int memory = open_memory(child, O_RDONLY);
  char byte = 0;
  shown("before", pread(memory, &byte, 1, at(text)));
  channel.tell_child();
  channel.wait_for_child();
  shown("after exec", pread(memory, &byte, 1, at(text)));
  for (const char* what : {"environ", "cmdline"}) {
    char name[64];
    snprintf(name, sizeof name, "/proc/%d/%s", child, what);
    const int file = ifd(what, open(name, O_RDONLY));
    char content[4096 + 64];
    const ssize_t length = read(file, content, sizeof content);
    // Without the program's own name.
    const char* start = content;
    if (strcmp(what, "cmdline") == 0) start = content + strlen(content) + 1;
    shown_data(what, start, length - (start - content));
  }
  char name[64];
  snprintf(name, sizeof name, "/proc/%d/auxv", child);
  const int file = ifd("auxv", open(name, O_RDONLY));
  Elf64_auxv_t auxiliary[64];
  const ssize_t length = read(file, auxiliary, sizeof auxiliary);
  for (size_t i = 0; i < static_cast<size_t>(length) / sizeof auxiliary[0]; i++) {
    if (auxiliary[i].a_type == AT_PAGESZ) say("page size %lu", auxiliary[i].a_un.a_val);
    if (auxiliary[i].a_type == AT_UID) say("uid %lu", auxiliary[i].a_un.a_val);
  }
  channel.tell_child();
  finish(child);
  shown("after its end", pread(memory, &byte, 1, at(text)));
  shown("call", read_process(child, &byte, text, 1));
}

CASE(zombie) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  siginfo_t info{};
  waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT);
  char byte = 0;
  shown("call", read_process(child, &byte, text, 1));
  char name[64];
  snprintf(name, sizeof name, "/proc/%d/cmdline", child);
  const int file = open(name, O_RDONLY);
  shown("cmdline", read(file, &byte, 1));
  finish(child);
}

CASE(lent) {
  // A vfork child runs in its parent's memory.
  Channel channel;
  const pid_t child = fork();
  if (child == 0) {
    number = 20;
    const pid_t borrower = vfork();
    if (borrower == 0) {
      channel.tell_parent();
      char c = 0;
      syscall(SYS_read, channel.to_child[0], &c, 1);
      _exit(number);
    }
    int status = 0;
    waitpid(borrower, &status, 0);
    say("borrower %d number %d", WEXITSTATUS(status), number);
    _exit(0);
  }
  channel.wait_for_child();
  const int twentyone = 21;
  int seen = 0;
  shown("read", read_process(child, &seen, &number, sizeof seen));
  say("%d", seen);
  shown("write", write_process(child, &twentyone, &number, sizeof twentyone));
  channel.tell_child();
  finish(child);
}

CASE(cut_file) {
  for (const bool is_running : {false, true}) {
    say("running %d", is_running);
    Channel channel;
    const int file = open("f", O_CREAT | O_TRUNC | O_RDWR, 0600);
    ftruncate(file, 4 * kPage);
    for (int i = 0; i < 4; i++) pwrite(file, "0123" + i, 1, i * static_cast<off_t>(kPage));
    struct Shared {
      std::atomic<int> go;
    };
    auto* const flags = reinterpret_cast<Shared*>(map(1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS));
    const pid_t child = fork();
    if (child == 0) {
      char* const shared = map(4, PROT_READ | PROT_WRITE, MAP_SHARED, file);
      char* const mine = map(4, PROT_READ | PROT_WRITE, MAP_PRIVATE, file);
      char* const untouched = map(4, PROT_READ, MAP_PRIVATE, file);
      shared[2 * kPage + 1] = 's';
      mine[kPage + 1] = 'm';
      mine[2 * kPage + 1] = 'm';
      say("before %s %s %s", touch(shared + 3 * kPage), touch(mine + 3 * kPage), touch(untouched + 3 * kPage));
      channel.tell_parent();
      if (is_running) {
        while (flags->go.load() == 0) {
        }
      } else {
        channel.wait_for_parent();
      }
      for (int i = 0; i < 4; i++) say("page %d: shared %s", i, touch(shared + i * kPage));
      for (int i = 0; i < 4; i++) say("page %d: mine %s", i, touch(mine + i * kPage));
      for (int i = 0; i < 4; i++) say("page %d: untouched %s", i, touch(untouched + i * kPage));
      say("shared tail %s, own tail %s", touch(shared + kPage + 200), touch(mine + kPage + 1));
      say("write %s %s", touch(shared + 3 * kPage, true), touch(mine + 2 * kPage, true));
      channel.tell_parent();
      channel.wait_for_parent();
      say("longer: shared %s %s, mine %s %s", touch(shared + 2 * kPage + 1), touch(shared + 3 * kPage), touch(mine + 2 * kPage + 1), touch(mine + 3 * kPage, true));
      _exit(0);
    }
    channel.wait_for_child();
    shown("cut", ftruncate(file, kPage + 100));
    if (is_running) flags->go.store(1);
    else channel.tell_child();
    channel.wait_for_child();
    shown("longer", ftruncate(file, 4 * kPage));
    channel.tell_child();
    finish(child);
  }
}

CASE(cut_memory_file) {
  Channel channel;
  const int file = memfd_create("m", 0);
  ftruncate(file, 8 * kPage);
  char* const area = map(8, PROT_READ | PROT_WRITE, MAP_SHARED, file);
  memset(area, 'x', 8 * kPage);
  pid_t children[3];
  for (pid_t& child : children) {
    child = fork();
    if (child == 0) {
      channel.tell_parent();
      channel.wait_for_parent();
      const char first = touch(area + kPage)[0];
      const bool gone = strcmp(touch(area + 5 * kPage), "BUS") == 0;
      _exit(first == '7' && gone ? 0 : 1);
    }
  }
  for (int i = 0; i < 3; i++) channel.wait_for_child();
  shown("cut", ftruncate(file, 4 * kPage));
  for (int i = 0; i < 3; i++) channel.tell_child();
  for (const pid_t child : children) finish(child);
  say("here %s", touch(area + 5 * kPage));
}

CASE(cut_while_forking) {
  // Children that are made while the file is cut have what their parent has.
  const int file = memfd_create("m", 0);
  for (int round = 0; round < 40; round++) {
    ftruncate(file, 8 * kPage);
    char* const area = map(8, PROT_READ | PROT_WRITE, MAP_SHARED, file);
    memset(area, 'x', 8 * kPage);
    const pid_t forker = fork();
    if (forker == 0) {
      bool right = true;
      for (int i = 0; i < 6; i++) {
        const pid_t child = fork();
        if (child == 0) {
          struct stat st{};
          while (fstat(file, &st) == 0 && st.st_size != 4 * kPage) {
          }
          // The call that cuts may still be on its way.
          bool is_cut = false;
          for (int tries = 0; tries < 100 && !is_cut; tries++) {
            sleep_ms(50);
            is_cut = strcmp(touch(area + 5 * kPage), "BUS") == 0;
          }
          _exit(is_cut ? 0 : 1);
        }
      }
      int status = 0;
      while (wait(&status) > 0) right = right && status == 0;
      _exit(right ? 0 : 1);
    }
    timespec pause{0, round * 25'000};
    nanosleep(&pause, nullptr);
    ftruncate(file, 4 * kPage);
    int status = 0;
    waitpid(forker, &status, 0);
    if (status != 0) say("a child kept what was cut");
    munmap(area, 8 * kPage);
  }
}

CASE(hole) {
  Channel channel;
  const int file = memfd_create("m", 0);
  ftruncate(file, 4 * kPage);
  char* const area = map(4, PROT_READ | PROT_WRITE, MAP_SHARED, file);
  memset(area, 'x', 4 * kPage);
  const pid_t child = fork();
  if (child == 0) {
    char* const mine = map(4, PROT_READ | PROT_WRITE, MAP_PRIVATE, file);
    mine[kPage] = 'm';
    channel.tell_parent();
    channel.wait_for_parent();
    for (int i = 0; i < 4; i++) say("page %d: %s, mine %s", i, touch(area + i * kPage), touch(mine + i * kPage));
    area[kPage] = 'n';
    channel.tell_parent();
    channel.wait_for_parent();
    for (int i = 0; i < 4; i++) say("page %d: %s", i, touch(area + i * kPage));
    _exit(0);
  }
  channel.wait_for_child();
  shown("hole", fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kPage, 2 * kPage));
  channel.tell_child();
  channel.wait_for_child();
  say("here %s", touch(area + kPage));
  shown("remove", madvise(area, kPage, MADV_REMOVE));
  channel.tell_child();
  finish(child);
}

CASE(many_at_once) {
  // All look at all, while they fork, sleep and compute.
  constexpr int kProcesses = 6;
  struct Shared {
    std::atomic<int> ready, stop;
    pid_t pids[kProcesses];
  };
  auto* const shared = reinterpret_cast<Shared*>(map(1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS));
  for (int i = 0; i < kProcesses; i++) {
    const pid_t child = fork();
    if (child != 0) continue;
    shared->pids[i] = getpid();
    number = 1000 + i;
    shared->ready.fetch_add(1);
    while (shared->ready.load() < kProcesses) sleep_ms(1);
    bool right = true;
    for (int round = 0; round < 200; round++) {
      const int other = (i + round) % kProcesses;
      int seen = 0;
      right = right && read_process(shared->pids[other], &seen, &number, sizeof seen) == sizeof seen && seen == 1000 + other;
      if (round % 50 == 0) {
        const pid_t grandchild = fork();
        if (grandchild == 0) _exit(0);
        waitpid(grandchild, nullptr, 0);
      }
    }
    shared->stop.fetch_add(1);
    while (shared->stop.load() < kProcesses) sleep_ms(1);
    _exit(right ? 0 : 1);
  }
  for (int i = 0; i < kProcesses; i++) {
    int status = 0;
    wait(&status);
    if (status != 0) shown_status("child", status);
  }
}

CASE(ends_meanwhile) {
  // Processes end, and start programs, while others read them.
  int bad_answers = 0;
  for (int round = 0; round < 60; round++) {
    const pid_t child = fork();
    if (child == 0) {
      if (round % 2) execl("/bin/true", "true", static_cast<char*>(nullptr));
      _exit(0);
    }
    for (int i = 0; i < 50; i++) {
      int seen = 0;
      const long got = read_process(child, &seen, &number, sizeof seen);
      if (got != sizeof seen && errno != ESRCH && errno != EFAULT && errno != EPERM) bad_answers++;
    }
    waitpid(child, nullptr, 0);
  }
  shown("bad answers", bad_answers);
}

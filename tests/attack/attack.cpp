#include "attack.h"

#include <cpuid.h>
#include <sys/utsname.h>

namespace attack {

uint64_t secret = 0;

namespace {

Attack* first = nullptr;
Attack** last = &first;

constexpr size_t kSecretBytes = 64 * 1024;
pid_t victim = 0;
int victim_line = -1;

[[noreturn]] void end_with(int code) {
  fflush(nullptr);
  _exit(code);
}

void fill(std::vector<uint64_t>& words) {
  for (uint64_t& word : words) word = secret;
}
bool is_whole(const std::vector<uint64_t>& words) {
  for (const uint64_t word : words)
    if (word != secret) return false;
  return true;
}

// Keeps its secret in memory, in a file and in a pipe, makes calls all the time, and looks at its things when it is asked to.
void live_as_victim(int line) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  std::vector<uint64_t> memory(kSecretBytes / 8), read_back(kSecretBytes / 8);
  fill(memory);
  const int file = static_cast<int>(must("victim's file", open("victim", O_RDWR | O_CREAT | O_TRUNC, 0600)));
  must("victim's write", write(file, memory.data(), kSecretBytes));
  int ends[2];
  must("victim's pipe", pipe(ends));
  must("victim's pipe", write(ends[1], memory.data(), kSecretBytes / 2));
  must("victim's word", write(line, "r", 1));
  for (;;) {
    char asked = 0;
    const ssize_t n = recv(line, &asked, 1, MSG_DONTWAIT);
    if (n == 0) _exit(0);
    if (n < 0) {
      sleep_ms(2);
      if (getppid() <= 0) _exit(9);
      continue;
    }
    bool well = is_whole(memory);
    well = well && pread(file, read_back.data(), kSecretBytes, 0) == static_cast<ssize_t>(kSecretBytes) && is_whole(read_back);
    fill(read_back);
    well = well && read(ends[0], read_back.data(), kSecretBytes / 2) == static_cast<ssize_t>(kSecretBytes / 2) && is_whole(read_back);
    const pid_t child = fork();
    if (child == 0) _exit(42);
    int status = 0;
    well = well && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 42;
    must("victim's answer", write(line, well ? "y" : "n", 1));
  }
}

void start_victim() {
  int line[2];
  must("socketpair", socketpair(AF_UNIX, SOCK_STREAM, 0, line));
  victim = static_cast<pid_t>(must("fork", fork()));
  if (victim == 0) {
    close(line[0]);
    live_as_victim(line[1]);
  }
  close(line[1]);
  victim_line = line[0];
  fcntl(victim_line, F_SETFD, FD_CLOEXEC);
  char ready = 0;
  if (read(victim_line, &ready, 1) != 1 || ready != 'r') cannot("start the victim");
}

void ask_victim() {
  char answer = 0;
  const timeval limit{30, 0};
  setsockopt(victim_line, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  if (write(victim_line, "?", 1) != 1) broken("the victim is dead");
  const ssize_t n = read(victim_line, &answer, 1);
  if (n != 1) broken("the victim is dead or stuck");
  if (answer != 'y') broken("the victim lost data or its kernel state");
  shutdown(victim_line, SHUT_RDWR);
  int status = 0;
  waitpid(victim, &status, 0);
  if (!WIFEXITED(status)) broken("the victim was killed");
}

sigjmp_buf fault_return;
void on_fault(int) { siglongjmp(fault_return, 1); }

class CatchFaults {
 public:
  CatchFaults() {
    struct sigaction action = {};
    action.sa_handler = on_fault;
    action.sa_flags = SA_NODEFER;
    for (int i = 0; i < 2; i++) sigaction(kSignals[i], &action, &old_[i]);
  }
  ~CatchFaults() {
    for (int i = 0; i < 2; i++) sigaction(kSignals[i], &old_[i], nullptr);
  }
  CatchFaults(const CatchFaults&) = delete;
  CatchFaults& operator=(const CatchFaults&) = delete;

 private:
  static constexpr int kSignals[2] = {SIGSEGV, SIGBUS};
  struct sigaction old_[2];
};

unsigned char* fresh_code() {
  // mov %rdi,%rax; mov %rsi,%rdi; mov %rdx,%rsi; mov %rcx,%rdx; mov %r8,%r10; mov %r9,%r8; mov 8(%rsp),%r9; syscall; ret
  static const unsigned char code[] = {0x48, 0x89, 0xf8, 0x48, 0x89, 0xf7, 0x48, 0x89, 0xd6, 0x48, 0x89, 0xca, 0x4d,
                                       0x89, 0xc2, 0x4d, 0x89, 0xc8, 0x4c, 0x8b, 0x4c, 0x24, 0x08, 0x0f, 0x05, 0xc3};
  static unsigned char* page = nullptr;
  if (page == nullptr) {
    page = static_cast<unsigned char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    if (page == MAP_FAILED) cannot("map a page");
    memcpy(page, code, sizeof code);
    must("mprotect", mprotect(page, 4096, PROT_READ | PROT_EXEC));
  }
  return page;
}

}  // namespace

void broken(const char* format, ...) {
  va_list list;
  va_start(list, format);
  printf("BROKEN: ");
  vprintf(format, list);
  printf("\n");
  va_end(list);
  end_with(1);
}

void cannot(const char* what) {
  printf("CANNOT %s: %s\n", what, strerror(errno));
  end_with(2);
}

bool is_thorough() { return getenv("ATTACK_ALL") != nullptr; }

std::string to_text(const Ended& ended) {
  if (ended.timed_out) return "ran on and on";
  if (WIFSIGNALED(ended.status)) return std::string("killed by ") + strsignal(WTERMSIG(ended.status));
  return "exit " + std::to_string(WEXITSTATUS(ended.status));
}

const char* loot_of(const Ended& ended) {
  if (!WIFEXITED(ended.status)) return nullptr;
  switch (WEXITSTATUS(ended.status)) {
    case kGotRights: return "it came back with the kernel's rights";
    case kGotMemory: return "it could read the kernel's memory";
    case kGotHost: return "its calls reached the host";
    case kGotWrongResult: return "the kernel was misled";
    default: return nullptr;
  }
}

pid_t start(void (*body)(void*), void* argument) {
  fflush(nullptr);
  const pid_t child = static_cast<pid_t>(must("fork", fork()));
  if (child != 0) return child;
  if (victim_line >= 0) close(victim_line);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  body(argument);
  end_with(0);
}

Ended finish(pid_t child, int milliseconds) {
  Ended ended{0, false};
  timespec begin, now;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  for (long naps = 0;; naps++) {
    const pid_t got = waitpid(child, &ended.status, WNOHANG);
    if (got == child) return ended;
    if (got < 0 && errno != EINTR) cannot("wait for an attempt");
    clock_gettime(CLOCK_MONOTONIC, &now);
    if ((now.tv_sec - begin.tv_sec) * 1000 + (now.tv_nsec - begin.tv_nsec) / 1000000 > milliseconds) break;
    if (naps < 50) {
      sched_yield();
    } else {
      const timespec nap{0, naps < 200 ? 100000 : 2000000};
      nanosleep(&nap, nullptr);
    }
  }
  ended.timed_out = true;
  kill(child, SIGKILL);
  while (waitpid(child, &ended.status, 0) < 0 && errno == EINTR) {
  }
  return ended;
}

bool can_read(uint64_t address) {
  CatchFaults catching;
  if (sigsetjmp(fault_return, 1) != 0) return false;
  *reinterpret_cast<volatile char*>(address);
  return true;
}

bool can_write(uint64_t address) {
  CatchFaults catching;
  if (sigsetjmp(fault_return, 1) != 0) return false;
  // An atomic `or` with nothing: a write that changes nothing, so that a wall that is missing does not cost the machine.
  asm volatile("lock orb $0, %0" : "+m"(*reinterpret_cast<char*>(address)));
  return true;
}

long fresh_call(long number, long a, long b, long c, long d, long e, long f) {
  using Call = long (*)(long, long, long, long, long, long, long);
  return reinterpret_cast<Call>(fresh_code())(number, a, b, c, d, e, f);
}

bool calls_reach_host() {
  utsname ours = {}, told = {};
  uname(&ours);
  if (fresh_call(SYS_uname, reinterpret_cast<long>(&told)) != 0) return false;
  return strcmp(ours.release, told.release) != 0;
}

bool in_guest() { return access("/proc/umk", F_OK) == 0; }

bool has_keys() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  __get_cpuid_count(7, 0, &a, &b, &c, &d);
  return (c & (1u << 4)) != 0;  // OSPKE
}

uint32_t read_pkru() {
  if (!has_keys()) return 0;
  uint32_t value;
  asm volatile(".byte 0x0f, 0x01, 0xee" : "=a"(value) : "c"(0) : "rdx");
  return value;
}

static uint32_t pkru_at_start = 0;

void check_rights() {
  if (read_pkru() != pkru_at_start) _exit(kGotRights);
  if (can_read(umk::layout::kVesselPage) || can_write(umk::layout::kKernelData)) _exit(kGotMemory);
  if (calls_reach_host()) _exit(kGotHost);
}

bool holds_secret(const void* bytes, size_t size) {
  const auto* at = static_cast<const unsigned char*>(bytes);
  for (size_t i = 0; i + 8 <= size; i++) {
    uint64_t word;
    memcpy(&word, at + i, 8);
    if (word == secret) return true;
  }
  return false;
}

Register::Register(const char* attack_name, Needs what, void (*function)()) : Attack{attack_name, what, function} {
  *last = this;
  last = &next;
}

static int run(int count, char** list) {
  if (count == 2 && strcmp(list[1], "list") == 0) {
    for (Attack* a = first; a != nullptr; a = a->next) printf("%s %s\n", a->name, a->needs == Needs::Keys ? "keys" : "-");
    return 0;
  }
  for (Attack* a = first; a != nullptr; a = a->next) {
    if (count < 2 || strcmp(list[1], a->name) != 0) continue;
    signal(SIGPIPE, SIG_IGN);
    timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    secret = 0x5ec2'00000000 ^ static_cast<uint64_t>(now.tv_nsec) ^ 1;  // below 2^47, so that it can also be put into base registers
    pkru_at_start = read_pkru();
    fresh_code();
    start_victim();
    a->run();
    ask_victim();
    printf("stopped\n");
    return 0;
  }
  fprintf(stderr, "usage: %s list | NAME\n", list[0]);
  return 2;
}

}  // namespace attack

int main(int count, char** list) { return attack::run(count, list); }

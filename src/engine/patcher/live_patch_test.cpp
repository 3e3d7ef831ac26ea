// Patched code is run here: functions assembled by hand, compared register by register with their originals, and then the
// test's own C library with all of its sites patched. The gate is a piece of assembly that makes the real call.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "engine/patcher/file_site.h"
#include "engine/patcher/write_order.h"

extern "C" {
// What the gate saw last, by thread, as it must not touch stack, flags or registers.
thread_local uint64_t umk_test_gate_return;
thread_local uint64_t umk_test_gate_number;
thread_local uint64_t umk_test_gate_calls;
void umk_test_gate();
// Loads the 16 registers (rsp left out, flags last) from `registers`, calls `entry`, stores them.
void umk_test_call(uint64_t entry, uint64_t* registers);
}

asm(R"(
  .text
  .globl umk_test_gate
umk_test_gate:
  movq %rcx, %fs:umk_test_gate_return@tpoff
  movq %rax, %fs:umk_test_gate_number@tpoff
  movq %fs:umk_test_gate_calls@tpoff, %r11
  leaq 1(%r11), %r11
  movq %r11, %fs:umk_test_gate_calls@tpoff
  syscall
  jmpq *%fs:umk_test_gate_return@tpoff

  .globl umk_test_call
umk_test_call:
  pushq %rbx
  pushq %rbp
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  pushq %rsi
  pushq %rdi
  movq %rsi, %r11
  pushq 120(%r11)
  popfq
  movq 0(%r11), %rax
  movq 8(%r11), %rbx
  movq 16(%r11), %rcx
  movq 24(%r11), %rdx
  movq 32(%r11), %rsi
  movq 40(%r11), %rdi
  movq 48(%r11), %rbp
  movq 56(%r11), %r8
  movq 64(%r11), %r9
  movq 72(%r11), %r10
  movq 88(%r11), %r12
  movq 96(%r11), %r13
  movq 104(%r11), %r14
  movq 112(%r11), %r15
  movq 80(%r11), %r11
  callq *(%rsp)
  pushfq
  pushq %r11
  movq 24(%rsp), %r11
  movq %rax, 0(%r11)
  movq %rbx, 8(%r11)
  movq %rcx, 16(%r11)
  movq %rdx, 24(%r11)
  movq %rsi, 32(%r11)
  movq %rdi, 40(%r11)
  movq %rbp, 48(%r11)
  movq %r8, 56(%r11)
  movq %r9, 64(%r11)
  movq %r10, 72(%r11)
  movq %r12, 88(%r11)
  movq %r13, 96(%r11)
  movq %r14, 104(%r11)
  movq %r15, 112(%r11)
  popq %rcx
  movq %rcx, 80(%r11)
  popq %rcx
  movq %rcx, 120(%r11)
  addq $16, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbp
  popq %rbx
  retq
)");

namespace umk::patcher {
namespace {

using Bytes = std::vector<uint8_t>;
using Registers = std::array<uint64_t, 16>;

constexpr size_t kRcx = 2;
constexpr size_t kR11 = 10;

uint8_t* at(uint64_t address) { return reinterpret_cast<uint8_t*>(address); }

void write_plan(const PatchPlan& plan, uint64_t bias) {
  std::ranges::copy(plan.trampoline, at(plan.place.trampoline + bias));
  for (const WriteStep& step : write_order(plan)) std::ranges::copy(step.bytes, at(step.address + bias));
}

/// Does what the kernel would do with a thread that wakes up inside a window.
PatchedSite g_patched;
int g_resumed;
void resume(int number, siginfo_t*, void* context) {
  auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const auto rip = static_cast<uint64_t>(registers[REG_RIP]) - (number == SIGTRAP ? 1 : 0);
  const auto target = g_patched.resume_address(rip);
  if (!target) _exit(99);
  registers[REG_RIP] = static_cast<greg_t>(*target);
  ++g_resumed;
}

class LivePatch : public testing::Test {
 protected:
  static constexpr size_t kSize = 0x20000;

  void SetUp() override {
    void* const memory = mmap(nullptr, kSize, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    companion_ = reinterpret_cast<uint64_t>(memory);
    text_ = companion_ + kSize / 2;
    const auto gate = reinterpret_cast<uint64_t>(&umk_test_gate);
    std::memcpy(at(companion_), &gate, sizeof gate);
  }
  void TearDown() override { munmap(at(companion_), kSize); }

  // Puts the function at `text_` and says what a call of it leaves behind.
  Registers run(uint64_t entry) {
    Registers registers;
    for (size_t i = 0; i < registers.size(); ++i) registers[i] = 0x1111111111111111 * i + 0x1234;
    registers[5] = uint64_t(-1);   // rdi: no descriptor
    registers[4] = text_ + 0x800;  // rsi: a place to write to
    registers[15] = 0x8d7;         // all arithmetic flags
    umk_test_call(entry, registers.data());
    registers[15] &= 0x8d5;
    return registers;
  }

  PatchPlan patch(const Bytes& code, uint64_t site, uint64_t padding = 0) {
    const std::array<AddressRange, 1> room = {{{companion_ + 8, text_}}};
    const auto planned = plan_patch({.text = {code, text_},
                                     .site = text_ + site,
                                     .trapped_rax = {},
                                     .function = FunctionRange{.code = {text_ + padding, text_ + code.size()}, .padding_begin = text_},
                                     .literal = companion_,
                                     .room = room,
                                     .taken = {}});
    if (const Refusal* refusal = std::get_if<Refusal>(&planned)) {
      ADD_FAILURE() << refusal->text();
      return {};
    }
    return std::get<PatchPlan>(planned);
  }

  void expect_same(const Bytes& code, uint64_t site, uint64_t number, uint64_t entry = 0) {
    std::memset(at(text_), 0x90, 0x1000);
    std::ranges::copy(code, at(text_));
    const Registers original = run(text_ + entry);

    const PatchPlan plan = patch(code, site, entry);
    ASSERT_FALSE(plan.window.empty());
    write_plan(plan, 0);
    const uint64_t calls = umk_test_gate_calls;
    const Registers patched = run(text_ + entry);
    EXPECT_EQ(umk_test_gate_calls, calls + 1);
    EXPECT_EQ(umk_test_gate_return, text_ + site + 2);
    EXPECT_EQ(umk_test_gate_number, number);
    for (size_t i = 0; i < original.size(); ++i) {
      if (i == kRcx || i == kR11) continue;
      EXPECT_EQ(patched[i], original[i]) << "register " << i;
    }
  }

  uint64_t companion_ = 0;
  uint64_t text_ = 0;
};

TEST_F(LivePatch, KeepsEveryRegisterAndFlag) {
  expect_same({0xb8, 110, 0, 0, 0, 0x0f, 0x05, 0xc3}, 5, 110);  // getppid
  expect_same({0x48, 0xc7, 0xc0, 110, 0, 0, 0, 0x0f, 0x05, 0xc3}, 7, 110);
  expect_same({0x48, 0x89, 0xfa, 0x31, 0xc0, 0x0f, 0x05, 0xc3}, 5, 0);                  // mov %rdi,%rdx; read
  expect_same({0x50, 0x58, 0xb0, 0x00, 0x31, 0xc0, 0x0f, 0x05, 0xc3}, 6, 0);            // push, pop, mov %al
  expect_same({0xb8, 110, 0, 0, 0, 0x48, 0x83, 0xfa, 0x10, 0x0f, 0x05, 0xc3}, 9, 110);  // flags from cmp
}

TEST_F(LivePatch, MovedOperandsMeanTheSamePlace) {
  // mov 0x100(%rip),%rdx; mov $110,%eax
  Bytes code = {0x48, 0x8b, 0x15, 0, 1, 0, 0, 0xb0, 110, 0x0f, 0xb6, 0xc0, 0x0f, 0x05, 0xc3};
  expect_same(code, 12, 110);
}

TEST_F(LivePatch, BothWaysOfAConditionalJumpInTheWindowWork) {
  // cmpb $v,0x100(%rip); je L; xor %eax,%eax; syscall; ret; L: mov $7,%eax; ret. The text is nops: 0x90 there.
  const auto code = [](uint8_t value) {
    return Bytes{0x80, 0x3d, 0, 1, 0, 0, value, 0x74, 0x05, 0x31, 0xc0, 0x0f, 0x05, 0xc3, 0xb8, 7, 0, 0, 0, 0xc3};
  };
  expect_same(code(1), 11, 0);

  std::memset(at(text_), 0x90, 0x1000);
  std::ranges::copy(code(0x90), at(text_));
  write_plan(patch(code(0x90), 11), 0);
  const uint64_t calls = umk_test_gate_calls;
  EXPECT_EQ(run(text_)[0], 7u);
  EXPECT_EQ(umk_test_gate_calls, calls);
}

TEST_F(LivePatch, AShortFunctionIsReachedThroughItsPadding) {
  expect_same({0x0f, 0x1f, 0x44, 0, 0, 0x31, 0xc0, 0x0f, 0x05, 0xc3}, 7, 0, 5);
}

TEST_F(LivePatch, EveryBoundaryOfAPatchedWindowLeadsOn) {
  struct sigaction action {};
  action.sa_sigaction = resume;
  action.sa_flags = SA_SIGINFO;
  std::array<struct sigaction, 3> old{};
  const std::array<int, 3> numbers = {SIGTRAP, SIGILL, SIGSEGV};
  for (size_t i = 0; i < numbers.size(); ++i) sigaction(numbers[i], &action, &old[i]);

  const std::vector<std::pair<Bytes, uint64_t>> cases = {
      {{0x48, 0x89, 0xfa, 0x31, 0xc0, 0x0f, 0x05, 0xc3}, 5},       {{0x31, 0xc0, 0x48, 0x89, 0xfa, 0x0f, 0x05, 0xc3}, 5},
      {{0x48, 0x83, 0xee, 0x10, 0x31, 0xc0, 0x0f, 0x05, 0xc3}, 6}, {{0x31, 0xd2, 0x89, 0xd6, 0x31, 0xc0, 0x0f, 0x05, 0xc3}, 6},
      {{0xba, 1, 0, 0, 0, 0x31, 0xc0, 0x0f, 0x05, 0xc3}, 7},
  };
  for (const auto& [code, site] : cases) {
    std::memset(at(text_), 0x90, 0x1000);
    std::ranges::copy(code, at(text_));
    const PatchPlan plan = patch(code, site);
    ASSERT_GT(plan.boundaries.size(), 1u);
    for (const uint64_t boundary : plan.boundaries) {
      std::ranges::copy(code, at(text_));
      const Registers original = run(boundary);
      write_plan(plan, 0);
      g_patched = plan.place;
      g_resumed = 0;
      const Registers patched = run(boundary);
      EXPECT_EQ(g_resumed, boundary == plan.place.window_start ? 0 : 1);
      for (size_t i = 0; i < original.size(); ++i) {
        if (i == kRcx || i == kR11) continue;
        EXPECT_EQ(patched[i], original[i]) << "register " << i;
      }
    }
    // The `syscall` itself is there still.
    const uint64_t calls = umk_test_gate_calls;
    run(plan.place.site);
    EXPECT_EQ(umk_test_gate_calls, calls);
  }
  for (size_t i = 0; i < numbers.size(); ++i) sigaction(numbers[i], &old[i], nullptr);
}

TEST_F(LivePatch, EveryWayToABranchAndItsTargetStaysTheSame) {
  struct sigaction action {};
  action.sa_sigaction = resume;
  action.sa_flags = SA_SIGINFO;
  std::array<struct sigaction, 3> old{};
  const std::array<int, 3> numbers = {SIGTRAP, SIGILL, SIGSEGV};
  for (size_t i = 0; i < numbers.size(); ++i) sigaction(numbers[i], &action, &old[i]);

  // mov $110,%edx; jmp L; nop; mov $7,%eax; ret; L: mov %edx,%eax; syscall; ret
  const Bytes near = {0xba, 110, 0, 0, 0, 0xeb, 11, 0x0f, 0x1f, 0x44, 0, 0, 0xb8, 7, 0, 0, 0, 0xc3, 0x89, 0xd0, 0x0f, 0x05, 0xc3};
  // The same with a long jump, and with short nops.
  const Bytes far = {0xba, 110, 0, 0, 0, 0xe9, 6, 0, 0, 0, 0xb8, 7, 0, 0, 0, 0xc3, 0x89, 0xd0, 0x0f, 0x05, 0xc3};
  const Bytes short_nops = {0xba, 110, 0, 0, 0, 0xeb, 9, 0x90, 0x66, 0x90, 0xb8, 7, 0, 0, 0, 0xc3, 0x89, 0xd0, 0x0f, 0x05, 0xc3};
  for (const auto& [code, site] : {std::pair{near, uint64_t{20}}, {far, 18}, {short_nops, 18}}) {
    std::memset(at(text_), 0x90, 0x1000);
    std::ranges::copy(code, at(text_));
    const PatchPlan plan = patch(code, site);
    ASSERT_TRUE(plan.place.is_of_branch());
    std::vector<uint64_t> ways = plan.boundaries;
    for (const uint64_t way : {text_, plan.place.window_end, plan.place.moved_start, plan.place.site}) ways.push_back(way);
    for (const uint64_t way : ways) {
      std::ranges::copy(code, at(text_));
      const Registers original = run(way);
      write_plan(plan, 0);
      g_patched = plan.place;
      g_resumed = 0;
      const uint64_t calls = umk_test_gate_calls;
      const Registers patched = run(way);
      EXPECT_EQ(umk_test_gate_calls - calls, way <= plan.place.window_start ? 1u : 0u);
      EXPECT_EQ(g_resumed, way > plan.place.window_start && way < plan.place.window_end ? 1 : 0);
      for (size_t i = 0; i < original.size(); ++i) {
        if (i == kRcx || i == kR11) continue;
        EXPECT_EQ(patched[i], original[i]) << "register " << i << " from " << way - text_;
      }
    }
  }
  for (size_t i = 0; i < numbers.size(); ++i) sigaction(numbers[i], &old[i], nullptr);
}

// The C library of this process.
struct LoadedLibrary {
  uint64_t bias = 0;
  std::string path;
};

LoadedLibrary find_c_library() {
  LoadedLibrary found;
  dl_iterate_phdr(
      [](dl_phdr_info* info, size_t, void* data) {
        const std::string_view name = info->dlpi_name;
        if (name.find("/libc.so.6") == std::string_view::npos) return 0;
        *static_cast<LoadedLibrary*>(data) = {info->dlpi_addr, std::string(name)};
        return 1;
      },
      &found);
  return found;
}

// The test gate comes back by a variable of the thread, which a call that returns twice on one thread would overwrite.
bool returns_twice_in_one_memory(const uint8_t* site) {
  if (site[-5] != 0xb8) return false;
  const unsigned number = site[-4] | site[-3] << 8;
  return number == SYS_vfork || number == SYS_clone3 || number == SYS_clone;
}

#define REQUIRE(condition) \
  if (!(condition)) return __LINE__

volatile sig_atomic_t g_signals;

// Calls of every kind, now by the gate. Returns the line of what fails, for no output is possible here.
int use_patched_library() {
  const uint64_t before = umk_test_gate_calls;
  REQUIRE(getppid() == syscall(SYS_getppid));
  REQUIRE(umk_test_gate_calls >= before + 2);

  int ends[2];
  char text[16] = {};
  REQUIRE(pipe(ends) == 0);
  REQUIRE(write(ends[1], "hello", 5) == 5);
  const uint64_t before_read = umk_test_gate_calls;
  REQUIRE(read(ends[0], text, sizeof text) == 5);
  REQUIRE(umk_test_gate_calls == before_read + 1 && umk_test_gate_number == SYS_read);
  REQUIRE(std::memcmp(text, "hello", 5) == 0);
  errno = 0;
  REQUIRE(open("/does/not/exist", O_RDONLY) == -1 && errno == ENOENT);
  void* const memory = mmap(nullptr, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  REQUIRE(memory != MAP_FAILED && munmap(memory, 65536) == 0);
  char directory[4096];
  REQUIRE(getcwd(directory, sizeof directory) != nullptr);

  struct sigaction action {};
  action.sa_handler = [](int) {
    const uint64_t saved = umk_test_gate_return;
    g_signals = g_signals + (getpid() > 0);
    umk_test_gate_return = saved;
  };
  REQUIRE(sigaction(SIGUSR1, &action, nullptr) == 0);
  REQUIRE(raise(SIGUSR1) == 0 && g_signals == 1);

  static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  static int counter;
  std::array<pthread_t, 4> threads;
  for (pthread_t& thread : threads) {
    REQUIRE(pthread_create(
                &thread, nullptr,
                [](void*) -> void* {
                  for (int i = 0; i < 20000; ++i) {
                    pthread_mutex_lock(&mutex);
                    ++counter;
                    pthread_mutex_unlock(&mutex);
                  }
                  return reinterpret_cast<void*>(umk_test_gate_calls);
                },
                nullptr) == 0);
  }
  for (const pthread_t thread : threads) {
    void* calls = nullptr;
    REQUIRE(pthread_join(thread, &calls) == 0);
    REQUIRE(calls != nullptr);
  }
  REQUIRE(counter == 80000);

  int status = 0;
  const pid_t child = fork();
  if (child == 0) _exit(7);
  REQUIRE(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7);
  pid_t spawned = 0;
  char name[] = "true";
  char* const arguments[] = {name, nullptr};
  REQUIRE(posix_spawn(&spawned, "/bin/true", nullptr, nullptr, arguments, nullptr) == 0);
  REQUIRE(waitpid(spawned, &status, 0) == spawned && status == 0);
  REQUIRE(umk_test_gate_calls > before + 20);
  return 0;
}

int patch_own_library() {
  const LoadedLibrary library = find_c_library();
  std::ifstream stream(library.path, std::ios::binary);
  const Bytes bytes((std::istreambuf_iterator<char>(stream)), std::istreambuf_iterator<char>());
  const auto file = ElfFile::open([&](uint64_t offset, std::span<uint8_t> into) {
    if (offset > bytes.size() || into.size() > bytes.size() - offset) return false;
    std::memcpy(into.data(), bytes.data() + offset, into.size());
    return true;
  });
  REQUIRE(file);

  constexpr uint64_t kCompanion = 0x40000;
  constexpr int kProtection = PROT_READ | PROT_WRITE | PROT_EXEC;
  uint64_t companion = 0;
  for (uint64_t distance = kCompanion; distance < (1u << 30) && companion == 0; distance += kCompanion) {
    void* const wanted = at(library.bias - distance);
    void* const got = mmap(wanted, kCompanion, kProtection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (got == wanted) companion = library.bias - distance;
  }
  REQUIRE(companion != 0);
  const auto gate = reinterpret_cast<uint64_t>(&umk_test_gate);
  std::memcpy(at(companion), &gate, sizeof gate);

  AddressRange room = {companion - library.bias + 8, companion - library.bias + kCompanion};
  std::vector<PatchPlan> plans;
  for (const Segment& segment : file->segments()) {
    if (!segment.is_executable) continue;
    for (uint64_t site = segment.addresses.begin; site + 1 < segment.addresses.end; ++site) {
      const uint8_t* const code = at(site + library.bias);
      if (code[0] != 0x0f || code[1] != 0x05 || returns_twice_in_one_memory(code)) continue;
      auto planned = plan_patch_in_file(
          *file, {.site = site, .trapped_rax = {}, .literal = companion - library.bias, .room = {&room, 1}, .taken = {}});
      PatchPlan* const plan = std::get_if<PatchPlan>(&planned);
      if (!plan) continue;
      room.begin = plan->trampoline_range().end;
      plans.push_back(std::move(*plan));
    }
    const uint64_t begin = (segment.addresses.begin + library.bias) & ~uint64_t{4095};
    REQUIRE(mprotect(at(begin), segment.addresses.end + library.bias - begin, kProtection) == 0);
  }
  REQUIRE(plans.size() > 400);
  for (const PatchPlan& plan : plans) write_plan(plan, library.bias);
  return use_patched_library();
}

// In a child, whose C library nobody else needs.
TEST(LivePatchLibrary, TheWholeCLibraryWorksWithItsSitesPatched) {
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
  GTEST_SKIP() << "sanitizers call the C library from places where the test's gate cannot run";
#endif
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    syscall(SYS_exit_group, patch_own_library() % 251);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status)) << "signal " << WTERMSIG(status);
  EXPECT_EQ(WEXITSTATUS(status), 0) << "line, modulo 251";
}

}  // namespace
}  // namespace umk::patcher

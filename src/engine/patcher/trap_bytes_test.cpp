#include "engine/patcher/trap_bytes.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <vector>

namespace umk::patcher {
namespace {

bool traps(std::vector<uint8_t> code, size_t offset = 0) { return traps_at_once(code, offset); }

TEST(TrapBytes, KnowsInvalidPrivilegedAndBreakpointOpcodes) {
  EXPECT_TRUE(traps({0xcc}));
  EXPECT_TRUE(traps({0x06}));
  EXPECT_TRUE(traps({0xf4}));
  EXPECT_TRUE(traps({0xe4, 0x00}));
  EXPECT_TRUE(traps({0xff, 0xff}));
  EXPECT_TRUE(traps({0xfe, 0xff}));
  EXPECT_TRUE(traps({0xf2, 0x66, 0xff, 0xff}));
  EXPECT_TRUE(traps({0x90, 0xcc}, 1));
}

TEST(TrapBytes, DoesNotTrustWhatRunsOrIsCutOff) {
  EXPECT_FALSE(traps({0x90}));
  EXPECT_FALSE(traps({0xff}));
  EXPECT_FALSE(traps({0xff, 0x0f}));
  EXPECT_FALSE(traps({0xfe, 0xc8}));
  EXPECT_FALSE(traps({0x66}));
  EXPECT_FALSE(traps({0xc4, 0xff}));
  EXPECT_FALSE(traps({0xd5, 0xff}));
  EXPECT_FALSE(traps({}, 0));
}

TEST(TrapBytes, TheProcessorAgreesAboutEveryOpcode) {
  void* const page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(page, MAP_FAILED);
  auto* const code = static_cast<uint8_t*>(page);
  const auto check = [&](std::vector<uint8_t> bytes) {
    std::memset(code, 0x90, 64);
    std::memcpy(code, bytes.data(), bytes.size());
    const pid_t child = fork();
    if (child == 0) {
      for (const int number : {SIGILL, SIGSEGV, SIGTRAP}) signal(number, SIG_DFL);
      static uint8_t* entry;
      entry = code;
      static struct sigaction action;
      action.sa_flags = SA_SIGINFO;
      // Only a trap on the first instruction counts: its address is in the frame, one further for int3.
      action.sa_sigaction = [](int number, siginfo_t*, void* context) {
        const auto rip = static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_RIP];
        _exit(rip - reinterpret_cast<intptr_t>(entry) == (number == SIGTRAP ? 1 : 0) ? 42 : 1);
      };
      for (const int number : {SIGILL, SIGSEGV, SIGTRAP, SIGBUS}) sigaction(number, &action, nullptr);
      alarm(2);
      reinterpret_cast<void (*)()>(code)();
      _exit(1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == 42;
  };
  for (unsigned opcode = 0; opcode < 256; ++opcode) {
    const std::vector<uint8_t> bytes = {static_cast<uint8_t>(opcode), 0xff, 0xff};
    if (traps_at_once(std::span(bytes).first(2), 0)) {
      EXPECT_TRUE(check(bytes)) << std::hex << opcode;
    }
  }
  munmap(page, 4096);
}

TEST(TrapBytes, FindsWhatOpensKernelMemory) {
  const auto finds = [](std::vector<uint8_t> code) { return has_protection_key_write(code); };
  EXPECT_TRUE(finds({0x90, 0x0f, 0x01, 0xef}));
  EXPECT_TRUE(finds({0x0f, 0xae, 0x28}));
  EXPECT_TRUE(finds({0x0f, 0xae, 0xac, 0x24}));
  EXPECT_FALSE(finds({0x0f, 0xae, 0xe8}));  // lfence
  EXPECT_FALSE(finds({0x0f, 0x01, 0xee}));  // rdpkru
  EXPECT_FALSE(finds({0x0f, 0x01}));
}

}  // namespace
}  // namespace umk::patcher

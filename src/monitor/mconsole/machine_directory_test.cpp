#include "monitor/mconsole/machine_directory.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <stdexcept>
#include <thread>

#include "monitor/mconsole/mconsole_socket.h"

namespace umk::monitor {

namespace {

namespace fs = std::filesystem;

class MachineDirectoryTest : public testing::Test {
 protected:
  MachineDirectoryTest() {
    char text[] = "/tmp/umk-test-umid-XXXXXX";
    base = mkdtemp(text);
  }
  ~MachineDirectoryTest() override { fs::remove_all(base); }

  std::string read_pid(const std::string& path) {
    std::ifstream file(path + "/pid");
    return std::string(std::istreambuf_iterator<char>(file), {});
  }
  /// What a machine leaves that was killed, or that a process of this number left.
  void leave_behind(const std::string& name, const std::string& pid) {
    fs::create_directory(base + "/" + name);
    std::ofstream(base + "/" + name + "/pid") << pid;
  }

  std::string base;
  std::vector<std::string> notes;
};

TEST_F(MachineDirectoryTest, HoldsTheProcessNumberUntilItIsRemoved) {
  {
    const MachineDirectory directory(base + "/new", "box", notes);
    EXPECT_EQ(directory.path(), base + "/new/box");
    EXPECT_EQ(read_pid(directory.path()), std::to_string(getpid()) + "\n");
  }
  EXPECT_FALSE(fs::exists(base + "/new/box"));
  EXPECT_TRUE(fs::exists(base + "/new"));
  EXPECT_TRUE(notes.empty());
}

TEST_F(MachineDirectoryTest, WithoutANameIsRandom) {
  const MachineDirectory one(base, "", notes), other(base, "", notes);
  EXPECT_EQ(one.name().size(), 6u);
  EXPECT_NE(one.name(), other.name());
}

TEST_F(MachineDirectoryTest, OfALivingProcessIsLeftAlone) {
  leave_behind("box", "1\n");
  const MachineDirectory directory(base, "box", notes);
  EXPECT_NE(directory.name(), "box");
  EXPECT_EQ(read_pid(base + "/box"), "1\n");
  ASSERT_EQ(notes.size(), 2u);
  EXPECT_EQ(notes[0], "umid \"box\" is already in use by pid 1");
  EXPECT_EQ(notes[1], "Failed to initialize umid \"box\", trying with a random umid");
}

TEST_F(MachineDirectoryTest, OfADeadProcessIsTakenOver) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  waitpid(child, nullptr, 0);
  for (const std::string& pid : {std::to_string(child) + "\n", std::string(), std::string("what"), std::string("-7")}) {
    leave_behind("box", pid);
    std::ofstream(base + "/box/something") << "else";
    const MachineDirectory directory(base, "box", notes);
    EXPECT_EQ(directory.name(), "box");
    EXPECT_FALSE(fs::exists(base + "/box/something"));
  }
  EXPECT_TRUE(notes.empty());
}

TEST_F(MachineDirectoryTest, WhoseSocketNobodyReadsIsTakenOverThoughTheNumberIsInUseAgain) {
  leave_behind("box", "1\n");
  {
    EventLoop loop;
    const MconsoleSocket socket(loop, base + "/box/mconsole", [](const MconsoleClient&, std::string_view) {});
    const MachineDirectory directory(base, "box", notes);
    EXPECT_NE(directory.name(), "box");
  }
  const MachineDirectory directory(base, "box", notes);
  EXPECT_EQ(directory.name(), "box");
}

TEST_F(MachineDirectoryTest, WithARandomNameGoesWithTheNextOnceItsMachineIsGone) {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  waitpid(child, nullptr, 0);
  leave_behind("aB3dE6", std::to_string(child) + "\n");
  leave_behind("named1-box", std::to_string(child) + "\n");
  leave_behind("Living", "1\n");
  leave_behind("young1", "");  // of a machine that has just begun
  const MachineDirectory directory(base, "", notes);
  EXPECT_FALSE(fs::exists(base + "/aB3dE6"));
  for (const char* kept : {"named1-box", "Living", "young1"}) EXPECT_TRUE(fs::exists(base + "/" + kept)) << kept;
}

TEST_F(MachineDirectoryTest, WithADirectoryInItIsNotTakenOver) {
  leave_behind("box", "");
  fs::create_directory(base + "/box/precious");
  const MachineDirectory directory(base, "box", notes);
  EXPECT_NE(directory.name(), "box");
  EXPECT_TRUE(fs::exists(base + "/box/precious"));
}

TEST_F(MachineDirectoryTest, PathMustFitIntoASocketsAddress) {
  const std::string deep = base + "/" + std::string(80, 'd');
  EXPECT_THROW(MachineDirectory(deep, std::string(60, 'n'), notes), std::runtime_error);
  EXPECT_TRUE(fs::is_empty(deep));
}

TEST_F(MachineDirectoryTest, TildeIsTheHomeDirectory) {
  const char* before = std::getenv("HOME");
  const std::string home = before ? before : "";
  setenv("HOME", base.c_str(), 1);
  {
    const MachineDirectory directory("", "box", notes);
    EXPECT_EQ(directory.path(), base + "/.uml/box");
  }
  unsetenv("HOME");
  EXPECT_THROW(MachineDirectory("", "box", notes), std::runtime_error);
  setenv("HOME", home.c_str(), 1);
}

TEST_F(MachineDirectoryTest, IsOneMachinesAloneHoweverManyStartAtOnce) {
  std::vector<pid_t> children;
  for (int i = 0; i < 12; ++i) {
    children.push_back(fork());
    if (children.back() != 0) continue;
    std::vector<std::string> said;
    const MachineDirectory directory(base, "box", said);
    sleep(1);
    // Those that got a random name were told so.
    _exit(directory.name() == "box" ? (said.empty() ? 1 : 3) : (said.size() == 2 ? 0 : 3));
  }
  int got_it = 0;
  for (const pid_t child : children) {
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_NE(WEXITSTATUS(status), 3);
    got_it += WEXITSTATUS(status);
  }
  EXPECT_EQ(got_it, 1);
}

}  // namespace

}  // namespace umk::monitor

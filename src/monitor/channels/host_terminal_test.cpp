#include "monitor/channels/host_terminal.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <thread>

namespace umk::monitor {
namespace {

using namespace std::chrono_literals;

/// A terminal of the test's own.
class HostTerminalTest : public testing::Test {
 protected:
  HostTerminalTest() {
    master = posix_openpt(O_RDWR | O_NOCTTY);
    grantpt(master);
    unlockpt(master);
    slave = open(ptsname(master), O_RDWR | O_NOCTTY);
  }
  ~HostTerminalTest() override {
    close(slave);
    close(master);
  }
  bool is_raw() const {
    ::termios settings;
    tcgetattr(slave, &settings);
    return !(settings.c_lflag & ICANON);
  }
  /// Runs `body` in a child that plays the monitor, as leader of a session with the terminal; returns when the terminal is raw.
  template <typename Body>
  pid_t start_monitor(Body body) {
    const pid_t child = fork();
    if (child == 0) {
      setsid();
      ioctl(slave, TIOCSCTTY, 0);
      body();
      _exit(0);
    }
    for (int i = 0; i < 400 && !is_raw(); ++i) std::this_thread::sleep_for(5ms);
    return child;
  }
  /// Processes of the child's session that still run. (Who reaps orphans here may take its time.)
  static int session_members(pid_t session) {
    int count = 0;
    DIR* directory = opendir("/proc");
    while (const dirent* entry = readdir(directory)) {
      const pid_t pid = atoi(entry->d_name);
      if (pid <= 0 || getsid(pid) != session) continue;
      char state = 'Z';
      if (FILE* file = fopen(("/proc/" + std::to_string(pid) + "/stat").c_str(), "r")) {
        if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1) state = 'Z';
        fclose(file);
      }
      if (state != 'Z') ++count;
    }
    closedir(directory);
    return count;
  }
  void expect_restored(pid_t child) {
    for (int i = 0; i < 400 && (is_raw() || session_members(child) > 0); ++i) std::this_thread::sleep_for(5ms);
    EXPECT_FALSE(is_raw());
    EXPECT_EQ(session_members(child), 0);
  }

  int master, slave;
};

TEST_F(HostTerminalTest, IsRestoredInGoodOrder) {
  {
    const auto terminal = HostTerminal::open(slave);
    ASSERT_NE(terminal, nullptr);
    EXPECT_FALSE(is_raw());
    terminal->enter_raw_mode();
    EXPECT_TRUE(is_raw());
  }
  EXPECT_FALSE(is_raw());
  // Nothing is left behind.
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
}

TEST_F(HostTerminalTest, PipesAreNoTerminals) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  EXPECT_EQ(HostTerminal::open(ends[0]), nullptr);
  EXPECT_EQ(HostTerminal::open(-1), nullptr);
  close(ends[0]);
  close(ends[1]);
}

TEST_F(HostTerminalTest, IsRestoredWhateverKillsTheMonitor) {
  for (const int signal : {SIGKILL, SIGTERM, SIGINT, SIGHUP, SIGABRT, SIGSEGV}) {
    const pid_t child = start_monitor([this] {
      // A sanitizer's own handler would print.
      for (const int number : {SIGABRT, SIGSEGV}) ::signal(number, SIG_DFL);
      const auto terminal = HostTerminal::open(slave);
      terminal->enter_raw_mode();
      for (;;) pause();
    });
    EXPECT_TRUE(is_raw());
    kill(child, signal);
    int status = 0;
    waitpid(child, &status, 0);
    EXPECT_TRUE(WIFSIGNALED(status)) << signal;
    SCOPED_TRACE(signal);
    expect_restored(child);
  }
}

TEST_F(HostTerminalTest, GuardianSurvivesWhatTheKeyboardSendsToTheGroup) {
  const pid_t child = start_monitor([this] {
    ::signal(SIGINT, SIG_IGN);
    const auto terminal = HostTerminal::open(slave);
    terminal->enter_raw_mode();
    for (;;) pause();
  });
  kill(-child, SIGINT);
  std::this_thread::sleep_for(20ms);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  expect_restored(child);
}

TEST_F(HostTerminalTest, GuardianRunsWhatIsToBeDoneAfterADeath) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = start_monitor([&] {
    // The guardian closes all it inherited: what it is to do must not depend on descriptors.
    char name[64];
    snprintf(name, sizeof name, "/tmp/umk-guardian-test-%d", getpid());
    close(open(name, O_CREAT | O_WRONLY, 0600));
    const std::string kept = name;
    const auto terminal = HostTerminal::open(slave, [kept] { unlink(kept.c_str()); });
    terminal->enter_raw_mode();
    for (;;) pause();
  });
  char name[64];
  snprintf(name, sizeof name, "/tmp/umk-guardian-test-%d", child);
  EXPECT_EQ(access(name, F_OK), 0);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  expect_restored(child);
  EXPECT_NE(access(name, F_OK), 0);
  close(ends[0]);
  close(ends[1]);
}

TEST_F(HostTerminalTest, IsLeftAloneInTheBackground) {
  const pid_t child = fork();
  if (child == 0) {
    setsid();
    ioctl(slave, TIOCSCTTY, 0);
    const pid_t background = fork();
    if (background == 0) {
      setpgid(0, 0);
      const auto terminal = HostTerminal::open(slave);
      terminal->enter_raw_mode();
      _exit(terminal->is_raw() ? 1 : 0);
    }
    int status = 1;
    waitpid(background, &status, 0);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 9);
  }
  int status = 1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  EXPECT_FALSE(is_raw());
}

}  // namespace
}  // namespace umk::monitor

#include "core/lib/elf/script.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>

namespace umk::elf {
namespace {

// As an interpreter of scripts this program shows its arguments and ends before any test.
[[gnu::constructor]] void show_arguments(int count, char** arguments) {
  if (!getenv("UMK_SHOW_ARGUMENTS")) return;
  std::string text = "runs";
  // The first is the interpreter and the last the script.
  for (int i = 1; i + 1 < count; ++i) text += std::string(" [") + arguments[i] + "]";
  if (write(STDOUT_FILENO, text.data(), text.size()) < 0) _exit(1);
  _exit(0);
}

std::string ours(const std::string& text) {
  const Result<Script> script = parse_script(std::as_bytes(std::span(text)));
  if (!script) return "error " + std::to_string(script.code());
  std::string shown = "runs";
  if (script.value().argument) shown += " [" + std::string(*script.value().argument) + "]";
  return shown;
}

std::string interpreter(const std::string& text) {
  const Result<Script> script = parse_script(std::as_bytes(std::span(text)));
  return script ? std::string(script.value().interpreter) : "error " + std::to_string(script.code());
}

TEST(Script, NamesItsInterpreter) {
  EXPECT_EQ(interpreter("#!/bin/sh\necho\n"), "/bin/sh");
  EXPECT_EQ(interpreter("#! \t/bin/sh -e \n"), "/bin/sh");
  EXPECT_EQ(interpreter("#!/bin/sh"), "/bin/sh");
}

TEST(Script, HasAtMostOneArgument) {
  EXPECT_EQ(ours("#!/bin/sh\n"), "runs");
  EXPECT_EQ(ours("#!/bin/sh  \t\n"), "runs");
  EXPECT_EQ(ours("#!/bin/sh -e -u \n"), "runs [-e -u]");
}

TEST(Script, NeedsAName) {
  EXPECT_EQ(ours(""), "error 8");
  EXPECT_EQ(ours("#"), "error 8");
  EXPECT_EQ(ours("# !/bin/sh\n"), "error 8");
  EXPECT_EQ(ours("#!\n"), "error 8");
  EXPECT_EQ(ours("#!  \n/bin/sh\n"), "error 8");
}

TEST(Script, CutsTheArgumentButNotTheName) {
  EXPECT_EQ(interpreter("#!" + std::string(253, 'x') + " y\n"), std::string(253, 'x'));
  EXPECT_EQ(interpreter("#!" + std::string(254, 'x') + " y\n"), "error 8");
  EXPECT_EQ(ours("#!/bin/sh " + std::string(300, 'x') + "\n"), "runs [" + std::string(245, 'x') + "]");
}

/// The host as the oracle: runs `text` as a script whose interpreter is this program.
class ScriptHost : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/umk-script-XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    directory_ = pattern;
    interpreter_ = directory_ + "/i";
    char self[4096] = {};
    ASSERT_GT(readlink("/proc/self/exe", self, sizeof self - 1), 0);
    ASSERT_EQ(symlink(self, interpreter_.c_str()), 0);
  }
  void TearDown() override {
    unlink(interpreter_.c_str());
    unlink((directory_ + "/s").c_str());
    rmdir(directory_.c_str());
  }

  std::string host(const std::string& text) {
    const std::string path = directory_ + "/s";
    const int file = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
    EXPECT_EQ(write(file, text.data(), text.size()), static_cast<ssize_t>(text.size()));
    close(file);
    int pipe_ends[2];
    EXPECT_EQ(pipe2(pipe_ends, O_CLOEXEC), 0);
    const pid_t child = fork();
    if (child == 0) {
      dup2(pipe_ends[1], STDOUT_FILENO);
      char name[] = "UMK_SHOW_ARGUMENTS=1";
      char* arguments[] = {name, nullptr};
      execve(path.c_str(), arguments, arguments);
      dprintf(STDOUT_FILENO, "error %d", errno);
      _exit(0);
    }
    close(pipe_ends[1]);
    std::string shown;
    char buffer[512];
    for (ssize_t count; (count = read(pipe_ends[0], buffer, sizeof buffer)) > 0;) shown.append(buffer, static_cast<size_t>(count));
    close(pipe_ends[0]);
    waitpid(child, nullptr, 0);
    return shown;
  }

  std::string directory_;
  std::string interpreter_;
};

TEST_F(ScriptHost, AgreesOnTheFirstLine) {
  const std::string run = "#!" + interpreter_;
  const std::string zero(1, '\0');
  const size_t rest = 256 - run.size();
  std::vector<std::string> texts = {
      run,
      run + "\n",
      run + " ",
      run + " \n",
      run + "\t a  b \t\nc",
      run + zero + " a\n",
      run + " " + zero + "\n",
      run + " a" + zero + "b\n",
      run + " a " + zero,
      "#!  " + interpreter_ + " x\n",
      "#!",
      "#!\n",
      "#! " + zero,
      "#!" + zero + run + "\n",
      "#!\t \n" + run,
      run + std::string(300, ' ') + "x\n",
      run + " " + std::string(300, 'x') + "\n",
      "#!" + std::string(254, ' '),
      "#!" + std::string(253, ' '),
      "#!" + std::string(252, ' '),
      "#!" + std::string(252, ' ') + "\n",
  };
  for (size_t length = rest - 4; length < rest + 3; ++length) {
    const std::string slashes(length, '/');
    texts.push_back("#!" + slashes + interpreter_);
    texts.push_back("#!" + slashes + interpreter_ + "\n");
    texts.push_back("#!" + slashes + interpreter_ + " ");
    texts.push_back("#!" + slashes + interpreter_ + " x\n");
    texts.push_back("#!" + slashes + interpreter_ + zero);
    texts.push_back(run + std::string(length, ' '));
    texts.push_back(run + std::string(length, ' ') + "x");
    texts.push_back(run + std::string(length, ' ') + "\n");
    texts.push_back(run + " " + std::string(length, 'x') + "\n");
  }
  for (const std::string& text : texts) EXPECT_EQ(ours(text), host(text)) << testing::PrintToString(text);
}

TEST_F(ScriptHost, AgreesOnRandomLines) {
  std::mt19937 random(7);
  static constexpr char kPieces[] = {' ', ' ', '\t', '\n', '\0', 'a', 'b', 'c', '#', '!'};
  for (int i = 0; i < 60; ++i) {
    std::string text = "#!" + std::string(random() % 3, ' ') + interpreter_;
    for (size_t n = random() % 12; n > 0; --n) {
      const char piece = kPieces[random() % std::size(kPieces)];
      if (text.back() == '!' || text.size() > 2 + interpreter_.size() || piece < 'a') text += piece;
    }
    if (random() % 4 == 0) text.append(random() % 300, kPieces[random() % std::size(kPieces)]);
    // Another name is another program.
    const std::string name = interpreter(text);
    if (name != interpreter_ && !name.starts_with("error")) continue;
    EXPECT_EQ(ours(text), host(text)) << testing::PrintToString(text);
  }
}

}  // namespace
}  // namespace umk::elf

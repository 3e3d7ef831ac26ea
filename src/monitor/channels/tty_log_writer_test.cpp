#include "monitor/channels/tty_log_writer.h"

#include <dirent.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace umk::monitor {
namespace {

namespace format = tty_log_format;

class TtyLogWriterTest : public testing::Test {
 protected:
  TtyLogWriterTest() {
    char name[] = "/tmp/umk-tty-log-XXXXXX";
    directory_ = mkdtemp(name);
  }
  ~TtyLogWriterTest() override {
    for (const std::string& name : names()) unlink((directory_ + "/" + name).c_str());
    rmdir(directory_.c_str());
  }
  std::vector<std::string> names() {
    std::vector<std::string> found;
    DIR* dir = opendir(directory_.c_str());
    while (const dirent* entry = readdir(dir))
      if (entry->d_name[0] != '.') found.push_back(entry->d_name);
    closedir(dir);
    std::sort(found.begin(), found.end());
    return found;
  }
  std::string contents(const std::string& name) {
    std::ifstream file(directory_ + "/" + name);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }
  std::string put(format::What what, uint64_t tty, std::string_view data, uint32_t microseconds = 0,
                  format::Direction direction = format::Direction::None) {
    const auto head = format::write_head({what, tty, static_cast<uint32_t>(data.size()), direction, 1700000000, microseconds});
    const std::string bytes = std::string(reinterpret_cast<const char*>(head.data()), head.size()) + std::string(data);
    board_.records.put(std::span(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()));
    return bytes;
  }
  TtyLogWriter::Report report() {
    return [this](const std::string& line) { reports_.push_back(line); };
  }

  EventLoop loop_;
  console::TtyLogBoard board_;
  std::string directory_;
  std::vector<std::string> reports_;
};

constexpr std::string_view kNone("\0\0\0\0", 4);

TEST_F(TtyLogWriterTest, DescriptorGetsTheRecordsAsTheyAre) {
  const int fd = open((directory_ + "/log").c_str(), O_WRONLY | O_CREAT, 0600);
  TtyLogWriter writer(loop_, fd, "");
  writer.connect(board_, report());
  std::string all = put(format::What::Open, 0x400, kNone);
  all += put(format::What::Exec, 0x400, std::string_view("ls\0", 3));
  writer.serve();
  all += put(format::What::Close, 0x400, "");
  EXPECT_TRUE(writer.drain(1000));
  EXPECT_EQ(contents("log"), all);
  close(fd);
}

TEST_F(TtyLogWriterTest, DirectoryGetsAFileForEachOpening) {
  TtyLogWriter writer(loop_, -1, directory_);
  writer.connect(board_, report());
  put(format::What::Open, 0x400, kNone, 7);
  put(format::What::Open, 0x8800, kNone, 7);  // in the same microsecond
  put(format::What::Write, 0x400, "# ", 8, format::Direction::Write);
  put(format::What::Write, 0x8800, "other", 9, format::Direction::Write);
  put(format::What::Exec, 0x400, std::string_view("ls\0", 3));
  put(format::What::Write, 0x400, "ls\n", 10, format::Direction::Read);
  put(format::What::Close, 0x400, "");
  put(format::What::Open, 0x400, kNone, 20);
  put(format::What::Write, 0x400, "again", 21, format::Direction::Write);
  writer.serve();
  EXPECT_EQ(names(), (std::vector<std::string>{"1700000000-20", "1700000000-7", "1700000000-8"}));
  EXPECT_EQ(contents("1700000000-7"), "# ls\n");
  EXPECT_EQ(contents("1700000000-8"), "other");
  EXPECT_EQ(contents("1700000000-20"), "again");
  struct stat status {};
  ASSERT_EQ(stat((directory_ + "/1700000000-7").c_str(), &status), 0);
  const mode_t mask = umask(0);
  umask(mask);
  EXPECT_EQ(status.st_mode & 0777, 0644u & ~mask);
}

TEST_F(TtyLogWriterTest, RecordsMayComeInPieces) {
  TtyLogWriter writer(loop_, -1, directory_);
  writer.connect(board_, report());
  const auto head = format::write_head({format::What::Write, 0x400, 10, format::Direction::Write, 1700000000, 1});
  const std::string bytes = std::string(reinterpret_cast<const char*>(head.data()), head.size()) + "0123456789";
  for (const char byte : bytes) {
    board_.records.put(std::span(reinterpret_cast<const uint8_t*>(&byte), 1));
    writer.serve();
  }
  EXPECT_EQ(contents("1700000000-1"), "0123456789");
}

TEST_F(TtyLogWriterTest, SlowPipeIsWaitedFor) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  TtyLogWriter writer(loop_, ends[1], "");
  close(ends[1]);
  writer.connect(board_, report());
  std::string all;
  const std::string piece(4000, 'x');
  for (int i = 0; i < 40; ++i) {  // more than the pipe and the ring hold together
    while (board_.records.room() < piece.size() + 24) {
      std::string part(4096, '\0');
      const ssize_t count = read(ends[0], part.data(), part.size());
      all.append(part, 0, static_cast<size_t>(count));
      loop_.run_once(0);
    }
    put(format::What::Write, 0x400, piece, 0, format::Direction::Write);
    writer.serve();
  }
  while (all.size() < 40 * (piece.size() + 24)) {
    std::string part(4096, '\0');
    const ssize_t count = read(ends[0], part.data(), part.size());
    ASSERT_GT(count, 0);
    all.append(part, 0, static_cast<size_t>(count));
    loop_.run_once(0);
  }
  EXPECT_TRUE(board_.records.empty());
  EXPECT_TRUE(reports_.empty());
  close(ends[0]);
}

TEST_F(TtyLogWriterTest, EndIsNotWaitedForWithoutLimit) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  TtyLogWriter writer(loop_, ends[1], "");
  writer.connect(board_, report());
  const std::string piece(4000, 'x');
  for (int i = 0; i < 32; ++i) {
    if (board_.records.room() > piece.size() + 24) put(format::What::Write, 0x400, piece, 0, format::Direction::Write);
    writer.serve();
  }
  EXPECT_FALSE(writer.drain(20));
  close(ends[0]);
  close(ends[1]);
}

TEST_F(TtyLogWriterTest, FailureEndsTheLogWithAReport) {
  signal(SIGPIPE, SIG_IGN);
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  TtyLogWriter writer(loop_, ends[1], "");
  close(ends[1]);
  close(ends[0]);
  put(format::What::Close, 0x400, "");
  writer.connect(board_, report());
  EXPECT_TRUE(board_.records.is_abandoned());
  ASSERT_EQ(reports_.size(), 1u);
  EXPECT_NE(reports_[0].find("Broken pipe"), std::string::npos) << reports_[0];
  EXPECT_TRUE(writer.drain(10));
  EXPECT_EQ(reports_.size(), 1u) << "told once";
}

TEST_F(TtyLogWriterTest, WhatCannotBeWrittenIsSaidBeforeTheMachineStarts) {
  EXPECT_THROW(TtyLogWriter(loop_, 999, ""), std::runtime_error);
  const int fd = open("/dev/null", O_RDONLY);
  EXPECT_THROW(TtyLogWriter(loop_, fd, ""), std::runtime_error);
  close(fd);
  EXPECT_THROW(TtyLogWriter(loop_, -1, directory_ + "/none"), std::runtime_error);
  EXPECT_THROW(TtyLogWriter(loop_, -1, "/dev/null"), std::runtime_error);
}

}  // namespace
}  // namespace umk::monitor

#include "core/host/io_ring.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <string>
#include <vector>

#include "core/host/calls.h"

namespace umk::host {
namespace {

class IoRingTest : public testing::Test {
 protected:
  void SetUp() override {
    Result<std::unique_ptr<IoRing>> made = IoRing::create(8);
    if (!made.ok()) GTEST_SKIP() << "the host refuses io_uring: errno " << made.code();
    ring_ = made.take();
    fd_ = memfd_create("file", MFD_CLOEXEC);
  }
  ~IoRingTest() override {
    if (fd_ >= 0) ::close(fd_);
  }
  std::map<uint64_t, int32_t> wait_for_all() {
    std::map<uint64_t, int32_t> results;
    while (ring_->in_flight() != 0) {
      ring_->submit_and_wait();
      while (const std::optional<IoRing::Completion> completion = ring_->next()) results[completion->tag] = completion->result;
    }
    return results;
  }

  std::unique_ptr<IoRing> ring_;
  int fd_ = -1;
};

IoVector vector_of(std::string& text) { return {reinterpret_cast<std::byte*>(text.data()), text.size()}; }

TEST_F(IoRingTest, WritesAndReadsWithManyInFlight) {
  std::vector<std::string> pieces;
  for (int i = 0; i < 8; ++i) pieces.emplace_back(5000, static_cast<char>('a' + i));
  std::vector<IoVector> vectors;
  for (std::string& piece : pieces) vectors.push_back(vector_of(piece));
  for (uint64_t i = 0; i < 8; ++i) ring_->write(fd_, std::span(&vectors[i], 1), i * 5000, i);
  EXPECT_FALSE(ring_->has_room());
  std::map<uint64_t, int32_t> results = wait_for_all();
  ASSERT_EQ(results.size(), 8u);
  for (const auto& [tag, result] : results) EXPECT_EQ(result, 5000) << tag;

  std::string front(6000, '-'), back(34000, '-');
  const IoVector both[] = {vector_of(front), vector_of(back)};
  ring_->read(fd_, both, 0, 99);
  EXPECT_EQ(wait_for_all()[99], 40000);
  EXPECT_EQ(front[4999], 'a');
  EXPECT_EQ(front[5000], 'b');
  EXPECT_EQ(back.back(), 'h');
}

TEST_F(IoRingTest, GoesAroundManyTimes) {
  for (uint64_t i = 0; i < 1000; ++i) {
    std::string text = std::to_string(i);
    const IoVector vector = vector_of(text);
    ring_->write(fd_, std::span(&vector, 1), i * 16, i);
    ASSERT_EQ(wait_for_all()[i], static_cast<int32_t>(text.size()));
  }
  char last[4] = {};
  ASSERT_EQ(::pread(fd_, last, 3, 999 * 16), 3);
  EXPECT_STREQ(last, "999");
}

TEST_F(IoRingTest, TellsWhatFailed) {
  std::string text = "text";
  const IoVector vector = vector_of(text);
  ring_->write(-1, std::span(&vector, 1), 0, 1);
  ring_->read(fd_, std::span(&vector, 1), 100, 2);
  std::map<uint64_t, int32_t> results = wait_for_all();
  EXPECT_EQ(results[1], -EBADF);
  EXPECT_EQ(results[2], 0) << "beyond the end of the file";
}

TEST_F(IoRingTest, AReadOfAnEventEndsWhenItIsWritten) {
  const int event = make_event().take();
  uint64_t count = 0;
  const IoVector vector{reinterpret_cast<std::byte*>(&count), sizeof count};
  ring_->read(event, std::span(&vector, 1), 0, 7);
  const uint64_t one = 1;
  ASSERT_EQ(::write(event, &one, sizeof one), 8);
  EXPECT_EQ(wait_for_all()[7], 8);
  EXPECT_EQ(count, 1u);
  ::close(event);
}

TEST_F(IoRingTest, BeginsToWriteOut) {
  std::string text(8192, 't');
  ASSERT_EQ(::pwrite(fd_, text.data(), text.size(), 0), 8192);
  ring_->start_write_out(fd_, 0, 8192, 3);
  ring_->start_write_out(-1, 0, 8192, 4);
  std::map<uint64_t, int32_t> results = wait_for_all();
  EXPECT_EQ(results[3], 0);
  EXPECT_EQ(results[4], -EBADF);
}

TEST(IoRing, TooManyEntriesAreRefused) { EXPECT_EQ(IoRing::create(1 << 30).code(), EINVAL); }

}  // namespace
}  // namespace umk::host

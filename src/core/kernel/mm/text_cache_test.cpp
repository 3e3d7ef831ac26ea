#include "core/kernel/mm/text_cache.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/kernel/mm/fake_source.h"

namespace umk::mm {
namespace {

class TextCopyTest : public testing::Test {
 protected:
  static constexpr uint64_t kBytes = uint64_t{256} << 20;
  TextCopyTest() : fd_(memfd_create("cache", 0)) {
    EXPECT_EQ(ftruncate(fd_, kBytes), 0);
    base_ = static_cast<std::byte*>(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd_, 0));
    window_ = std::make_unique<CacheWindow>(base_, kBytes, fd_, account_);
  }
  ~TextCopyTest() override {
    window_.reset();
    EXPECT_EQ(account_.charged(), 0u);
    munmap(base_, kBytes);
    close(fd_);
  }

  int fd_;
  std::byte* base_;
  MemoryAccount account_;
  std::unique_ptr<CacheWindow> window_;
};

TEST_F(TextCopyTest, IsMadeOnceForEachRangeAndDistance) {
  fake::Source file(*window_, std::string(100000, 'c'));
  RefPtr<TextCopy> copy = TextCopy::find_or_make(file, *window_, kPageSize, 5 * kPageSize, kTrampolineGap).take();
  EXPECT_EQ(TextCopy::find_or_make(file, *window_, kPageSize, 5 * kPageSize, kTrampolineGap).take(), copy);
  EXPECT_FALSE(TextCopy::find_or_make(file, *window_, kPageSize, 5 * kPageSize, 2 * kTrampolineGap).take() == copy);
  EXPECT_FALSE(TextCopy::find_or_make(file, *window_, 0, 5 * kPageSize, kTrampolineGap).take() == copy);
  EXPECT_FALSE(TextCopy::find_or_make(file, *window_, kPageSize, 5 * kPageSize, 0).take()->has_trampolines());
  EXPECT_TRUE(file.has_text_copies());
}

TEST_F(TextCopyTest, HoldsTheFileAndZeroesBeyondItsEnd) {
  fake::Source file(*window_, std::string(kPageSize + 100, 'c'));
  RefPtr<TextCopy> copy = TextCopy::find_or_make(file, *window_, 0, 2 * kPageSize, kTrampolineGap).take();
  EXPECT_EQ(copy->text()[kPageSize + 99], std::byte{'c'});
  EXPECT_EQ(copy->text()[kPageSize + 100], std::byte{0});
  EXPECT_EQ(copy->trampolines().size(), kTrampolineGap);
  EXPECT_EQ(copy->text().data(), base_ + copy->text_cache_offset(0));
  EXPECT_EQ(copy->trampolines().data(), base_ + copy->trampoline_cache_offset(0));
}

TEST_F(TextCopyTest, ChangedContentsMakeANewCopyAndLeaveTheOldAlone) {
  fake::Source file(*window_, std::string(kPageSize, 'a'));
  RefPtr<TextCopy> old = TextCopy::find_or_make(file, *window_, 0, kPageSize, 0).take();
  file.write(0, "b");
  file.drop_text_copies();
  EXPECT_FALSE(file.has_text_copies());
  RefPtr<TextCopy> fresh = TextCopy::find_or_make(file, *window_, 0, kPageSize, 0).take();
  EXPECT_EQ(old->text()[0], std::byte{'a'});
  EXPECT_EQ(fresh->text()[0], std::byte{'b'});
}

TEST_F(TextCopyTest, MemoryThatDoesNotFitIsRefusedAndGivenBack) {
  fake::Source file(*window_, std::string(kPageSize, 'a'));
  account_.set_limit(10 * kPageSize);
  EXPECT_EQ(TextCopy::find_or_make(file, *window_, 0, 20 * kPageSize, 0).code(), ENOMEM);
  EXPECT_EQ(account_.charged(), kPageSize);
}

}  // namespace
}  // namespace umk::mm

#include "core/kernel/mm/address_space.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <random>

#include "core/kernel/mm/fake_engine.h"
#include "core/kernel/mm/fake_source.h"

namespace umk::mm {
namespace {

using namespace map_flags;
constexpr uint64_t kPage = kPageSize;
constexpr int kRead = 1, kWrite = 2, kExec = 4;

/// An address space on a cache window of its own.
template <typename Engine>
class SpaceFixture : public testing::Test {
 protected:
  static constexpr uint64_t kBytes = uint64_t{1} << 30;

  SpaceFixture() : fd_(memfd_create("cache", 0)) {
    EXPECT_EQ(ftruncate(fd_, kBytes), 0);
    base_ = static_cast<std::byte*>(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd_, 0));
    window_ = std::make_unique<CacheWindow>(base_, kBytes, fd_, account_);
    if constexpr (std::is_same_v<Engine, fake::MappingEngine>) {
      engine_ = std::make_unique<Engine>(fd_);
    } else {
      engine_ = std::make_unique<Engine>();
    }
    space_ = AddressSpace::create(*engine_, *window_).take();
  }
  ~SpaceFixture() override {
    for (const auto& [start, end] : mapped_) (void)engine_->unmap(start, end - start);
    space_ = nullptr;
    EXPECT_EQ(account_.committed(), 0u);
    files_.clear();
    window_.reset();
    EXPECT_EQ(account_.charged(), 0u);
    munmap(base_, kBytes);
    close(fd_);
  }

  uint64_t map(uint64_t length, int protection, uint32_t flags = kPrivate | kAnonymous, uint64_t hint = 0) {
    MapRequest request;
    request.hint = hint;
    request.length = length;
    request.protection = protection;
    request.flags = flags;
    Result<uint64_t> mapped = space_->map_request(request);
    if (!mapped.ok()) return static_cast<uint64_t>(-mapped.failure().code);
    mapped_.push_back({mapped.value(), mapped.value() + page_up(length)});
    return mapped.value();
  }
  uint64_t map_file(PageSource& source, uint64_t length, int protection, uint32_t flags, uint64_t offset = 0, uint64_t hint = 0, bool may_write = true) {
    MapRequest request;
    request.hint = hint;
    request.length = length;
    request.protection = protection;
    request.flags = flags;
    request.offset = offset;
    request.source = &source;
    request.may_write = may_write;
    Result<uint64_t> mapped = space_->map_request(request);
    if (!mapped.ok()) return static_cast<uint64_t>(-mapped.failure().code);
    mapped_.push_back({mapped.value(), mapped.value() + page_up(length)});
    return mapped.value();
  }
  /// A file that lives as long as the address space.
  fake::Source& make_file(const std::string& contents, PageSource::Kind kind = PageSource::Kind::Store) {
    return *files_.emplace_back(std::make_unique<fake::Source>(*window_, contents, kind));
  }
  struct Line {
    uint64_t start, end;
    int protection;
    friend bool operator==(const Line&, const Line&) = default;
  };
  std::vector<Line> lines() {
    std::vector<Line> all;
    space_->for_each_area([&](const Area& area) { all.push_back({area.start, area.end, area.protection}); });
    return all;
  }

  int fd_;
  std::byte* base_;
  MemoryAccount account_;
  std::unique_ptr<CacheWindow> window_;
  std::unique_ptr<Engine> engine_;
  std::vector<std::unique_ptr<fake::Source>> files_;
  RefPtr<AddressSpace> space_;
  std::vector<std::pair<uint64_t, uint64_t>> mapped_;
};

using AddressSpaceTest = SpaceFixture<fake::RecordingEngine>;

class MappedAddressSpaceTest : public SpaceFixture<fake::MappingEngine> {
 protected:
  void SetUp() override {
#if defined(__SANITIZE_THREAD__)
    GTEST_SKIP() << "the thread sanitizer keeps the guest's addresses for itself; nothing here has threads";
#endif
  }
};

uint64_t failure(int code) { return static_cast<uint64_t>(-code); }

TEST_F(AddressSpaceTest, PlacesFromTheTopDownAndJoinsNeighbours) {
  const uint64_t a = map(kPage, kRead | kWrite);
  const uint64_t b = map(3 * kPage, kRead | kWrite);
  EXPECT_EQ(b + 3 * kPage, a);
  EXPECT_EQ(lines(), (std::vector<Line>{{b, a + kPage, kRead | kWrite}}));
  const uint64_t c = map(kPage, kRead);
  EXPECT_EQ(c + kPage, b);
  EXPECT_EQ(lines().size(), 2u);
  // A hole is used again when it is large enough, and the highest is taken.
  EXPECT_TRUE(space_->unmap(b, 2 * kPage).ok());
  EXPECT_EQ(map(3 * kPage, kRead), c - 3 * kPage);
  EXPECT_EQ(map(2 * kPage, kRead), b);
}

TEST_F(AddressSpaceTest, HintsAreTakenWhenFree) {
  EXPECT_EQ(map(kPage, kRead, kPrivate | kAnonymous, 0x10000123), 0x10000000u);
  EXPECT_NE(map(kPage, kRead, kPrivate | kAnonymous, 0x10000000), 0x10000000u);
  EXPECT_EQ(map(kPage, kRead, kPrivate | kAnonymous, 0x1000), layout::kUserStart);
  EXPECT_LT(map(kPage, kRead, kPrivate | kAnonymous, layout::kUserEnd), layout::kUserEnd);
}

TEST_F(AddressSpaceTest, FixedReplacesAndNoReplaceRefuses) {
  const uint64_t a = map(10 * kPage, kRead | kWrite);
  EXPECT_EQ(map(2 * kPage, kRead, kPrivate | kAnonymous | kFixedNoReplace, a + 4 * kPage), failure(EEXIST));
  EXPECT_EQ(map(2 * kPage, kRead, kPrivate | kAnonymous | kFixed, a + 4 * kPage), a + 4 * kPage);
  EXPECT_EQ(lines(), (std::vector<Line>{{a, a + 4 * kPage, 3}, {a + 4 * kPage, a + 6 * kPage, 1}, {a + 6 * kPage, a + 10 * kPage, 3}}));
  EXPECT_EQ(map(kPage, kRead, kPrivate | kAnonymous | kFixed, a + 1), failure(EINVAL));
  EXPECT_EQ(map(kPage, kRead, kPrivate | kAnonymous | kFixed, 0x1000), failure(EPERM));
  EXPECT_EQ(map(kPage, kRead, kPrivate | kAnonymous | kFixed, layout::kUserEnd), failure(ENOMEM));
  EXPECT_EQ(map(2 * kPage, kRead, kPrivate | kAnonymous | kFixed, layout::kUserEnd - kPage), failure(ENOMEM));
  EXPECT_EQ(map(0, kRead), failure(EINVAL));
  EXPECT_EQ(map(UINT64_MAX - 5, kRead), failure(ENOMEM));
  EXPECT_EQ(map(kPage, kRead, kAnonymous), failure(EINVAL));
  EXPECT_EQ(map(kPage, kRead, kAnonymous | kShared | kGrowsDown), failure(EINVAL));
}

TEST_F(AddressSpaceTest, UnmapChecksItsArgumentsAndToleratesHoles) {
  const uint64_t a = map(4 * kPage, kRead);
  EXPECT_EQ(space_->unmap(a + 1, kPage).code(), EINVAL);
  EXPECT_EQ(space_->unmap(a, 0).code(), EINVAL);
  EXPECT_EQ(space_->unmap(layout::kUserEnd, kPage).code(), 0);
  EXPECT_EQ(space_->unmap(0, layout::kLinuxUserEnd + kPage).code(), EINVAL);
  EXPECT_EQ(space_->unmap(layout::kLinuxUserEnd, kPage).code(), EINVAL);
  EXPECT_EQ(space_->unmap(a - 10 * kPage, kPage).code(), 0);
  EXPECT_EQ(space_->unmap(a + kPage, kPage).code(), 0);
  EXPECT_EQ(space_->unmap(a - kPage, 10 * kPage).code(), 0);
  EXPECT_TRUE(lines().empty());
  EXPECT_TRUE(engine_->pages.empty());
  EXPECT_EQ(space_->total_bytes(), 0u);
}

TEST_F(AddressSpaceTest, ProtectChangesUpToAGapAndThenFails) {
  const uint64_t a = map(6 * kPage, kRead);
  EXPECT_TRUE(space_->unmap(a + 3 * kPage, kPage).ok());
  EXPECT_EQ(space_->protect(a + kPage, 4 * kPage, kRead | kWrite).code(), ENOMEM);
  EXPECT_EQ(lines(), (std::vector<Line>{{a, a + kPage, 1}, {a + kPage, a + 3 * kPage, 3}, {a + 4 * kPage, a + 6 * kPage, 1}}));
  EXPECT_EQ(space_->protect(a + 1, kPage, kRead).code(), EINVAL);
  EXPECT_EQ(space_->protect(a, 0, kRead).code(), 0);
  EXPECT_EQ(space_->protect(a, kPage, 0x40).code(), EINVAL);
  EXPECT_EQ(space_->protect(a, UINT64_MAX - kPage, kRead).code(), ENOMEM);
  EXPECT_TRUE(space_->protect(a + kPage, 2 * kPage, kRead).ok());
  EXPECT_EQ(lines().size(), 2u);
}

TEST_F(AddressSpaceTest, LimitsAreErrnoByErrno) {
  MapRequest request;
  request.length = 4 * kPage;
  request.protection = kRead | kWrite;
  request.flags = kPrivate | kAnonymous;
  EXPECT_EQ(space_->map_request(request, {.address_space = 3 * kPage}).code(), ENOMEM);
  EXPECT_EQ(space_->map_request(request, {.data = 3 * kPage}).code(), ENOMEM);
  request.flags |= kLocked;
  EXPECT_EQ(space_->map_request(request, {.locked = 3 * kPage}).code(), EAGAIN);
  request.flags = kPrivate | kAnonymous;
  EXPECT_TRUE(space_->map_request(request, {.address_space = 4 * kPage}).ok());
  // What is replaced counts no longer.
  request.hint = lines()[0].start;
  request.flags |= kFixed;
  EXPECT_TRUE(space_->map_request(request, {.address_space = 4 * kPage, .data = 4 * kPage}).ok());
  account_.set_limit(2 * kPage);
  EXPECT_EQ(space_->map_request(request).code(), ENOMEM);
}

TEST_F(AddressSpaceTest, WritableAndExecutablePagesFlip) {
  const uint64_t a = map(2 * kPage, kRead | kWrite | kExec);
  EXPECT_EQ(engine_->pages[a].protection, kRead | kWrite);
  bool is_mapped;
  EXPECT_TRUE(space_->handle_fault(a + 100, 16 | 1 | 4, &is_mapped).ok());
  EXPECT_EQ(engine_->pages[a].protection, kRead | kExec);
  EXPECT_EQ(engine_->pages[a + kPage].protection, kRead | kWrite);
  EXPECT_TRUE(space_->handle_fault(a + 100, 2 | 1 | 4, &is_mapped).ok());
  EXPECT_EQ(engine_->pages[a].protection, kRead | kWrite);
}

TEST_F(AddressSpaceTest, FaultsTellAccessFromMapping) {
  const uint64_t a = map(kPage, kRead);
  bool is_mapped = false;
  EXPECT_EQ(space_->handle_fault(a, 2 | 4, &is_mapped).code(), EFAULT);
  EXPECT_TRUE(is_mapped);
  EXPECT_EQ(space_->handle_fault(a, 16 | 4, &is_mapped).code(), EFAULT);
  EXPECT_EQ(space_->handle_fault(a - kPage, 4, &is_mapped).code(), EFAULT);
  EXPECT_FALSE(is_mapped);
  EXPECT_TRUE(space_->handle_fault(a, 4, &is_mapped).ok());
}

TEST_F(AddressSpaceTest, TheStackGrowsToItsLimitAndKeepsItsDistance) {
  space_->set_layout(1 << 20, 0);
  const uint64_t top = space_->map_stack(4 * kPage, kRead | kWrite).take();
  EXPECT_EQ(top, layout::kUserEnd);
  bool is_mapped;
  EXPECT_TRUE(space_->handle_fault(top - 100 * kPage, 2 | 4, &is_mapped, 1 << 20).ok());
  EXPECT_LE(lines()[0].start, top - 100 * kPage);
  EXPECT_TRUE(engine_->pages.contains(top - 100 * kPage));
  EXPECT_EQ(space_->handle_fault(top - 257 * kPage, 2 | 4, &is_mapped, 1 << 20).code(), EFAULT);
  EXPECT_TRUE(space_->handle_fault(top - 256 * kPage, 2 | 4, &is_mapped, 1 << 20).ok());
  // A neighbour that is closer than the guard gap stops it.
  EXPECT_EQ(map(kPage, kRead, kPrivate | kAnonymous | kFixed, top - 600 * kPage), top - 600 * kPage);
  EXPECT_TRUE(space_->handle_fault(top - 300 * kPage, 2 | 4, &is_mapped, 8 << 20).ok());
  EXPECT_EQ(space_->handle_fault(top - 400 * kPage, 2 | 4, &is_mapped, 8 << 20).code(), EFAULT);
}

TEST_F(AddressSpaceTest, TheBreakMovesByBytesAndStopsAtNeighbours) {
  space_->start_break(0x20000000);
  EXPECT_EQ(space_->set_break(0), 0x20000000u);
  EXPECT_EQ(space_->set_break(0x20000010), 0x20000010u);
  EXPECT_EQ(lines(), (std::vector<Line>{{0x20000000, 0x20001000, 3}}));
  EXPECT_EQ(space_->set_break(0x20005001), 0x20005001u);
  EXPECT_EQ(lines(), (std::vector<Line>{{0x20000000, 0x20006000, 3}}));
  map(kPage, kRead, kPrivate | kAnonymous | kFixed, 0x20008000);
  EXPECT_EQ(space_->set_break(0x20008001), 0x20005001u);
  EXPECT_EQ(space_->set_break(0x20008000), 0x20008000u);
  EXPECT_EQ(space_->set_break(0x20000800), 0x20000800u);
  EXPECT_EQ(lines()[0], (Line{0x20000000, 0x20001000, 3}));
  EXPECT_EQ(space_->set_break(0x20100000, {.data = 4096}), 0x20000800u);
}

TEST_F(AddressSpaceTest, TextIsTheKernelsCopyWithTrampolinesBelowTheImage) {
  fake::Source& file = make_file(std::string(20 * kPage, 'c'));
  // As the loader does: the whole image, then the text over it.
  const uint64_t image = map_file(file, 20 * kPage, kRead, kPrivate);
  const uint64_t text = image + 4 * kPage;
  ASSERT_EQ(map_file(file, 8 * kPage, kRead | kExec, kPrivate | kFixed, 4 * kPage, text), text);
  const AddressSpace::TextPlace place = space_->find_text(text + 123).take();
  ASSERT_TRUE(place.text);
  EXPECT_EQ(place.offset, 123u);
  EXPECT_EQ(place.text_start, text);
  EXPECT_EQ(place.text->trampoline_distance(), 4 * kPage + kTrampolineGap);
  EXPECT_EQ(place.text->text()[5], std::byte{'c'});
  const uint64_t trampolines = image - kTrampolineGap;
  EXPECT_EQ(engine_->pages[trampolines], (fake::RecordingEngine::Page{'c', true, kRead | kExec, place.text->trampoline_cache_offset(0)}));
  EXPECT_EQ(engine_->pages[text], (fake::RecordingEngine::Page{'c', true, kRead | kExec, place.text->text_cache_offset(0)}));
  EXPECT_EQ(space_->find_text(trampolines + 10).take().text, place.text);
  EXPECT_EQ(space_->find_text(trampolines + 10).take().text_start, text);
  // Not shown to the guest, not used for other mappings, gone with the text.
  EXPECT_EQ(lines().front().start, image);
  EXPECT_EQ(map(kPage, kRead), trampolines - kPage);
  EXPECT_FALSE(space_->find_text(image).take().text);

  // Another process at another place finds the same copy.
  RefPtr<AddressSpace> other = AddressSpace::create(*engine_, *window_).take();
  other->set_layout(8 << 20, 64 * 1000);
  MapRequest request;
  request.length = 20 * kPage;
  request.protection = kRead;
  request.flags = kPrivate;
  request.source = &file;
  const uint64_t other_image = other->map_request(request).take();
  EXPECT_NE(other_image, image);
  request = MapRequest{};
  request.hint = other_image + 4 * kPage;
  request.length = 8 * kPage;
  request.protection = kRead | kExec;
  request.flags = kPrivate | kFixed;
  request.offset = 4 * kPage;
  request.source = &file;
  EXPECT_TRUE(other->map_request(request).ok());
  EXPECT_EQ(other->find_text(other_image + 5 * kPage).take().text, place.text);
  other = nullptr;

  EXPECT_TRUE(space_->unmap(image, 20 * kPage).ok());
  EXPECT_FALSE(engine_->pages.contains(trampolines));
  file.drop_text_copies();
}

TEST_F(AddressSpaceTest, AGuestMappingOverTrampolinesUnpatchesTheText) {
  fake::Source& file = make_file(std::string(8 * kPage, 'c'));
  const uint64_t text = map_file(file, 8 * kPage, kRead | kExec, kPrivate);
  EXPECT_TRUE(space_->find_text(text).take().text);
  EXPECT_EQ(map(kPage, kRead | kWrite, kPrivate | kAnonymous | kFixedNoReplace, text - kPage), text - kPage);
  EXPECT_FALSE(space_->find_text(text).take().text);
  EXPECT_EQ(engine_->pages[text].shared, false);
  EXPECT_EQ(engine_->pages[text].protection, kRead | kExec);
  EXPECT_FALSE(engine_->pages.contains(text - kTrampolineGap));
}

TEST_F(AddressSpaceTest, WritableTextBecomesPrivatePages) {
  fake::Source& file = make_file(std::string(8 * kPage, 'c'));
  const uint64_t text = map_file(file, 8 * kPage, kRead | kExec, kPrivate);
  EXPECT_TRUE(space_->protect(text + 2 * kPage, kPage, kRead | kWrite).ok());
  EXPECT_EQ(engine_->pages[text + 2 * kPage].protection, kRead | kWrite);
  EXPECT_FALSE(engine_->pages[text + 2 * kPage].shared);
  EXPECT_TRUE(engine_->pages[text + 3 * kPage].shared);
  EXPECT_TRUE(space_->protect(text + 2 * kPage, kPage, kRead | kExec).ok());
  EXPECT_EQ(engine_->pages[text + 2 * kPage].protection, kRead | kExec);
  EXPECT_FALSE(space_->find_text(text + 2 * kPage).take().text);
  EXPECT_TRUE(space_->find_text(text + 3 * kPage).take().text);
}

TEST_F(AddressSpaceTest, SharedExecutableMappingsOfWritableHostFilesAreRefused) {
  fake::Source& file = make_file(std::string(8 * kPage, 'c'), PageSource::Kind::HostFile);
  EXPECT_EQ(map_file(file, kPage, kRead | kExec, kShared), failure(EPERM));
  EXPECT_LT(map_file(file, kPage, kRead | kExec, kShared, 0, 0, false), layout::kUserEnd);
  const uint64_t data = map_file(file, kPage, kRead, kShared, 0, 0, false);
  EXPECT_EQ(space_->protect(data, kPage, kRead | kWrite).code(), EACCES);
  EXPECT_EQ(space_->protect(data, kPage, kRead | kExec).code(), EACCES);
}

TEST_F(AddressSpaceTest, BeyondTheEndOfAFileIsABusErrorUntilItGrows) {
  fake::Source& file = make_file(std::string(kPage + 5, 'c'));
  const uint64_t a = map_file(file, 8 * kPage, kRead, kPrivate);
  EXPECT_EQ(engine_->pages[a + kPage].protection, kRead);
  EXPECT_EQ(engine_->pages[a + 2 * kPage].protection, 0);
  bool is_mapped;
  EXPECT_EQ(space_->handle_fault(a + 2 * kPage, 4, &is_mapped).code(), EIO);
  EXPECT_TRUE(is_mapped);
  file.resize(3 * kPage);
  EXPECT_TRUE(space_->handle_fault(a + 2 * kPage, 4, &is_mapped).ok());
  EXPECT_EQ(engine_->pages[a + 2 * kPage].protection, kRead);
  EXPECT_EQ(space_->handle_fault(a + 3 * kPage, 4, &is_mapped).code(), EIO);
  file.resize(kPage);
  space_->forget_beyond(file, kPage);
  EXPECT_EQ(space_->handle_fault(a + kPage, 4, &is_mapped).code(), EIO);
  EXPECT_EQ(engine_->pages[a + kPage].protection, 0);
}

TEST_F(AddressSpaceTest, ForkCopiesAreasAndTheirReferences) {
  fake::Source& file = make_file(std::string(4 * kPage, 'c'));
  const uint64_t a = map_file(file, 4 * kPage, kRead | kWrite, kPrivate);
  map(kPage, kRead | kWrite);
  const int references = file.references;
  RefPtr<AddressSpace> child;
  {
    MutexLock lock(space_->fork_mutex());
    child = space_->clone_for_fork().take();
  }
  EXPECT_EQ(file.references, references + 1);
  EXPECT_EQ(child->total_bytes(), space_->total_bytes());
  EXPECT_EQ(account_.committed(), 2 * space_->committed_bytes());
  EXPECT_NE(child->word_key(a, false).take().object, space_->word_key(a, false).take().object);
  child = nullptr;
  EXPECT_EQ(file.references, references);
}

TEST_F(AddressSpaceTest, FutexWordsOfSharedMemoryHaveOneKey) {
  fake::Source& file = make_file(std::string(4 * kPage, 'c'));
  const uint64_t a = map_file(file, 4 * kPage, kRead | kWrite, kShared);
  const uint64_t b = map_file(file, 2 * kPage, kRead | kWrite, kShared, 2 * kPage);
  const auto key_a = space_->word_key(a + 2 * kPage + 8, false).take(), key_b = space_->word_key(b + 8, false).take();
  EXPECT_EQ(key_a.object, key_b.object);
  EXPECT_EQ(key_a.offset, key_b.offset);
  EXPECT_NE(space_->word_key(b + 8, true).take().object, key_b.object);
  EXPECT_EQ(space_->word_key(b + 2, false).code(), EINVAL);
  EXPECT_EQ(space_->word_key(0x100000, false).code(), EFAULT);
}

TEST_F(AddressSpaceTest, AgreesWithAModelOfPages) {
  // What each page of a small range is for the guest; -1 unmapped.
  constexpr uint64_t kStart = 0x30000000, kPages = 64;
  std::mt19937_64 random(3);
  std::vector<int> model(kPages, -1);
  for (int step = 0; step < 20000; ++step) {
    const uint64_t first = random() % kPages, count = 1 + random() % std::min<uint64_t>(kPages - first, 12);
    const uint64_t address = kStart + first * kPage;
    const int protection = std::array{0, 1, 3, 5, 7}[random() % 5];
    switch (random() % 4) {
      case 0: {
        ASSERT_EQ(map(count * kPage, protection, kPrivate | kAnonymous | kFixed, address), address);
        std::fill_n(model.begin() + static_cast<long>(first), count, protection);
        mapped_.clear();
        break;
      }
      case 1: {
        ASSERT_TRUE(space_->unmap(address, count * kPage).ok());
        std::fill_n(model.begin() + static_cast<long>(first), count, -1);
        break;
      }
      case 2: {
        const Result<void> outcome = space_->protect(address, count * kPage, protection);
        uint64_t until = first;
        while (until < first + count && model[until] >= 0) ++until;
        ASSERT_EQ(outcome.code(), until == first + count ? 0 : ENOMEM);
        std::fill(model.begin() + static_cast<long>(first), model.begin() + static_cast<long>(until), protection);
        break;
      }
      default: {
        const uint64_t found = map(count * kPage, 1, kPrivate | kAnonymous | kFixedNoReplace, address);
        const bool is_free = std::all_of(model.begin() + static_cast<long>(first), model.begin() + static_cast<long>(first + count), [](int p) { return p < 0; });
        ASSERT_EQ(found, is_free ? address : failure(EEXIST));
        if (is_free) std::fill_n(model.begin() + static_cast<long>(first), count, 1);
        mapped_.clear();
      }
    }
    // Areas say what the model says, and neighbours that are alike are one.
    std::vector<int> seen(kPages, -1);
    uint64_t previous_end = 0;
    int previous = -1;
    for (const Line& line : lines()) {
      ASSERT_LE(previous_end, line.start);
      ASSERT_LT(line.start, line.end);
      if (line.start == previous_end) previous = line.protection;
      previous_end = line.end;
      for (uint64_t at = line.start; at < line.end; at += kPage) seen[(at - kStart) / kPage] = line.protection;
    }
    (void)previous;
    ASSERT_EQ(seen, model) << step;
    for (uint64_t i = 0; i < kPages; ++i) {
      auto page = engine_->pages.find(kStart + i * kPage);
      ASSERT_EQ(page != engine_->pages.end(), model[i] >= 0);
      if (model[i] >= 0 && model[i] != 7) {
        ASSERT_EQ(page->second.protection, model[i]);
      }
    }
  }
}

TEST_F(AddressSpaceTest, EveryFailureOfTheHostLeavesAConsistentSpace) {
  fake::Source& file = make_file(std::string(20 * kPage, 'c'));
  for (uint64_t n = 1; n < 12; ++n) {
    engine_->fail_after = n;
    const uint64_t a = map_file(file, 20 * kPage, kRead, kPrivate);
    if (a < layout::kUserEnd) (void)map_file(file, 8 * kPage, kRead | kExec, kPrivate | kFixed, 4 * kPage, a + 4 * kPage);
    engine_->fail_after = 0;
    std::map<uint64_t, int> shown;
    space_->for_each_area([&](const Area& area) {
      for (uint64_t at = area.start; at < area.end; at += kPage) shown[at] = 1;
    });
    for (const auto& [at, _] : shown) ASSERT_TRUE(engine_->pages.contains(at)) << n;
    space_->clear();
    engine_->pages.clear();
    mapped_.clear();
    ASSERT_EQ(file.references, 0);
  }
}

TEST_F(AddressSpaceTest, RemapChecksWhatLinuxChecks) {
  const uint64_t a = map(16 * kPage, kRead | kWrite);
  const auto code = [&](uint64_t old_start, uint64_t old_length, uint64_t new_length, uint32_t flags, uint64_t to = 0) {
    return space_->remap(old_start, old_length, new_length, flags, to).code();
  };
  EXPECT_EQ(code(a, kPage, 0, 0), EINVAL);
  EXPECT_EQ(code(a, kPage, kPage, 8), EINVAL);
  EXPECT_EQ(code(a, kPage, 2 * kPage, 0), ENOMEM);
  EXPECT_EQ(code(a + 1, kPage, 2 * kPage, 0), EINVAL);
  EXPECT_EQ(code(a, kPage, 2 * kPage, 2, a + 8 * kPage), EINVAL);
  EXPECT_EQ(code(a, 2 * kPage, 2 * kPage, 3, a + kPage), EINVAL);
  EXPECT_EQ(code(a, 0, kPage, 1), EINVAL);
  EXPECT_EQ(code(a, 20 * kPage, 21 * kPage, 1), EFAULT);
  EXPECT_EQ(code(a, kPage, 2 * kPage, 5), EINVAL);
  EXPECT_EQ(code(0x10000, kPage, kPage, 0), EFAULT);
}

TEST_F(AddressSpaceTest, AdviceIsCheckedAsLinuxDoes) {
  const uint64_t a = map(3 * kPage, kRead | kWrite);
  for (int advice : {77, 100, 25, -1}) {
    EXPECT_EQ(space_->advise(a, kPage, advice).code(), EINVAL);
    EXPECT_EQ(space_->advise(a, 0, advice).code(), EINVAL);
  }
  EXPECT_EQ(space_->advise(a + 1, 0, 4).code(), EINVAL);
  EXPECT_EQ(space_->advise(a, UINT64_MAX, 4).code(), EINVAL);
  EXPECT_EQ(space_->advise(a, kPage, 9).code(), EINVAL);
  EXPECT_EQ(space_->advise(a, 0, 4).code(), 0);
  EXPECT_TRUE(space_->unmap(a + kPage, kPage).ok());
  engine_->advices.clear();
  EXPECT_EQ(space_->advise(a, 3 * kPage, 4).code(), ENOMEM);
  EXPECT_EQ(engine_->advices.size(), 2u);
  EXPECT_TRUE(space_->protect(a, kPage, kRead).ok());
  EXPECT_EQ(space_->advise(a, kPage, 23).code(), EINVAL);
  EXPECT_TRUE(space_->lock_pages(a, kPage, true).ok());
  EXPECT_EQ(space_->advise(a, kPage, 4).code(), EINVAL);
  EXPECT_EQ(space_->advise(a, kPage, 24).code(), 0);
}

TEST_F(AddressSpaceTest, ForkLeavesOutWhatMadviseSays) {
  const uint64_t a = map(3 * kPage, kRead | kWrite);
  EXPECT_TRUE(space_->advise(a + kPage, kPage, 10).ok());
  EXPECT_EQ(lines().size(), 3u);
  {
    MutexLock lock(space_->fork_mutex());
    RefPtr<AddressSpace> child = space_->clone_for_fork().take();
    EXPECT_EQ(child->total_bytes(), 2 * kPage);
  }
  EXPECT_TRUE(space_->advise(a + kPage, kPage, 11).ok());
  EXPECT_EQ(lines().size(), 1u);
}

TEST_F(AddressSpaceTest, LockingCountsAndKeepsLimits) {
  const uint64_t a = map(8 * kPage, kRead | kWrite);
  EXPECT_TRUE(space_->lock_pages(a + 5, kPage, true).ok());
  EXPECT_EQ(space_->locked_bytes(), 2 * kPage);
  EXPECT_EQ(space_->lock_pages(a, 4 * kPage, true, false, {.locked = 3 * kPage}).code(), ENOMEM);
  EXPECT_EQ(space_->lock_pages(a, 4 * kPage, true, false, {.locked = 0}).code(), EPERM);
  EXPECT_TRUE(space_->lock_pages(a, 3 * kPage, true, false, {.locked = 3 * kPage}).ok());
  EXPECT_EQ(space_->lock_pages(a, UINT64_MAX, true).code(), 0);
  EXPECT_EQ(space_->lock_pages(a + 7 * kPage, 2 * kPage, true).code(), ENOMEM);
  EXPECT_TRUE(space_->lock_pages(a, 8 * kPage, false).ok());
  EXPECT_EQ(space_->locked_bytes(), 0u);
  EXPECT_TRUE(space_->lock_all(3).ok());
  EXPECT_EQ(space_->locked_bytes(), 8 * kPage);
  map(kPage, kRead);
  EXPECT_EQ(space_->locked_bytes(), 9 * kPage);
  EXPECT_TRUE(space_->lock_all(0).ok());
  EXPECT_EQ(space_->locked_bytes(), 0u);
}

TEST_F(AddressSpaceTest, SyncReportsGapsAndBusyPages) {
  const uint64_t a = map(3 * kPage, kRead | kWrite);
  EXPECT_EQ(space_->sync(a, kPage, 8).code(), EINVAL);
  EXPECT_EQ(space_->sync(a, kPage, 5).code(), EINVAL);
  EXPECT_EQ(space_->sync(a + 1, 0, 4).code(), EINVAL);
  EXPECT_EQ(space_->sync(a, UINT64_MAX, 4).code(), 0);
  EXPECT_EQ(space_->sync(a, 3 * kPage, 4).code(), 0);
  EXPECT_EQ(space_->sync(a, 4 * kPage, 4).code(), ENOMEM);
  EXPECT_TRUE(space_->lock_pages(a, kPage, true).ok());
  EXPECT_EQ(space_->sync(a, kPage, 2).code(), EBUSY);
}

// --- with real mappings

char* at(uint64_t address) { return reinterpret_cast<char*>(address); }

TEST_F(MappedAddressSpaceTest, PrivateMappingsOfAStoreShowItAndKeepTheirChanges) {
  fake::Source& file = make_file(std::string(100 * kPage, 'f'));
  const uint64_t a = map_file(file, 100 * kPage, kRead | kWrite, kPrivate);
  ASSERT_LT(a, layout::kUserEnd);
  EXPECT_EQ(at(a)[70 * kPage], 'f');
  at(a)[3] = 'x';
  file.write(0, "gggg");
  file.write(50 * kPage, "gggg");
  EXPECT_EQ(std::string(at(a), 5), "fffxf");
  EXPECT_EQ(std::string(at(a) + 50 * kPage, 5), "ggggf");
  EXPECT_EQ(file.read(0, 4), "gggg");
}

TEST_F(MappedAddressSpaceTest, SharedMappingsAreTheFile) {
  fake::Source& file = make_file(std::string());
  file.resize(40 * kPage);
  const uint64_t a = map_file(file, 40 * kPage, kRead | kWrite, kShared);
  EXPECT_EQ(at(a)[20 * kPage], 0);
  // The first write comes as a fault, which makes the page the file's.
  bool is_mapped;
  EXPECT_TRUE(space_->handle_fault(a + 20 * kPage, 2 | 1 | 4, &is_mapped).ok());
  at(a)[20 * kPage] = 's';
  EXPECT_EQ(file.read(20 * kPage, 1), "s");
  file.write(20 * kPage + 1, "w");
  EXPECT_EQ(std::string(at(a) + 20 * kPage, 2), "sw");
}

TEST_F(MappedAddressSpaceTest, SharedAnonymousMemoryNeedsNoFaults) {
  const uint64_t a = map(300 * kPage, kRead | kWrite, kShared | kAnonymous);
  memset(at(a), 7, 300 * kPage);
  EXPECT_TRUE(space_->unmap(a, 300 * kPage).ok());
  mapped_.clear();
  EXPECT_EQ(account_.charged(), 0u);
  EXPECT_EQ(window_->chunks_in_use(), 0u);
}

TEST_F(MappedAddressSpaceTest, SealedPagesKeepContentsAndCanRun) {
  // mov $42, %eax; ret
  fake::Source& file = make_file(std::string("\xb8\x2a\0\0\0\xc3", 6));
  const uint64_t a = map_file(file, kPage, kRead | kWrite, kPrivate);
  at(a)[1] = 43;
  EXPECT_TRUE(space_->protect(a, kPage, kRead | kExec).ok());
  EXPECT_EQ(reinterpret_cast<int (*)()>(a)(), 43);
  const uint64_t text = map_file(file, kPage, kRead | kExec, kPrivate);
  EXPECT_EQ(reinterpret_cast<int (*)()>(text)(), 42);
}

TEST_F(MappedAddressSpaceTest, RemapMovesPagesAndGrows) {
  const uint64_t a = map(4 * kPage, kRead | kWrite);
  const uint64_t above = map(kPage, kRead | kWrite, kPrivate | kAnonymous | kFixed, a + 4 * kPage);
  for (uint64_t i = 0; i < 4; ++i) at(a)[i * kPage] = static_cast<char>('0' + i);
  // A page that flipped is a mapping of its own on the host.
  EXPECT_TRUE(space_->protect(a + kPage, kPage, kRead | kWrite | kExec).ok());
  EXPECT_TRUE(space_->protect(a + kPage, kPage, kRead | kWrite).ok());
  EXPECT_TRUE(engine_->advise(a + 2 * kPage, kPage, MADV_DONTDUMP).ok());
  const uint64_t b = space_->remap(a, 4 * kPage, 10 * kPage, 1, 0).take();
  mapped_.push_back({b, b + 20 * kPage});
  EXPECT_NE(b, a);
  for (uint64_t i = 0; i < 4; ++i) EXPECT_EQ(at(b)[i * kPage], '0' + static_cast<char>(i));
  EXPECT_EQ(at(b)[9 * kPage], 0);
  EXPECT_EQ(space_->remap(b, 10 * kPage, 3 * kPage, 0, 0).take(), b);
  EXPECT_EQ(space_->remap(b, 3 * kPage, 5 * kPage, 0, 0).take(), b);
  EXPECT_EQ(at(b)[2 * kPage], '2');
  EXPECT_EQ(at(b)[3 * kPage], 0);
  // To a given place, replacing what is there.
  EXPECT_EQ(space_->remap(b, 2 * kPage, kPage, 3, above).take(), above);
  EXPECT_EQ(at(above)[0], '0');
  EXPECT_EQ(space_->remap(b, kPage, kPage, 0, 0).code(), EFAULT);
}

TEST_F(MappedAddressSpaceTest, RemapCutsNothingBehindTheGuestsEnd) {
  const uint64_t a = map(4 * kPage, kRead | kWrite);
  EXPECT_EQ(space_->remap(a, layout::kUserEnd, kPage, 1, 0).code(), EINVAL);
  EXPECT_EQ(space_->remap(a, layout::kUserEnd - a + kPage, kPage, 0, 0).code(), EINVAL);
  EXPECT_EQ(space_->remap(a, layout::kUserEnd - kPage, layout::kUserEnd, 1, 0).code(), EFAULT);
  at(a)[3 * kPage] = 'x';
  EXPECT_EQ(space_->total_bytes(), 4 * kPage);
}

TEST_F(MappedAddressSpaceTest, RemapOfPrivateFilePagesKeepsChangesAndFindsTheRest) {
  fake::Source& file = make_file(std::string(40 * kPage, 'f'));
  const uint64_t a = map_file(file, 20 * kPage, kRead | kWrite, kPrivate);
  at(a)[5 * kPage] = 'x';
  const uint64_t b = space_->remap(a, 20 * kPage, 41 * kPage, 1, 0).take();
  mapped_.push_back({b, b + 41 * kPage});
  EXPECT_EQ(std::string(at(b) + 5 * kPage, 2), "xf");
  EXPECT_EQ(at(b)[39 * kPage], 'f');
  bool is_mapped;
  EXPECT_EQ(space_->handle_fault(b + 40 * kPage, 4, &is_mapped).code(), EIO);
  // A second view of shared memory.
  const uint64_t c = map_file(file, kPage, kRead | kWrite, kShared);
  const uint64_t d = space_->remap(c, 0, kPage, 1, 0).take();
  mapped_.push_back({d, d + kPage});
  at(c)[9] = 'y';
  EXPECT_EQ(at(d)[9], 'y');
}

TEST_F(MappedAddressSpaceTest, DontUnmapLeavesFreshPages) {
  const uint64_t a = map(2 * kPage, kRead | kWrite);
  at(a)[0] = 'a';
  const uint64_t b = space_->remap(a, 2 * kPage, 2 * kPage, 5, 0).take();
  mapped_.push_back({b, b + 2 * kPage});
  EXPECT_EQ(at(b)[0], 'a');
  EXPECT_EQ(at(a)[0], 0);
  EXPECT_EQ(space_->total_bytes(), 4 * kPage);
}

TEST_F(MappedAddressSpaceTest, DontNeedBringsBackTheFileAndNeverItsPagesAsCode) {
  fake::Source& file = make_file(std::string(2 * kPage, 'f'));
  const uint64_t a = map_file(file, 2 * kPage, kRead | kWrite, kPrivate);
  at(a)[0] = 'x';
  EXPECT_TRUE(space_->advise(a, kPage, 4).ok());
  EXPECT_EQ(at(a)[0], 'f');
  EXPECT_TRUE(space_->protect(a, 2 * kPage, kRead | kExec).ok());
  EXPECT_TRUE(space_->advise(a, kPage, 4).ok());
  file.write(0, "gg");
  EXPECT_EQ(at(a)[0], 'f');
}

TEST_F(MappedAddressSpaceTest, RemovedSharedMemoryReadsAsZeroes) {
  const uint64_t a = map(40 * kPage, kRead | kWrite, kShared | kAnonymous);
  memset(at(a), 7, 40 * kPage);
  EXPECT_TRUE(space_->advise(a + kPage, 30 * kPage, 9).ok());
  EXPECT_EQ(at(a)[kPage - 1], 7);
  EXPECT_EQ(at(a)[kPage], 0);
  EXPECT_EQ(at(a)[31 * kPage - 1], 0);
  EXPECT_EQ(at(a)[31 * kPage], 7);
  at(a)[5 * kPage] = 1;
  EXPECT_EQ(at(a)[5 * kPage], 1);
}

TEST_F(MappedAddressSpaceTest, TruncationTakesPagesAwayFromAllWhoMapThem) {
  fake::Source& file = make_file(std::string(10 * kPage, 'f'));
  const uint64_t a = map_file(file, 10 * kPage, kRead | kWrite, kShared);
  file.resize(3 * kPage + 10);
  unmap_beyond(file, 3 * kPage + 10);
  bool is_mapped;
  EXPECT_EQ(space_->handle_fault(a + 4 * kPage, 4, &is_mapped).code(), EIO);
  EXPECT_EQ(at(a)[3 * kPage + 9], 'f');
  EXPECT_EQ(at(a)[3 * kPage + 10], 0);
  file.resize(10 * kPage);
  EXPECT_TRUE(space_->handle_fault(a + 4 * kPage, 4, &is_mapped).ok());
  EXPECT_EQ(at(a)[4 * kPage], 0);
}

TEST_F(MappedAddressSpaceTest, ResidencyIsOneByteAPage) {
  const uint64_t a = map(4 * kPage, kRead | kWrite);
  at(a)[kPage] = 1;
  uint8_t vector[5] = {9, 9, 9, 9, 9};
  EXPECT_TRUE(space_->residency(a, 4 * kPage, reinterpret_cast<uint64_t>(vector)).ok());
  EXPECT_EQ(vector[0], 0);
  EXPECT_EQ(vector[1], 1);
  EXPECT_EQ(vector[4], 9);
  EXPECT_EQ(space_->residency(a + 1, kPage, reinterpret_cast<uint64_t>(vector)).code(), EINVAL);
  EXPECT_EQ(space_->residency(a, 5 * kPage, reinterpret_cast<uint64_t>(vector)).code(), ENOMEM);
  EXPECT_EQ(space_->residency(a, kPage, 1).code(), EFAULT);
  EXPECT_EQ(space_->residency(a, 0, 1).code(), 0);
}

}  // namespace
}  // namespace umk::mm

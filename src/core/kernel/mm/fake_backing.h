// For hosted tests: a window on a memory file, and storage for cached files that fails and waits when it is told to.
#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <condition_variable>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "core/kernel/guest/fake_user_memory.h"
#include "core/kernel/mm/page_cache.h"

#if defined(__SANITIZE_THREAD__)
extern "C" void AnnotateBenignRaceSized(const char* file, int line, const volatile void* memory, size_t size, const char* description);
#endif

namespace umk::mm {

/// What the write-back thread alone does otherwise.
struct CachedFileInspector {
  static uint64_t evict(CachedFile& file) { return file.evict_mapped(1000); }
};

}  // namespace umk::mm

namespace umk::mm::fake {

struct Window {
  static constexpr uint64_t kBytes = uint64_t{1} << 30;

  explicit Window(uint64_t limit = 0) : account(limit) {
    fd = memfd_create("cache", 0);
    EXPECT_EQ(ftruncate(fd, kBytes), 0);
    base = static_cast<std::byte*>(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0));
    window = std::make_unique<CacheWindow>(base, kBytes, fd, account);
#if defined(__SANITIZE_THREAD__)
    // File data may be read and written at once: read(2) promises no order. The tree that finds it must not race.
    AnnotateBenignRaceSized(__FILE__, __LINE__, base, kBytes, "file data");
#endif
  }
  ~Window() {
    window.reset();
    EXPECT_EQ(account.charged(), 0u);
    EXPECT_EQ(host_pages(), 0u);
    munmap(base, kBytes);
    close(fd);
  }
  uint64_t host_pages() const {
    struct stat status;
    fstat(fd, &status);
    return static_cast<uint64_t>(status.st_blocks) / 8;
  }

  int fd;
  std::byte* base;
  MemoryAccount account;
  std::unique_ptr<CacheWindow> window;
};

/// A file whose storage is a string of pages; absent pages are holes.
class Backing final : public FileBacking {
 public:
  Backing(PageCache& cache, WriteBackGroup& group) : file_(cache, group, *this) {}
  ~Backing() {
    while (references != 0) std::this_thread::yield();
    file_.discard();
  }

  Result<void> read_pages(uint64_t first_page, std::span<const PageMemory> pieces) override {
    if (before_read) before_read(first_page);
    std::lock_guard lock(mutex_);
    ++reads;
    uint64_t page = first_page;
    for (const PageMemory piece : pieces)
      for (size_t at = 0; at < piece.size(); at += kPageSize, ++page) {
        if (failing.contains(page)) return error(EIO);
        ++pages_read;
        const auto found = storage.find(page);
        if (found == storage.end() || page >= (page_up(size) >> kPageShift)) {
          memset(piece.data() + at, 0, kPageSize);
        } else {
          memcpy(piece.data() + at, found->second.data(), kPageSize);
        }
      }
    return {};
  }
  /// With `defers_reads` what is read ahead waits for finish_reads().
  void start_reading(uint64_t first_page, std::span<const PageMemory> pieces, ReadDone& done) override {
    if (!defers_reads) return FileBacking::start_reading(first_page, pieces, done);
    std::lock_guard lock(mutex_);
    deferred_.push_back({first_page, pieces, &done});
  }
  /// Ends what was begun; returns the pages of it. With an errno nothing is read.
  std::vector<uint64_t> finish_reads(int error_code = 0) {
    std::vector<Deferred> reads;
    {
      std::lock_guard lock(mutex_);
      reads.swap(deferred_);
    }
    std::vector<uint64_t> pages;
    for (const Deferred& read : reads) {
      uint64_t page = read.first_page;
      for (const PageMemory piece : read.pieces)
        for (size_t at = 0; at < piece.size(); at += kPageSize) pages.push_back(page++);
      read.done->on_read(error_code ? error_code : read_pages(read.first_page, read.pieces).code());
    }
    return pages;
  }
  size_t deferred_reads() {
    std::lock_guard lock(mutex_);
    return deferred_.size();
  }
  Result<void> write_pages(uint64_t first_page, std::span<const PageMemory> pieces, WriteReason) override {
    if (before_write) before_write(first_page);
    std::lock_guard lock(mutex_);
    ++writes;
    if (write_error) return error(write_error);
    uint64_t page = first_page;
    for (const PageMemory piece : pieces)
      for (size_t at = 0; at < piece.size(); at += kPageSize, ++page) {
        EXPECT_TRUE(reserved.contains(page) || storage.contains(page)) << "page " << page << " was not reserved";
        reserved.erase(page);
        storage[page].assign(reinterpret_cast<const char*>(piece.data()) + at, kPageSize);
        ++pages_written;
      }
    return {};
  }
  /// With `most_at_once` runs are written when they are finished, so many pages at once.
  Result<std::unique_ptr<PageWrite>> start_writing(uint64_t first_page, std::span<const PageMemory> pieces, WriteReason reason, WhenBusy when_busy) override {
    if (most_at_once == 0) return error(EOPNOTSUPP);
    std::lock_guard lock(mutex_);
    if (busy_times > 0 && when_busy == WhenBusy::Fail) {
      --busy_times;
      return error(EAGAIN);
    }
    if (++writes_under_way > most_under_way) most_under_way = writes_under_way;
    return std::unique_ptr<PageWrite>(std::make_unique<Started>(*this, first_page, std::vector<PageMemory>(pieces.begin(), pieces.end()), reason));
  }
  Result<void> reserve(uint64_t first_page, uint64_t count) override {
    std::lock_guard lock(mutex_);
    std::set<uint64_t> added;
    for (uint64_t page = first_page; page < first_page + count; ++page)
      if (!storage.contains(page) && !reserved.contains(page)) added.insert(page);
    if (storage.size() + reserved.size() + added.size() > capacity) return error(ENOSPC);
    reserved.merge(added);
    return {};
  }
  void release(uint64_t first_page, uint64_t count) override {
    std::lock_guard lock(mutex_);
    for (uint64_t page = first_page; page < first_page + count; ++page) reserved.erase(page);
  }
  bool is_hole(uint64_t page) override {
    std::lock_guard lock(mutex_);
    return !storage.contains(page) && !reserved.contains(page);
  }
  FixedExtent fixed_extent(uint64_t first_page, uint64_t count) override {
    FixedExtent extent = find_fixed ? find_fixed(first_page) : FixedExtent{};
    if (extent.bytes > count * kPageSize) extent.bytes = count * kPageSize;
    return extent;
  }
  uint64_t mappable_bytes() const override { return size; }
  void add_mapping_reference() override { ++references; }
  bool try_add_mapping_reference() override { return ++references, true; }
  void drop_mapping_reference() override { --references; }
  CachedFile& cached_file() override { return file_; }

  // What a filesystem does around the cache.
  Result<size_t> write(uint64_t offset, std::string_view text, bool direct = false) {
    std::lock_guard writers(data_mutex_);
    if (offset > size) file_.extend(size, offset);
    UserInBuffer buffer(reinterpret_cast<uint64_t>(text.data()), text.size());
    const size_t count = TRY(direct ? file_.write_direct(offset, buffer) : file_.write(offset, buffer));
    if (offset + count > size) size = offset + count;
    return count;
  }
  Result<size_t> read(uint64_t offset, char* into, size_t length, bool direct = false) {
    const uint64_t end = size;
    if (offset >= end) return size_t{0};
    UserOutBuffer buffer(reinterpret_cast<uint64_t>(into), length);
    if (direct) return file_.read_direct(offset, buffer);
    buffer.limit(end - offset);
    return file_.read(offset, buffer);
  }
  std::string read(uint64_t offset, size_t length) {
    std::string text(length, 'x');
    text.resize(read(offset, text.data(), length).value_or(0));
    return text;
  }
  Result<void> resize(uint64_t wanted) {
    std::lock_guard writers(data_mutex_);
    if (wanted >= size) {
      file_.extend(size, wanted);
      size = wanted;
      return {};
    }
    CachedFile::NoFills hold(file_);
    size = wanted;
    Result<void> cut = file_.truncate(wanted);
    std::lock_guard lock(mutex_);
    storage.erase(storage.lower_bound(page_up(wanted) >> kPageShift), storage.end());
    return cut;
  }
  Result<void> punch(uint64_t offset, uint64_t length) {
    std::lock_guard writers(data_mutex_);
    CachedFile::NoFills hold(file_);
    if (offset >= size) return {};
    Result<void> cut = file_.punch(offset, length);
    std::lock_guard lock(mutex_);
    const uint64_t first = page_up(offset) >> kPageShift, end = (offset + length) >> kPageShift;
    if (first < end) storage.erase(storage.lower_bound(first), storage.lower_bound(end));
    return cut;
  }
  /// What the storage alone holds.
  std::string stored(uint64_t offset, size_t length) {
    std::lock_guard lock(mutex_);
    std::string text;
    for (uint64_t at = offset; at < offset + length; ++at) {
      const auto found = storage.find(at / kPageSize);
      text.push_back(found == storage.end() ? '\0' : found->second[at % kPageSize]);
    }
    return text;
  }

  std::map<uint64_t, std::string> storage;  // under mutex_
  std::set<uint64_t> reserved;
  std::set<uint64_t> failing;  // pages that cannot be read
  int write_error = 0;
  std::atomic<bool> defers_reads{false};
  uint64_t most_at_once = 0;  // pages
  int busy_times = 0;         // so often somebody is refused who has writes under way
  int vain_writes = 0;        // so many of them are for nothing
  int writes_under_way = 0, most_under_way = 0;
  uint64_t capacity = UINT64_MAX;
  uint64_t reads = 0, writes = 0, pages_read = 0, pages_written = 0;
  std::atomic<uint64_t> size{0};
  std::atomic<int> references{0};
  std::function<void(uint64_t)> before_read, before_write;
  std::function<FixedExtent(uint64_t)> find_fixed;  // where pages from one on lie

 private:
  class Started final : public PageWrite {
   public:
    Started(Backing& backing, uint64_t first_page, std::vector<PageMemory> pieces, WriteReason reason)
        : backing_(backing), first_page_(first_page), pieces_(std::move(pieces)), reason_(reason) {}
    uint64_t pages() const override {
      uint64_t count = 0;
      for (const PageMemory piece : pieces_) count += piece.size() >> kPageShift;
      return std::min(count, backing_.most_at_once);
    }
    Result<bool> finish() override {
      bool is_vain;
      {
        std::lock_guard lock(backing_.mutex_);
        --backing_.writes_under_way;
        is_vain = backing_.vain_writes > 0 && backing_.vain_writes-- > 0;
      }
      if (is_vain) return false;
      uint64_t left = pages() << kPageShift;
      std::vector<PageMemory> some;
      for (const PageMemory piece : pieces_) {
        some.push_back(piece.first(std::min<uint64_t>(piece.size(), left)));
        left -= some.back().size();
        if (left == 0) break;
      }
      TRY(backing_.write_pages(first_page_, some, reason_));
      return true;
    }

   private:
    Backing& backing_;
    const uint64_t first_page_;
    const std::vector<PageMemory> pieces_;
    const WriteReason reason_;
  };
  struct Deferred {
    uint64_t first_page;
    std::span<const PageMemory> pieces;
    ReadDone* done;
  };
  std::mutex mutex_, data_mutex_;
  std::vector<Deferred> deferred_;
  CachedFile file_;
};

}  // namespace umk::mm::fake

// PageSource: what can be mapped. PageStore: the pages of one file in the page cache.
//
// The page cache is one sparse file of the host, mapped whole in every process (layout::kCacheWindow). A PageStore is the
// part of it that belongs to one inode: fixed-size chunks found by a tree. Chunks are address space only; memory comes when a page is first touched and
// goes back to the host when a page is punched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "core/base/list.h"
#include "core/base/make.h"
#include "core/kernel/guest/user_memory.h"
#include "core/sync/mutex.h"

namespace umk::mm {

class CacheWindow;  // allocator of chunks (cache_window.h)
class Area;
struct SourceTag;

/// Pages of one file. Reading a hole gives zeroes and allocates nothing.
class PageStore {
 public:
  static constexpr uint64_t kChunkBytes = 64 * 1024;

  explicit PageStore(CacheWindow& window) : window_(window) {}
  ~PageStore();

  /// Copies file bytes [offset, offset + remaining) to the buffer; holes are zeroes. The caller bounded the range by the file's size.
  Result<size_t> read(uint64_t offset, UserOutBuffer& buffer);
  /// Copies the buffer into the file's pages, allocating; ENOMEM beyond the machine's memory limit.
  Result<size_t> write(uint64_t offset, UserInBuffer& buffer);
  /// Drops everything from `size` on and zeroes the rest of its page.
  void truncate(uint64_t size);
  /// Makes [offset, offset + length) a hole, zeroing partial pages.
  void punch(uint64_t offset, uint64_t length);
  /// Allocates zeroed pages (fallocate).
  Result<void> allocate(uint64_t offset, uint64_t length);
  uint64_t allocated_bytes() const;
  /// The first offset >= `from` that holds data / is a hole, below `size`.
  std::optional<uint64_t> next_data(uint64_t from, uint64_t size);
  uint64_t next_hole(uint64_t from, uint64_t size);
  /// Kernel address of a page, allocated (zeroed) when absent; null without `allocate` for a hole.
  Result<std::byte*> page(uint64_t index, bool allocate);
  /// Offset in the cache file of the chunk that holds `file_offset`, allocating the chunk's address (not its memory): for mappings.
  Result<uint64_t> cache_offset(uint64_t file_offset);

 private:
  struct Chunk;
  friend class CacheWindow;
  CacheWindow& window_;
  Mutex mutex_{LockRank::PageStore};
  // representation: see page_store.cpp
  struct Tree;
  Tree* tree_ = nullptr;
};

/// What an inode (or device, or shared memory object) offers to mmap.
class PageSource {
 public:
  enum class Kind {
    Store,     // pages in a PageStore (tmpfs, disk filesystems, shared anonymous memory)
    HostFile,  // a host file, mapped directly for data, copied for text (hostfs)
    Zero,      // /dev/zero: private mappings are anonymous, shared ones get a new store
  };
  virtual Kind source_kind() const = 0;
  /// Kind::Store.
  virtual PageStore* store() { return nullptr; }
  /// Kind::HostFile: the kernel's descriptor. -1 otherwise.
  virtual int host_fd() const { return -1; }
  /// Bytes that may be touched: beyond the last page of this comes SIGBUS.
  virtual uint64_t mappable_bytes() const = 0;
  /// Brings pages into the store (disk filesystems). The default is for stores whose holes are zeroes.
  virtual Result<void> fill(uint64_t first_page, uint64_t count) {
    (void)first_page, (void)count;
    return {};
  }
  /// Reads file bytes for the text copy of an executable mapping.
  virtual Result<size_t> read_for_text(uint64_t offset, std::span<std::byte> into) = 0;
  /// Keeps the object (usually an inode) alive while it is mapped.
  virtual void add_mapping_reference() = 0;
  virtual void drop_mapping_reference() = 0;
  /// A write through a shared mapping happened since last asked: modification time is due.
  virtual void on_shared_write() {}

  /// The patched, executable copy of the file's text, made on first executable mapping (text_cache.h); guarded by its lock.
  class TextCopy* text_copy = nullptr;
  /// All areas that map this source, for truncation; guarded by `areas_mutex`.
  Mutex areas_mutex{LockRank::PageStore};
  List<Area, SourceTag> areas;

 protected:
  ~PageSource() = default;
};

}  // namespace umk::mm

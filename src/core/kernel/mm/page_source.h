// PageSource: what can be mapped.
//
// The page cache is one sparse file of the host, mapped whole in every process (layout::kCacheWindow). A PageStore (page_store.h) is the part of it
// that belongs to one inode.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/list.h"
#include "core/kernel/mm/page_store.h"
#include "core/sync/mutex.h"

namespace umk::mm {

class Area;
struct SourceTag;

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

// PageSource: what can be mapped.
//
// The page cache is one sparse file of the host, mapped whole in every process (layout::kCacheWindow). A PageStore (page_store.h) is the part of it
// that belongs to one inode.
#pragma once

#include <cstddef>
#include <cstdint>

#include "core/base/list.h"
#include "core/base/vector.h"
#include "core/kernel/mm/page_store.h"
#include "core/kernel/mm/text_cache.h"
#include "core/sync/mutex.h"

namespace umk::mm {

struct SourceTag;
class CachedFile;
class SharedCode;

/// An area's place in its source's list; always the base of an Area.
class SourceLink : public ListHook<SourceTag> {};

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
  /// Kind::Store with storage behind it: what is not in the store has to be read (file_backing.h). Null: holes are zeroes.
  virtual CachedFile* cached() { return nullptr; }
  /// Reads file bytes for the text copy of an executable mapping.
  virtual Result<size_t> read_for_text(uint64_t offset, std::span<std::byte> into) = 0;
  /// Keeps the object (usually an inode) alive while it is mapped.
  virtual void add_mapping_reference() = 0;
  virtual void drop_mapping_reference() = 0;
  /// A write through a shared mapping happened since last asked: modification time is due.
  virtual void on_shared_write() {}

  /// The contents changed or go away: executable copies are made anew by the next mapping. Filesystems call it after a write or truncation when
  /// `has_text_copies()`; the source's owner before it dies. Existing mappings keep what they show.
  void drop_text_copies();
  bool has_text_copies() const { return text_copies_kept.load(std::memory_order_acquire); }

  /// Guards `areas` and the text copies. Held for short: under it only memory is allocated.
  Mutex areas_mutex{LockRank::PageStore};
  /// All areas that map this source, for truncation.
  List<SourceLink, SourceTag> areas GUARDED_BY(areas_mutex);
  /// Executable copies of pieces of the file (text_cache.h).
  Vector<RefPtr<TextCopy>> text_copies GUARDED_BY(areas_mutex);
  uint64_t text_generation GUARDED_BY(areas_mutex) = 0;
  std::atomic<bool> text_copies_kept{false};

  /// Kind::Store behind a shield: which pages are written and which executed; null until they are mapped shared and executable (shared_code.h).
  std::atomic<SharedCode*> shared_code{nullptr};
  /// Makes it. ENOMEM.
  Result<void> keep_shared_code();

 protected:
  ~PageSource();
};

}  // namespace umk::mm

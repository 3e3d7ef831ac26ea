// FileBacking: the storage behind a cached file, as a filesystem (or a block device) implements it for each of its files.
//
// The page cache (cached_file.h) decides what is read and written and when; the backing knows where the bytes are. It maps pages to blocks only when
// they are written: what `reserve` promised is allocated by `write_pages`, a whole run at once (delayed allocation).
//
// Locks: all calls but the ones that say otherwise come with no lock of the page cache held and may sleep. A writer that waits for memory or for
// write-back may hold the file's writer lock (LockRank::FileData) and an open file's position: so read_pages, write_pages and reserve must take
// neither, and reserve must not leave a transaction of a journal open.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "core/kernel/mm/fixed_extent.h"
#include "core/kernel/mm/page_source.h"

namespace umk::mm {

class CachedFile;

/// Memory of consecutive pages, in whole pages. Kernel addresses: good for calls to the host.
using PageMemory = std::span<std::byte>;

enum class WriteReason {
  Age,     // dirty for long, or too much is dirty
  Sync,    // somebody waits: fsync, sync, O_SYNC
  Reclaim  // memory is short: allocate as little as possible
};

/// Is told once how a read ended that was begun by start_reading: 0 or an errno.
class ReadDone {
 public:
  virtual void on_read(int error_code) = 0;

 protected:
  ~ReadDone() = default;
};

/// Pages that are being written (FileBacking::start_writing). Whoever began it ends it, and waits for nothing in between but the ends of other such writes: the
/// backing may have things open that everybody else waits for.
class PageWrite {
 public:
  virtual ~PageWrite() = default;
  /// How many pages from the first on it writes, at least one; the others lie elsewhere and were not begun.
  virtual uint64_t pages() const = 0;
  /// Once. Waits until these are as write_pages() leaves them. False: they are to be written again, by write_pages().
  virtual Result<bool> finish() = 0;
};

class FileBacking : public PageSource {
 public:
  /// Fills `pieces`, which are in this order the memory of consecutive pages from `first_page` on. Holes and what lies beyond the end of the file are
  /// zeroes, by the size of this moment. EIO; then the contents of all pieces are undefined.
  virtual Result<void> read_pages(uint64_t first_page, std::span<const PageMemory> pieces) = 0;
  /// The same for pages that nobody waits for: may come back before they are read. `pieces` stay until `done` is told, which may be in any context that holds
  /// no lock from LockRank::PageStore on; perhaps before this comes back. The file may be gone when that has happened.
  virtual void start_reading(uint64_t first_page, std::span<const PageMemory> pieces, ReadDone& done) { done.on_read(read_pages(first_page, pieces).code()); }
  /// Writes consecutive pages, allocating what is not allocated. Returns when the bytes are where a later flush of the medium makes them durable.
  /// The memory may be changed meanwhile by who writes to the file; then it will be written again. The last page may reach beyond the end of the file
  /// and is zero there. A failure (EIO, ENOSPC, EDQUOT, EROFS) is reported to all who have the file open.
  virtual Result<void> write_pages(uint64_t first_page, std::span<const PageMemory> pieces, WriteReason reason) = 0;
  /// The same, as far as it can be begun without waiting for the medium, for many pages. The memory stays until finish(). Fails where nothing of the kind is
  /// possible, and with EAGAIN when it would have to wait for something and was not to; then nothing was begun.
  enum class WhenBusy { Wait, Fail };
  virtual Result<std::unique_ptr<PageWrite>> start_writing(uint64_t first_page, std::span<const PageMemory> pieces, WriteReason reason, WhenBusy when_busy) {
    (void)first_page, (void)pieces, (void)reason, (void)when_busy;
    return error(EOPNOTSUPP);
  }
  /// Pages are about to become dirty: makes sure that they can be written later. ENOSPC, EDQUOT, EROFS refuse the write. May be asked again for pages
  /// that are dirty already or that have their blocks; these take nothing more.
  virtual Result<void> reserve(uint64_t first_page, uint64_t count) {
    (void)first_page, (void)count;
    return {};
  }
  /// Dirty pages were dropped without being written (truncate, punch, discard), or the write that reserved them was not made.
  virtual void release(uint64_t first_page, uint64_t count) { (void)first_page, (void)count; }
  /// The page reads as zeroes and has no block. A page that lies in the cache is zeroed in part by truncation and becomes dirty only if it has one.
  virtual bool is_hole(uint64_t page) {
    (void)page;
    return false;
  }
  /// Where the contents of pages from `first_page` on lie in a file of the host that nobody writes, as many as lie there together, at most `count`, perhaps not
  /// to the end of a page. May read metadata. Asked for pages that are not dirty.
  virtual FixedExtent fixed_extent(uint64_t first_page, uint64_t count) {
    (void)first_page, (void)count;
    return {};
  }
  /// Takes a mapping reference unless the file is going away already; called under locks of the page cache, so it only counts.
  virtual bool try_add_mapping_reference() = 0;

  // What a PageSource is: all of it follows from the cache. mappable_bytes() is the size of the file, always up to date.
  Kind source_kind() const final { return Kind::Store; }
  PageStore* store() final;
  CachedFile* cached() final { return &cached_file(); }
  Result<size_t> read_for_text(uint64_t offset, std::span<std::byte> into) override;

  /// Usually a member of the implementer.
  virtual CachedFile& cached_file() = 0;

 protected:
  ~FileBacking() = default;
};

}  // namespace umk::mm

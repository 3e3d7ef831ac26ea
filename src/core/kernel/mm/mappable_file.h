// MappableFile: an open file as far as mappings need it. vfs::OpenFile is the only kind there is; mm lies below vfs and knows no more than this.
#pragma once

#include <cstdint>

#include "core/base/make.h"

namespace umk::mm {

class PageSource;
class CachedFile;

class MappableFile : public RefCounted {
 public:
  /// Open for reading / for writing; neither for O_PATH.
  virtual bool is_readable() const = 0;
  virtual bool is_writable() const = 0;
  /// The contents are sealed against writing through new shared mappings: fcntl(2), "File sealing". A shared mapping to write fails with EPERM then.
  virtual bool forbids_shared_writes() { return false; }
  /// What mmap maps; null: ENODEV.
  virtual PageSource* page_source() = 0;
  /// fsync(2) and fdatasync(2).
  virtual Result<void> sync(bool data_only) = 0;
  /// Makes a hole (MADV_REMOVE). Called with no lock held.
  virtual Result<void> punch_hole(uint64_t offset, uint64_t length) = 0;
};

}  // namespace umk::mm

// SharedCode: which pages of shared memory may be written at the moment, and which may be executed.
//
// A compiler at run time may have the same page twice, writable here and executable there, in one process or in several. Behind a shield no page is both
// on the host, whatever maps it: a page begins writable; a fetch from it turns it into code, which is taken from all who may write it before it is
// executable anywhere; a write turns it back. While it changes it is neither. Who maps such a page, or serves a fault on it, does that with its address
// space locked and asks here what may be shown; who changes what may be shown says so here first, and then goes through all address spaces. So there
// is none that it misses.
//
// What the kernel itself writes into such a page, for write(2), is not held up.
//
// Made with the first mapping of a source that is shared and executable (PageSource::keep_shared_code); lives as long as the source.
#pragma once

#include "core/kernel/mm/cache_window.h"
#include "core/kernel/mm/chunk_tree.h"

namespace umk::mm {

class PageSource;

class SharedCode {
 public:
  enum class Use : uint8_t { Data, Code };

  /// The pages of a chunk that may be shown writable, and those that may be shown executable.
  PageMask writable(uint64_t chunk_index) const { return static_cast<PageMask>(~load(chunk_index)); }
  PageMask executable(uint64_t chunk_index) const { return static_cast<PageMask>(load(chunk_index) >> kExecutableShift); }

  /// Turns a page of `source`, to which this belongs, in all mappings. Called with no lock that comes behind LockRank::SharedCode. ENOMEM.
  Result<void> turn(PageSource& source, uint64_t page, Use use);

 private:
  // A word of the tree: pages that must not be written, pages that may be executed.
  static constexpr unsigned kExecutableShift = 16;

  uint64_t load(uint64_t chunk_index) const {
    const ChunkTree::Slot* slot = chunks_.find(chunk_index);
    return slot ? slot->load(std::memory_order_acquire) : 0;
  }

  Mutex mutex_{LockRank::SharedCode};
  ChunkTree chunks_{ChunkTree::Words::One};  // changed with the lock, read without
};

}  // namespace umk::mm

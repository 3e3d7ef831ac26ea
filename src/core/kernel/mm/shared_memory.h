// SharedMemory: memory that a process and its descendants share, without a file: mmap(MAP_SHARED | MAP_ANONYMOUS) and mappings of /dev/zero.
#pragma once

#include "core/kernel/mm/page_source.h"

namespace umk::mm {

class SharedMemory final : public RefCounted, public PageSource {
 public:
  /// `bytes` of zeroes. With `reserve` the pages are charged now and never fault in the kernel; without, they come one chunk at a time.
  static Result<RefPtr<SharedMemory>> create(CacheWindow& window, uint64_t bytes, bool reserve);

  Kind source_kind() const override { return Kind::Store; }
  PageStore* store() override { return &store_; }
  uint64_t mappable_bytes() const override { return bytes_; }
  Result<size_t> read_for_text(uint64_t offset, std::span<std::byte> into) override;
  void add_mapping_reference() override { add_reference(); }
  void drop_mapping_reference() override { drop_reference(); }

  SharedMemory(CacheWindow& window, uint64_t bytes) : store_(window), bytes_(bytes) {}

 private:
  PageStore store_;
  const uint64_t bytes_;
};

}  // namespace umk::mm

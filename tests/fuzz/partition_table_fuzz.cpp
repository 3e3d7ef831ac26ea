// Any bytes as a disk: reading its partitions ends, and what is found lies on the disk. The first byte chooses the sector size.
#include "core/lib/partition_table/partition_table.h"

#include <cstring>

#include "fuzz/fuzz.h"

namespace {

struct Disk final : umk::partition_table::SectorReader {
  std::span<const std::byte> bytes;
  uint32_t sector_bytes = 512;

  umk::Result<void> read(uint64_t offset, std::span<std::byte> into) override {
    FUZZ_CHECK(offset % sector_bytes == 0 && into.size() % sector_bytes == 0);
    FUZZ_CHECK(offset <= bytes.size() && into.size() <= bytes.size() - offset);
    memcpy(into.data(), bytes.data() + offset, into.size());
    return {};
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  Disk disk;
  disk.sector_bytes = 512u << (data[0] & 3);
  disk.bytes = std::as_bytes(std::span(data + 1, size - 1));
  const uint64_t disk_bytes = disk.bytes.size() / disk.sector_bytes * disk.sector_bytes;
  auto table = umk::partition_table::read_table(disk, disk_bytes, disk.sector_bytes);
  FUZZ_CHECK(table.ok());
  FUZZ_CHECK(table.value().partitions.size() <= umk::partition_table::kMaximumPartitions);
  for (const auto& partition : table.value().partitions) {
    FUZZ_CHECK(partition.number > 0 && partition.bytes > 0);
    FUZZ_CHECK(partition.first_byte <= disk_bytes && partition.bytes <= disk_bytes - partition.first_byte);
  }
  return 0;
}

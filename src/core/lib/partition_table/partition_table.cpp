#include "core/lib/partition_table/partition_table.h"

#include <cstring>

#include "core/base/bits.h"
#include "core/base/bytes.h"
#include "core/base/crc32.h"

namespace umk::partition_table {

namespace {

constexpr uint32_t kMbrUnit = 512;
constexpr uint32_t kMaximumSectorBytes = 4096;
constexpr size_t kMbrEntries = 446, kMbrEntryBytes = 16;

struct MbrEntry {
  uint8_t boot, type;
  uint64_t first_sector, sectors;
  bool is_extended() const { return type == 0x05 || type == 0x0f || type == 0x85; }
};

MbrEntry mbr_entry(std::span<const std::byte> sector, size_t index) {
  const std::span<const std::byte> entry = sector.subspan(kMbrEntries + index * kMbrEntryBytes, kMbrEntryBytes);
  return {std::to_integer<uint8_t>(entry[0]), std::to_integer<uint8_t>(entry[4]), get32(entry, 8), get32(entry, 12)};
}

bool has_mbr_signature(std::span<const std::byte> sector) { return sector[510] == std::byte{0x55} && sector[511] == std::byte{0xaa}; }

class TableReader {
 public:
  TableReader(SectorReader& reader, uint64_t disk_bytes, uint32_t sector_bytes) : reader_(reader), disk_bytes_(disk_bytes), sector_bytes_(sector_bytes) {}

  Result<Table> read() {
    if (disk_bytes_ < sector_bytes_) return std::move(table_);
    std::byte sector[kMaximumSectorBytes];
    const std::span<std::byte> mbr(sector, sector_bytes_);
    TRY(reader_.read(0, mbr));
    if (!has_mbr_signature(mbr)) return std::move(table_);
    bool is_protective = false;
    for (size_t i = 0; i < 4; ++i) {
      const MbrEntry entry = mbr_entry(mbr, i);
      if (entry.type != 0xee) continue;
      // A protective entry that does not begin behind the MBR belongs to no GPT, and the whole is not taken for an MBR either.
      if (entry.first_sector == 1) TRY(read_gpt());
      is_protective = true;
      break;
    }
    if (!is_protective) TRY(read_mbr(mbr));
    return std::move(table_);
  }

 private:
  bool is_full() const { return table_.partitions.size() >= kMaximumPartitions; }

  /// Sectors are of the disk's own size. Leaves out what does not lie on the disk.
  Result<void> add(uint32_t number, uint64_t first_sector, uint64_t sectors) {
    const uint64_t disk_sectors = disk_bytes_ / sector_bytes_;
    if (sectors == 0 || first_sector >= disk_sectors || number > kMaximumPartitions || is_full()) return {};
    // A partition that reaches past the end is cut, as Linux does it: a disk may have been copied to a smaller one.
    if (sectors > disk_sectors - first_sector) sectors = disk_sectors - first_sector;
    return table_.partitions.push_back(Partition{number, first_sector * sector_bytes_, sectors * sector_bytes_});
  }

  Result<void> read_mbr(std::span<const std::byte> mbr) {
    // A filesystem's boot sector has the signature too, and program text where the entries would be.
    for (size_t i = 0; i < 4; ++i)
      if (mbr_entry(mbr, i).boot & 0x7f) return {};
    table_.kind = Kind::Mbr;
    uint32_t next_number = 5;
    for (size_t i = 0; i < 4; ++i) {
      const MbrEntry entry = mbr_entry(mbr, i);
      if (entry.sectors == 0) continue;
      if (!entry.is_extended()) {
        TRY(add(static_cast<uint32_t>(i + 1), entry.first_sector, entry.sectors));
        continue;
      }
      // Of an extended partition only the start can be reached, where boot loaders lie: the rest are other partitions.
      const uint64_t shown = kMbrUnit * 2 > sector_bytes_ ? kMbrUnit * 2 / sector_bytes_ : 1;
      TRY(add(static_cast<uint32_t>(i + 1), entry.first_sector, shown < entry.sectors ? shown : entry.sectors));
      TRY(read_extended(entry, next_number));
    }
    return {};
  }

  /// Follows the chain of an extended partition. Offsets of data are from the link's own sector, those of the next link from the start of the whole.
  Result<void> read_extended(const MbrEntry& whole, uint32_t& next_number) {
    constexpr int kMaximumEmptyLinks = 100;
    uint64_t link = whole.first_sector, link_sectors = whole.sectors;
    for (int empty_links = 0; empty_links < kMaximumEmptyLinks && next_number <= kMaximumPartitions; ++empty_links) {
      if (link >= disk_bytes_ / sector_bytes_) return {};
      std::byte bytes[kMaximumSectorBytes];
      const std::span<std::byte> sector(bytes, sector_bytes_);
      TRY(reader_.read(link * sector_bytes_, sector));
      if (!has_mbr_signature(sector)) return {};
      const MbrEntry* next_link = nullptr;
      MbrEntry entries[4];
      for (size_t i = 0; i < 4; ++i) {
        entries[i] = mbr_entry(sector, i);
        const MbrEntry& entry = entries[i];
        if (entry.sectors == 0) continue;
        if (entry.is_extended()) {
          if (!next_link) next_link = &entry;
          continue;
        }
        const uint64_t first = link + entry.first_sector;
        // Some partitioners leave rubbish in the last two entries.
        if (i >= 2 && (entry.first_sector + entry.sectors > link_sectors || first < whole.first_sector ||
                       first + entry.sectors > whole.first_sector + whole.sectors))
          continue;
        TRY(add(next_number++, first, entry.sectors));
        empty_links = -1;
      }
      if (!next_link) return {};
      link = whole.first_sector + next_link->first_sector;
      link_sectors = next_link->sectors;
    }
    return {};
  }

  Result<void> read_gpt() {
    constexpr uint32_t kLeastHeader = 92, kEntryBytes = 128, kMostEntries = 1024;
    const uint64_t last_sector = disk_bytes_ / sector_bytes_ - 1;
    if (last_sector < 1) return {};
    std::byte bytes[kMaximumSectorBytes];
    const std::span<std::byte> header(bytes, sector_bytes_);
    TRY(reader_.read(sector_bytes_, header));
    if (memcmp(header.data(), "EFI PART", 8) != 0) return {};
    const uint32_t header_bytes = get32(header, 12);
    if (header_bytes < kLeastHeader || header_bytes > sector_bytes_) return {};
    const uint32_t expected = get32(header, 16);
    memset(header.data() + 16, 0, 4);
    if (crc32(header.first(header_bytes)) != expected) return {};
    const uint64_t own = get64(header, 24);
    const uint64_t first_usable = get64(header, 40), last_usable = get64(header, 48);
    if (own != 1 || first_usable > last_sector || last_usable > last_sector || last_usable < first_usable) return {};
    const uint64_t entries_at = get64(header, 72);
    const uint32_t count = get32(header, 80), entry_bytes = get32(header, 84);
    if (entry_bytes != kEntryBytes || count == 0 || count > kMostEntries || entries_at > last_sector) return {};

    Vector<std::byte> entries;
    const size_t table_bytes = size_t{count} * entry_bytes;
    TRY(entries.resize(round_up(table_bytes, sector_bytes_)));
    if (entries.size() / sector_bytes_ > last_sector + 1 - entries_at) return {};
    TRY(reader_.read(entries_at * sector_bytes_, entries));
    const std::span<const std::byte> all(entries.data(), table_bytes);
    if (crc32(all) != get32(header, 88)) return {};

    table_.kind = Kind::Gpt;
    for (uint32_t i = 0; i < count; ++i) {
      const std::span<const std::byte> entry = all.subspan(size_t{i} * entry_bytes, entry_bytes);
      if (get64(entry, 0) == 0 && get64(entry, 8) == 0) continue;  // no type: unused
      const uint64_t first = get64(entry, 32), last = get64(entry, 40);
      if (first > last_sector || last > last_sector || last < first) continue;
      TRY(add(i + 1, first, last - first + 1));
    }
    return {};
  }

  SectorReader& reader_;
  const uint64_t disk_bytes_;
  const uint32_t sector_bytes_;
  Table table_;
};

}  // namespace

Result<Table> read_table(SectorReader& reader, uint64_t disk_bytes, uint32_t sector_bytes) {
  if (sector_bytes < kMbrUnit || sector_bytes > kMaximumSectorBytes || (sector_bytes & (sector_bytes - 1)) != 0) return error(EINVAL);
  return TableReader(reader, disk_bytes, sector_bytes).read();
}

}  // namespace umk::partition_table

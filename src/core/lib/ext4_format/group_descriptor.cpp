#include "core/lib/ext4_format/group_descriptor.h"

#include "core/lib/ext4_format/checksum.h"

namespace umk::ext4 {

namespace {

constexpr size_t kChecksum = 0x1e;

uint64_t word_at(ConstBytes bitmap, uint32_t index, uint64_t outside) {
  uint64_t word = outside;
  const size_t offset = size_t{index} * 8;
  if (offset + 8 <= bitmap.size()) {
    __builtin_memcpy(&word, bitmap.data() + offset, 8);
  } else if (offset < bitmap.size()) {
    __builtin_memcpy(&word, bitmap.data() + offset, bitmap.size() - offset);
  }
  return word;
}

uint32_t next_bit(ConstBytes bitmap, uint32_t from, uint32_t end, bool wanted) {
  const uint64_t flip = wanted ? 0 : ~uint64_t{0};
  for (uint32_t bit = from; bit < end;) {
    const uint64_t word = (word_at(bitmap, bit / 64, flip) ^ flip) >> (bit % 64);
    if (word != 0) {
      const uint32_t found = bit + static_cast<uint32_t>(__builtin_ctzll(word));
      return found < end ? found : end;
    }
    bit = (bit / 64 + 1) * 64;
  }
  return end;
}

}  // namespace

uint32_t GroupDescriptor::block_bitmap_sum(const Geometry& geometry, ConstBytes bitmap) {
  return crc32c(geometry.checksum_seed, bitmap.first(std::min<size_t>(bitmap.size(), geometry.blocks_per_group / 8)));
}
uint32_t GroupDescriptor::inode_bitmap_sum(const Geometry& geometry, ConstBytes bitmap) {
  return crc32c(geometry.checksum_seed, bitmap.first(std::min<size_t>(bitmap.size(), geometry.inodes_per_group / 8)));
}

uint16_t GroupDescriptor::sum(const Geometry& geometry, uint32_t group) const {
  const ConstBytes bytes = bytes_;
  if (geometry.has_checksums()) {
    const uint16_t zero = 0;
    uint32_t crc = crc32c_number(geometry.checksum_seed, group);
    crc = crc32c(crc, bytes.first(kChecksum));
    crc = crc32c(crc, std::as_bytes(std::span(&zero, 1)));
    crc = crc32c(crc, bytes.subspan(kChecksum + 2));
    return static_cast<uint16_t>(crc);
  }
  uint16_t crc = crc16(0xffff, geometry.uuid);
  crc = crc16_number(crc, group);
  crc = crc16(crc, bytes.first(kChecksum));
  return crc16(crc, bytes.subspan(kChecksum + 2));
}

bool GroupDescriptor::is_intact(const Geometry& geometry, uint32_t group) const {
  return !geometry.has_group_checksums() || get16(bytes_, kChecksum) == sum(geometry, group);
}

void GroupDescriptor::seal(const Geometry& geometry, uint32_t group) {
  if (geometry.has_group_checksums()) put16(bytes_, kChecksum, sum(geometry, group));
}

bool GroupDescriptor::is_sane(const Geometry& geometry, uint32_t group) const {
  const uint64_t first = geometry.has_incompat(incompat::kFlexGroups) ? geometry.first_data_block : geometry.group_first_block(group);
  const uint64_t end = geometry.has_incompat(incompat::kFlexGroups) ? geometry.block_count : first + geometry.group_blocks(group);
  const uint64_t table_blocks = geometry.inodes_per_group / geometry.inodes_per_block();
  const auto inside = [&](uint64_t block, uint64_t count) { return block > geometry.first_data_block && block >= first && block < end && count <= end - block; };
  return inside(block_bitmap(), 1) && inside(inode_bitmap(), 1) && inside(inode_table(), table_blocks) && free_blocks() <= geometry.blocks_per_group &&
         free_inodes() <= geometry.inodes_per_group && unused_inodes() <= geometry.inodes_per_group;
}

void mark_range(Bytes bitmap, uint32_t first, uint32_t count) {
  for (uint32_t bit = first; bit < first + count;) {
    if (bit % 8 == 0 && first + count - bit >= 8) {
      put8(bitmap, bit / 8, 0xff);
      bit += 8;
    } else {
      set_bit(bitmap, bit++);
    }
  }
}

bool test_bit(ConstBytes bitmap, uint32_t bit) { return get8(bitmap, bit / 8) >> (bit % 8) & 1; }
void set_bit(Bytes bitmap, uint32_t bit) { put8(bitmap, bit / 8, static_cast<uint8_t>(get8(bitmap, bit / 8) | 1u << (bit % 8))); }
void clear_bit(Bytes bitmap, uint32_t bit) { put8(bitmap, bit / 8, static_cast<uint8_t>(get8(bitmap, bit / 8) & ~(1u << (bit % 8)))); }
uint32_t next_clear_bit(ConstBytes bitmap, uint32_t from, uint32_t end) { return next_bit(bitmap, from, end, false); }
uint32_t next_set_bit(ConstBytes bitmap, uint32_t from, uint32_t end) { return next_bit(bitmap, from, end, true); }

uint32_t count_clear_bits(ConstBytes bitmap, uint32_t end) {
  uint32_t count = 0;
  for (uint32_t bit = next_clear_bit(bitmap, 0, end); bit < end;) {
    const uint32_t stop = next_set_bit(bitmap, bit, end);
    count += stop - bit;
    bit = next_clear_bit(bitmap, stop, end);
  }
  return count;
}

}  // namespace umk::ext4

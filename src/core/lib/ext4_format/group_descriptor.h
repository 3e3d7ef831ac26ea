// Group descriptors: where the bitmaps and the inode table of a group lie, and how much of it is free.
//
// Linux, Documentation/filesystems/ext4/group_descr.rst.
#pragma once

#include "core/lib/ext4_format/superblock.h"

namespace umk::ext4 {

namespace group_flags {
/// The inode bitmap, the block bitmap was never written: the group is empty but for its own metadata. The inode table has been zeroed.
inline constexpr uint16_t kInodesUninitialised = 1, kBlocksUninitialised = 2, kTableZeroed = 4;
}  // namespace group_flags

/// A view of one descriptor's bytes.
class GroupDescriptor {
 public:
  explicit GroupDescriptor(Bytes bytes) : bytes_(bytes) {}

  uint64_t block_bitmap() const { return wide32(0x0, 0x20); }
  uint64_t inode_bitmap() const { return wide32(0x4, 0x24); }
  uint64_t inode_table() const { return wide32(0x8, 0x28); }
  uint32_t free_blocks() const { return wide16(0xc, 0x2c); }
  uint32_t free_inodes() const { return wide16(0xe, 0x2e); }
  uint32_t directories() const { return wide16(0x10, 0x30); }
  uint16_t flags() const { return get16(bytes_, 0x12); }
  /// Inodes at the end of the table that were never used.
  uint32_t unused_inodes() const { return wide16(0x1c, 0x32); }

  void set_block_bitmap(uint64_t block) { set_wide32(0x0, 0x20, block); }
  void set_inode_bitmap(uint64_t block) { set_wide32(0x4, 0x24, block); }
  void set_inode_table(uint64_t block) { set_wide32(0x8, 0x28, block); }
  void set_free_blocks(uint32_t count) { set_wide16(0xc, 0x2c, count); }
  void set_free_inodes(uint32_t count) { set_wide16(0xe, 0x2e, count); }
  void set_directories(uint32_t count) { set_wide16(0x10, 0x30, count); }
  void set_flags(uint16_t flags) { put16(bytes_, 0x12, flags); }
  void set_unused_inodes(uint32_t count) { set_wide16(0x1c, 0x32, count); }

  /// Bitmaps have their checksums here; with small descriptors only the lower half of them.
  bool block_bitmap_matches(const Geometry& geometry, ConstBytes bitmap) const { return matches(0x18, 0x38, block_bitmap_sum(geometry, bitmap)); }
  bool inode_bitmap_matches(const Geometry& geometry, ConstBytes bitmap) const { return matches(0x1a, 0x3a, inode_bitmap_sum(geometry, bitmap)); }
  void seal_block_bitmap(const Geometry& geometry, ConstBytes bitmap) { set_wide16(0x18, 0x38, block_bitmap_sum(geometry, bitmap)); }
  void seal_inode_bitmap(const Geometry& geometry, ConstBytes bitmap) { set_wide16(0x1a, 0x3a, inode_bitmap_sum(geometry, bitmap)); }

  /// The descriptor's own checksum; true for filesystems without.
  bool is_intact(const Geometry& geometry, uint32_t group) const;
  void seal(const Geometry& geometry, uint32_t group);

  /// Whether all that it names lies inside of the filesystem (with flexible groups, anywhere in it).
  bool is_sane(const Geometry& geometry, uint32_t group) const;

 private:
  static uint32_t block_bitmap_sum(const Geometry& geometry, ConstBytes bitmap);
  static uint32_t inode_bitmap_sum(const Geometry& geometry, ConstBytes bitmap);
  uint16_t sum(const Geometry& geometry, uint32_t group) const;
  bool is_large() const { return bytes_.size() >= 64; }
  uint64_t wide32(size_t low, size_t high) const { return get32(bytes_, low) | (is_large() ? uint64_t{get32(bytes_, high)} << 32 : 0); }
  uint32_t wide16(size_t low, size_t high) const { return get16(bytes_, low) | (is_large() ? uint32_t{get16(bytes_, high)} << 16 : 0); }
  void set_wide32(size_t low, size_t high, uint64_t value) {
    put32(bytes_, low, static_cast<uint32_t>(value));
    if (is_large()) put32(bytes_, high, static_cast<uint32_t>(value >> 32));
  }
  void set_wide16(size_t low, size_t high, uint32_t value) {
    put16(bytes_, low, static_cast<uint16_t>(value));
    if (is_large()) put16(bytes_, high, static_cast<uint16_t>(value >> 16));
  }
  bool matches(size_t low, size_t high, uint32_t sum) const { return is_large() ? wide16(low, high) == sum : get16(bytes_, low) == (sum & 0xffff); }

  Bytes bytes_;
};

/// Bits that a group's own metadata takes in its block bitmap, for a group whose bitmap was never written: copies of the superblock and the
/// descriptors, bitmaps and tables of any group that lie in it, and the bits past the end of a short last group. `descriptor_of(group)` gives the
/// descriptors.
void mark_range(Bytes bitmap, uint32_t first, uint32_t count);
bool test_bit(ConstBytes bitmap, uint32_t bit);
void set_bit(Bytes bitmap, uint32_t bit);
void clear_bit(Bytes bitmap, uint32_t bit);
/// The first clear (set) bit in [from, end), or `end`.
uint32_t next_clear_bit(ConstBytes bitmap, uint32_t from, uint32_t end);
uint32_t next_set_bit(ConstBytes bitmap, uint32_t from, uint32_t end);
uint32_t count_clear_bits(ConstBytes bitmap, uint32_t end);

}  // namespace umk::ext4

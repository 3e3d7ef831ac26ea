// Extent trees: which blocks of the device hold a file's blocks.
//
// A node is a header and entries of 12 bytes, sorted by the file block they begin with. Leaves hold extents, other nodes the blocks of their children.
// The root lies in the inode, with room for four entries; other nodes fill a block and may end with a checksum.
//
// Linux, Documentation/filesystems/ext4/ifork.rst, "Extent Tree".
#pragma once

#include <optional>

#include "core/lib/ext4_format/superblock.h"

namespace umk::ext4 {

inline constexpr uint32_t kExtentMaximum = 32768;              // blocks of one extent
inline constexpr uint32_t kUninitialisedExtentMaximum = 32767;  // of one that reads as zeroes
inline constexpr unsigned kExtentDepthLimit = 5;

struct Extent {
  uint32_t logical = 0;
  uint32_t length = 0;
  uint64_t physical = 0;
  bool initialised = true;

  uint64_t end() const { return uint64_t{logical} + length; }
  uint32_t maximum() const { return initialised ? kExtentMaximum : kUninitialisedExtentMaximum; }
  /// Whether `next` goes on where this one ends, in the file and on the device.
  bool joins(const Extent& next) const {
    return end() == next.logical && physical + length == next.physical && initialised == next.initialised && length + next.length <= maximum();
  }
  friend bool operator==(const Extent&, const Extent&) = default;
};

struct ExtentIndex {
  uint32_t logical = 0;
  uint64_t block = 0;
};

class ExtentNode {
 public:
  static constexpr size_t kHeader = 12, kEntry = 12;

  explicit ExtentNode(Bytes bytes) : bytes_(bytes) {}

  uint32_t entries() const { return get16(bytes_, 2); }
  uint32_t maximum() const { return get16(bytes_, 4); }
  uint32_t depth() const { return get16(bytes_, 6); }
  bool is_leaf() const { return depth() == 0; }
  bool is_full() const { return entries() >= maximum(); }

  /// Whether everything that the other functions rely on holds: call it before them on what came from a disk. `depth` is what the parent says, or
  /// nothing for a root. [first, end) is the range of file blocks that the node is for.
  bool is_sane(const Geometry& geometry, std::optional<uint32_t> depth, uint64_t first, uint64_t end) const;

  Extent extent(uint32_t i) const;
  ExtentIndex index(uint32_t i) const;
  uint32_t logical(uint32_t i) const { return get32(bytes_, at(i)); }
  void set_extent(uint32_t i, const Extent& extent);
  void set_index(uint32_t i, const ExtentIndex& index);
  void set_logical(uint32_t i, uint32_t logical) { put32(bytes_, at(i), logical); }
  /// The last entry that begins at or before `block`.
  std::optional<uint32_t> find(uint32_t block) const;
  /// Makes room before `i`; the node is not full.
  void insert(uint32_t i);
  void erase(uint32_t i, uint32_t count = 1);
  /// Moves entries from `i` on to the end of `other`, which has room and the same depth.
  void move_tail(uint32_t i, ExtentNode& other);

  void initialise(uint32_t depth, uint32_t maximum);
  void set_depth(uint32_t depth) { put16(bytes_, 6, static_cast<uint16_t>(depth)); }
  void set_entries(uint32_t count) { put16(bytes_, 2, static_cast<uint16_t>(count)); }
  void set_maximum(uint32_t count) { put16(bytes_, 4, static_cast<uint16_t>(count)); }

  /// How many entries a block has room for.
  static uint32_t block_maximum(const Geometry& geometry) { return (geometry.block_size - kHeader - 4) / kEntry; }
  static constexpr uint32_t kRootMaximum = 4;

  /// The checksum behind the entries of a block, not of a root. `seed` is the inode's.
  bool is_intact(const Geometry& geometry, uint32_t seed) const;
  void seal(const Geometry& geometry, uint32_t seed);

 private:
  static size_t at(uint32_t i) { return kHeader + size_t{i} * kEntry; }
  Bytes bytes_;
};

}  // namespace umk::ext4

// The index of large directories: a tree over the hashes of names, hidden in directory blocks that look empty.
//
// Linux, Documentation/filesystems/ext4/directory.rst, "Hash Tree Directories".
#pragma once

#include <string_view>

#include "core/lib/ext4_format/superblock.h"

namespace umk::ext4 {

namespace hash_version {
inline constexpr uint8_t kLegacy = 0, kHalfMd4 = 1, kTea = 2, kLegacyUnsigned = 3, kHalfMd4Unsigned = 4, kTeaUnsigned = 5;
}

struct NameHash {
  uint32_t major = 0;  // the lowest bit is clear
  uint32_t minor = 0;
};
/// EINVAL-like: nullopt never; unknown versions are refused by HtreeNode::is_sane_root.
NameHash hash_name(std::string_view name, uint8_t version, const std::array<uint32_t, 4>& seed);

/// A root or inner node. The first entry has no hash: it is for everything below the second one's.
class HtreeNode {
 public:
  enum class Kind { Root, Inner };
  /// In a parent's entry: the names of the lowest hash go on from the block before.
  static constexpr uint32_t kContinued = 1;

  HtreeNode(const Geometry& geometry, Bytes bytes, Kind kind) : bytes_(bytes), start_(kind == Kind::Root ? 0x20 : 8), has_tail_(geometry.has_checksums()) {}

  /// `directory_blocks` bounds the blocks that are named. For roots: hash version, depth.
  bool is_sane(uint32_t directory_blocks) const;
  bool is_sane_root(bool has_three_levels) const;
  uint8_t version() const { return get8(bytes_, 0x1c); }
  uint32_t levels() const { return get8(bytes_, 0x1e); }  // inner levels below the root
  void set_levels(uint32_t levels) { put8(bytes_, 0x1e, static_cast<uint8_t>(levels)); }

  uint32_t limit() const { return get16(bytes_, start_); }
  uint32_t count() const { return get16(bytes_, start_ + 2); }
  bool is_full() const { return count() >= limit(); }
  uint32_t hash(uint32_t i) const { return i == 0 ? 0 : get32(bytes_, start_ + 8 * i); }
  uint32_t block(uint32_t i) const { return get32(bytes_, start_ + 8 * i + 4) & 0x0fffffff; }
  void set_block(uint32_t i, uint32_t block) { put32(bytes_, start_ + 8 * i + 4, block); }
  /// The entry whose blocks hold names with this hash.
  uint32_t find(uint32_t hash) const;
  void insert(uint32_t i, uint32_t hash, uint32_t block);
  /// Moves the entries from `i` on to `other`, a fresh node.
  void move_tail(uint32_t i, HtreeNode& other);
  /// Copies all entries of `from`, whose kind may differ, into this fresh node.
  void take_all(const HtreeNode& from);
  void set_count(uint32_t count) { put16(bytes_, start_ + 2, static_cast<uint16_t>(count)); }

  /// Turns a block into an inner node, or behind `.` and `..` into a root, without entries.
  void initialise_inner();
  void initialise_root(uint8_t version);

  bool is_intact(uint32_t seed) const;
  void seal(uint32_t seed);

 private:
  uint32_t room() const { return static_cast<uint32_t>((bytes_.size() - start_ - (has_tail_ ? 8 : 0)) / 8); }
  uint32_t sum(uint32_t seed) const;

  Bytes bytes_;
  uint32_t start_;
  bool has_tail_;
};

}  // namespace umk::ext4

// The ext4 superblock: 1024 bytes at offset 1024 of the device, with copies in some groups.
//
// `Geometry::parse` checks everything that later arithmetic relies on (sizes, counts, powers of two), so that what it returns cannot lead outside of
// the filesystem. Counters that change are read and written in the raw bytes through the functions below.
//
// Linux, Documentation/filesystems/ext4/super.rst.
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

#include "core/base/bytes.h"
#include "core/base/result.h"
#include "core/base/text.h"

namespace umk::ext4 {

inline constexpr size_t kSuperblockOffset = 1024;
inline constexpr size_t kSuperblockSize = 1024;
inline constexpr uint16_t kSuperblockMagic = 0xef53;
inline constexpr size_t kLabelOffset = 0x78, kLabelSize = 16;
inline constexpr uint32_t kRootInode = 2;
inline constexpr uint32_t kResizeInode = 7;
inline constexpr uint32_t kJournalInode = 8;

/// The feature sets. A filesystem with an unknown incompatible feature cannot be read, one with an unknown read-only-compatible one not written.
namespace compat {
inline constexpr uint32_t kHasJournal = 0x4, kExtendedAttributes = 0x8, kResizeInode = 0x10, kDirectoryIndex = 0x20, kSparseSuper2 = 0x200, kFastCommit = 0x400,
                          kOrphanFile = 0x1000;
}
namespace incompat {
inline constexpr uint32_t kFileType = 0x2, kRecover = 0x4, kJournalDevice = 0x8, kMetaGroups = 0x10, kExtents = 0x40, k64Bit = 0x80, kMmp = 0x100, kFlexGroups = 0x200,
                          kAttributeInode = 0x400, kChecksumSeed = 0x2000, kLargeDirectory = 0x4000, kInlineData = 0x8000, kEncrypt = 0x10000, kCasefold = 0x20000;
inline constexpr uint32_t kSupported = kFileType | kRecover | kMetaGroups | kExtents | k64Bit | kFlexGroups | kChecksumSeed | kLargeDirectory;
}  // namespace incompat
namespace ro_compat {
inline constexpr uint32_t kSparseSuper = 0x1, kLargeFile = 0x2, kHugeFile = 0x8, kGroupChecksum = 0x10, kDirectoryLinks = 0x20, kExtraInodeSize = 0x40, kQuota = 0x100,
                          kBigAllocation = 0x200, kMetadataChecksum = 0x400, kReadOnly = 0x1000, kProject = 0x2000, kVerity = 0x8000, kOrphanPresent = 0x10000;
inline constexpr uint32_t kSupported =
    kSparseSuper | kLargeFile | kHugeFile | kGroupChecksum | kDirectoryLinks | kExtraInodeSize | kMetadataChecksum | kOrphanPresent;
}  // namespace ro_compat

enum class FeatureSet { Compatible, Incompatible, ReadOnlyCompatible };
/// Writes the names of the features in `bits`, as dumpe2fs(8) shows them, with spaces between; unknown ones as FEATURE_I17 and the like.
void name_features(TextSink& sink, FeatureSet set, uint32_t bits);

namespace state {
inline constexpr uint16_t kClean = 1, kErrors = 2, kOrphans = 4;
}
enum class ErrorPolicy : uint16_t { Continue = 1, RemountReadOnly = 2, Panic = 3 };

/// What does not change while a filesystem is mounted (but by growing it).
struct Geometry {
  uint32_t block_bits = 0, block_size = 0;
  uint64_t block_count = 0, reserved_blocks = 0;
  uint32_t first_data_block = 0, blocks_per_group = 0, inodes_per_group = 0, group_count = 0;
  uint32_t inode_count = 0, inode_size = 0, first_inode = 0;
  uint32_t descriptor_size = 0, reserved_descriptor_blocks = 0, first_meta_group = 0;
  uint32_t compat = 0, incompat = 0, ro_compat = 0;
  uint32_t groups_per_flex = 1;
  uint32_t journal_inode = 0, orphan_file_inode = 0;
  uint32_t want_extra_size = 0;  // bytes of an inode beyond 128 that new ones shall have
  uint32_t checksum_seed = 0;
  std::array<uint32_t, 4> hash_seed{};
  uint8_t hash_version = 0;  // with the kind of char folded in: 3 to 5 for unsigned
  uint32_t default_mount_options = 0;
  ErrorPolicy error_policy = ErrorPolicy::Continue;
  uint16_t reserved_uid = 0, reserved_gid = 0;
  std::array<uint32_t, 2> backup_groups{};
  std::array<std::byte, 16> uuid{};

  /// EINVAL with `reason` set when this is no superblock or one that cannot be right; EUCLEAN when its checksum is wrong, unless that is not to be looked at.
  enum class Checksum { Checked, Ignored };
  static Result<Geometry> parse(ConstBytes superblock, std::string_view& reason, Checksum checksum = Checksum::Checked);

  bool has_compat(uint32_t feature) const { return compat & feature; }
  bool has_incompat(uint32_t feature) const { return incompat & feature; }
  bool has_ro_compat(uint32_t feature) const { return ro_compat & feature; }
  bool has_checksums() const { return has_ro_compat(ro_compat::kMetadataChecksum); }
  /// Groups may be marked as not initialised; their descriptors carry checksums.
  bool has_group_checksums() const { return ro_compat & (ro_compat::kGroupChecksum | ro_compat::kMetadataChecksum); }

  uint32_t inodes_per_block() const { return block_size / inode_size; }
  uint32_t descriptors_per_block() const { return block_size / descriptor_size; }
  uint32_t descriptor_blocks() const { return (group_count + descriptors_per_block() - 1) / descriptors_per_block(); }
  uint64_t group_first_block(uint32_t group) const { return first_data_block + uint64_t{group} * blocks_per_group; }
  /// The last group may be shorter.
  uint32_t group_blocks(uint32_t group) const {
    const uint64_t left = block_count - group_first_block(group);
    return left < blocks_per_group ? static_cast<uint32_t>(left) : blocks_per_group;
  }
  uint32_t group_of_block(uint64_t block) const { return static_cast<uint32_t>((block - first_data_block) / blocks_per_group); }
  bool is_valid_block(uint64_t block) const { return block > first_data_block && block < block_count; }
  bool is_valid_inode(uint32_t number) const { return number == kRootInode || (number >= first_inode && number <= inode_count); }
  /// Whether the group begins with a copy of the superblock.
  bool group_has_superblock(uint32_t group) const;
  /// Blocks at the start of the group for the copy, its descriptors and their reserve.
  uint32_t group_overhead(uint32_t group) const;
  /// The block that holds descriptor block `index`.
  uint64_t descriptor_block(uint32_t index) const;
  /// The most bytes a file may have, by extents or by indirect blocks.
  uint64_t maximum_file_size(bool extents) const;
};

// The changing fields.
uint64_t free_blocks(ConstBytes superblock);
void set_free_blocks(Bytes superblock, uint64_t count);
inline uint32_t free_inodes(ConstBytes superblock) { return get32(superblock, 0x10); }
inline void set_free_inodes(Bytes superblock, uint32_t count) { put32(superblock, 0x10, count); }
inline uint16_t mount_state(ConstBytes superblock) { return get16(superblock, 0x3a); }
inline void set_mount_state(Bytes superblock, uint16_t state) { put16(superblock, 0x3a, state); }
inline uint32_t last_orphan(ConstBytes superblock) { return get32(superblock, 0xe8); }
inline void set_last_orphan(Bytes superblock, uint32_t number) { put32(superblock, 0xe8, number); }
void note_mounted(Bytes superblock, uint64_t now_seconds, std::string_view place);
void note_written(Bytes superblock, uint64_t now_seconds);
/// What a superblock of before a replay says of errors, and the replayed one does not.
void keep_errors(Bytes superblock, ConstBytes before);
void note_error(Bytes superblock, uint64_t now_seconds, uint32_t inode, uint64_t block, std::string_view function, uint32_t line);
/// Takes over what tune2fs(8) may change while the filesystem is mounted: label, checks, error policy, reserve, default options, layout hints.
void take_tunable_fields(Bytes superblock, ConstBytes from);
uint64_t reserved_blocks(ConstBytes superblock);
void set_feature(Bytes superblock, FeatureSet set, uint32_t bit, bool present);
/// Writes the checksum, when the filesystem has them.
void seal_superblock(Bytes superblock);

}  // namespace umk::ext4

// The journal's format (JBD2): a file of blocks, used in a circle. All numbers are big-endian.
//
// A transaction is one or more descriptor blocks, each followed by the blocks that its tags name, blocks of revocations, and a commit block. All but the
// data begin with a magic number, their kind and the transaction's number. A data block that begins with the magic number by chance is escaped.
//
// Linux, Documentation/filesystems/ext4/journal.rst.
#pragma once

#include <array>
#include <optional>

#include "core/base/bytes.h"
#include "core/base/result.h"
#include "core/base/text.h"

namespace umk::ext4 {

inline constexpr uint32_t kJournalMagic = 0xc03b3998;

enum class JournalBlock : uint32_t { Descriptor = 1, Commit = 2, SuperblockV1 = 3, SuperblockV2 = 4, Revoke = 5 };

namespace journal_feature {
inline constexpr uint32_t kCompatChecksum = 1;
inline constexpr uint32_t kRevoke = 1, k64Bit = 2, kAsyncCommit = 4, kChecksumV2 = 8, kChecksumV3 = 0x10, kFastCommit = 0x20;
inline constexpr uint32_t kSupported = kRevoke | k64Bit | kAsyncCommit | kChecksumV2 | kChecksumV3;
}  // namespace journal_feature

struct JournalTag {
  uint64_t block = 0;
  bool is_escaped = false;
  bool is_last = false;
  uint32_t checksum = 0;  // 16 bits of it without version 3
};

/// The journal's superblock, in its first block.
struct JournalSuperblock {
  uint32_t block_size = 0, blocks = 0, first = 0;
  uint32_t sequence = 0;  // of the first transaction in the log
  uint32_t start = 0;     // where it begins; 0 when the log is empty
  uint32_t error = 0;
  uint32_t compat = 0, incompat = 0, ro_compat = 0;
  std::array<std::byte, 16> uuid{};
  bool is_version2 = false;
  uint32_t seed = 0;  // of checksums

  /// EINVAL, EUCLEAN with the reason. `file_blocks` bounds its own idea of its length.
  static Result<JournalSuperblock> parse(ConstBytes block, uint32_t block_size, uint64_t file_blocks, std::string_view& reason);
  /// Puts what changes into the block, and the checksum.
  void update(Bytes block) const;
  void set_incompat(uint32_t bits) { incompat |= bits; }

  bool has_checksums() const { return incompat & (journal_feature::kChecksumV2 | journal_feature::kChecksumV3); }
  bool has_64bit() const { return incompat & journal_feature::k64Bit; }
  size_t tag_size() const;
  /// How many tags and revoked blocks a block has room for.
  uint32_t tags_per_block() const;
  uint32_t revokes_per_block() const;
  /// The block behind `block` in the circle.
  uint32_t next(uint32_t block, uint32_t count = 1) const {
    const uint32_t length = blocks - first;
    return first + (block - first + count) % length;
  }

  /// The kind of a journal block with this sequence; nothing for anything else.
  std::optional<JournalBlock> kind_of(ConstBytes block, uint32_t sequence) const;
  bool is_intact(ConstBytes block) const;  // a descriptor or revoke block

  /// Reads the tag at `offset`, and moves that on; nothing at the end.
  std::optional<JournalTag> read_tag(ConstBytes descriptor, size_t& offset) const;
  static constexpr size_t kFirstTag = 12;
  /// Revoked blocks: `visit(block)` for each; false when the list is damaged.
  template <typename Visit>
  bool read_revokes(ConstBytes block, Visit&& visit) const {
    const uint32_t end = get32_big(block, 12);
    if (end > block.size() - (has_checksums() ? 4 : 0) || end < 16) return false;
    const size_t step = has_64bit() ? 8 : 4;
    for (size_t at = 16; at + step <= end; at += step) visit(has_64bit() ? get64_big(block, at) : get32_big(block, at));
    return true;
  }
  uint32_t data_checksum(ConstBytes data, uint32_t sequence) const;
  bool data_matches(const JournalTag& tag, ConstBytes data, uint32_t sequence) const;
  bool commit_is_intact(ConstBytes block) const;

  void begin(Bytes block, JournalBlock kind, uint32_t sequence) const;
  void write_tag(Bytes descriptor, size_t& offset, const JournalTag& tag, bool is_first) const;
  void write_revoke(Bytes block, uint32_t index, uint64_t revoked) const;
  void seal(Bytes block) const;  // a descriptor or revoke block
  void write_commit(Bytes block, uint32_t sequence, uint64_t seconds, uint32_t nanoseconds) const;
};

/// Sequence numbers wrap.
inline bool is_older(uint32_t a, uint32_t b) { return static_cast<int32_t>(a - b) < 0; }

/// The orphan file's blocks: inode numbers, then a magic number and a checksum.
inline constexpr uint32_t kOrphanBlockMagic = 0x0b10ca04;
inline uint32_t orphan_entries(size_t block_size) { return static_cast<uint32_t>((block_size - 8) / 4); }
bool is_orphan_block(ConstBytes block);
uint32_t orphan_block_checksum(ConstBytes block, uint32_t inode_seed, uint64_t number);

}  // namespace umk::ext4

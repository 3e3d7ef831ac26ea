#include "core/lib/ext4_format/journal_format.h"

#include <array>

#include "core/abi/errno.h"
#include "core/lib/ext4_format/checksum.h"

namespace umk::ext4 {

namespace {

constexpr size_t kSuperblockBytes = 1024, kSuperblockChecksum = 0xfc, kCommitChecksum = 0x10;
constexpr uint32_t kEscaped = 1, kSameUuid = 2, kLast = 8;
constexpr size_t kUuidSize = 16;

/// The checksum of a block with its own field, four bytes at `field`, taken as zero.
uint32_t sum_without(uint32_t seed, ConstBytes block, size_t field) {
  uint32_t crc = crc32c(seed, block.first(field));
  crc = crc32c_number(crc, uint32_t{0});
  return crc32c(crc, block.subspan(field + 4));
}

}  // namespace

Result<JournalSuperblock> JournalSuperblock::parse(ConstBytes block, uint32_t block_size, uint64_t file_blocks, std::string_view& reason) {
  const auto refuse = [&](std::string_view why, int code = EINVAL) {
    reason = why;
    return umk::error(code);
  };
  if (block.size() < kSuperblockBytes || get32_big(block, 0) != kJournalMagic) return refuse("no journal superblock");
  const uint32_t kind = get32_big(block, 4);
  if (kind != 3 && kind != 4) return refuse("no journal superblock");
  JournalSuperblock s;
  s.is_version2 = kind == 4;
  s.block_size = get32_big(block, 0xc);
  s.blocks = get32_big(block, 0x10);
  s.first = get32_big(block, 0x14);
  s.sequence = get32_big(block, 0x18);
  s.start = get32_big(block, 0x1c);
  s.error = get32_big(block, 0x20);
  if (s.is_version2) {
    s.compat = get32_big(block, 0x24);
    s.incompat = get32_big(block, 0x28);
    s.ro_compat = get32_big(block, 0x2c);
    copy_bytes(s.uuid, block.subspan(0x30, 16));
  }
  if (s.incompat & ~journal_feature::kSupported || s.ro_compat != 0) return refuse("the journal has unknown features");
  if ((s.incompat & journal_feature::kChecksumV2) && (s.incompat & journal_feature::kChecksumV3)) return refuse("the journal has two kinds of checksums");
  s.seed = crc32c(~0u, s.uuid);
  if (s.has_checksums()) {
    if (get8(block, 0x50) != 4) return refuse("the journal has unknown checksums");
    if (get32_big(block, kSuperblockChecksum) != sum_without(~0u, block.first(kSuperblockBytes), kSuperblockChecksum))
      return refuse("wrong checksum of the journal superblock", EUCLEAN);
  }
  if (s.block_size != block_size) return refuse("the journal has another block size");
  if (s.blocks > file_blocks || s.first == 0 || s.blocks < s.first + 16) return refuse("the journal has an impossible length");
  if (s.start != 0 && (s.start < s.first || s.start >= s.blocks)) return refuse("the journal begins outside of itself");
  return s;
}

void JournalSuperblock::update(Bytes block) const {
  put32_big(block, 0x18, sequence);
  put32_big(block, 0x1c, start);
  put32_big(block, 0x20, error);
  if (!is_version2) return;
  put32_big(block, 0x28, incompat);
  if (!has_checksums()) return;
  put8(block, 0x50, 4);
  put32_big(block, kSuperblockChecksum, sum_without(~0u, ConstBytes(block).first(kSuperblockBytes), kSuperblockChecksum));
}

size_t JournalSuperblock::tag_size() const {
  if (incompat & journal_feature::kChecksumV3) return 16;
  return (has_64bit() ? 12 : 8) + (incompat & journal_feature::kChecksumV2 ? 2 : 0);
}

uint32_t JournalSuperblock::tags_per_block() const {
  return static_cast<uint32_t>((block_size - kFirstTag - kUuidSize - (has_checksums() ? 4 : 0)) / tag_size());
}

uint32_t JournalSuperblock::revokes_per_block() const { return static_cast<uint32_t>((block_size - 16 - (has_checksums() ? 4 : 0)) / (has_64bit() ? 8 : 4)); }

std::optional<JournalBlock> JournalSuperblock::kind_of(ConstBytes block, uint32_t wanted) const {
  if (get32_big(block, 0) != kJournalMagic || get32_big(block, 8) != wanted) return std::nullopt;
  const uint32_t kind = get32_big(block, 4);
  if (kind == 0 || kind > 5) return std::nullopt;
  return static_cast<JournalBlock>(kind);
}

bool JournalSuperblock::is_intact(ConstBytes block) const {
  return !has_checksums() || get32_big(block, block.size() - 4) == sum_without(seed, block, block.size() - 4);
}

std::optional<JournalTag> JournalSuperblock::read_tag(ConstBytes descriptor, size_t& offset) const {
  const size_t end = descriptor.size() - (has_checksums() ? 4 : 0);
  if (offset + tag_size() > end) return std::nullopt;
  JournalTag tag;
  uint32_t flags;
  tag.block = get32_big(descriptor, offset);
  if (incompat & journal_feature::kChecksumV3) {
    flags = get32_big(descriptor, offset + 4);
    if (has_64bit()) tag.block |= uint64_t{get32_big(descriptor, offset + 8)} << 32;
    tag.checksum = get32_big(descriptor, offset + 12);
  } else {
    tag.checksum = get16_big(descriptor, offset + 4);
    flags = get16_big(descriptor, offset + 6);
    if (has_64bit()) tag.block |= uint64_t{get32_big(descriptor, offset + 8)} << 32;
  }
  tag.is_escaped = flags & kEscaped;
  tag.is_last = flags & kLast;
  offset += tag_size();
  if (!(flags & kSameUuid)) offset += kUuidSize;
  return tag;
}

uint32_t JournalSuperblock::data_checksum(ConstBytes data, uint32_t number) const {
  return crc32c(crc32c_number(seed, __builtin_bswap32(number)), data);
}

bool JournalSuperblock::data_matches(const JournalTag& tag, ConstBytes data, uint32_t number) const {
  if (!has_checksums()) return true;
  const uint32_t sum = data_checksum(data, number);
  return incompat & journal_feature::kChecksumV3 ? tag.checksum == sum : tag.checksum == (sum & 0xffff);
}

bool JournalSuperblock::commit_is_intact(ConstBytes block) const {
  return !has_checksums() || get32_big(block, kCommitChecksum) == sum_without(seed, block, kCommitChecksum);
}

void JournalSuperblock::begin(Bytes block, JournalBlock kind, uint32_t number) const {
  fill_zero(block);
  put32_big(block, 0, kJournalMagic);
  put32_big(block, 4, static_cast<uint32_t>(kind));
  put32_big(block, 8, number);
}

void JournalSuperblock::write_tag(Bytes descriptor, size_t& offset, const JournalTag& tag, bool is_first) const {
  const uint32_t flags = (tag.is_escaped ? kEscaped : 0) | (is_first ? 0 : kSameUuid) | (tag.is_last ? kLast : 0);
  put32_big(descriptor, offset, static_cast<uint32_t>(tag.block));
  if (incompat & journal_feature::kChecksumV3) {
    put32_big(descriptor, offset + 4, flags);
    put32_big(descriptor, offset + 8, has_64bit() ? static_cast<uint32_t>(tag.block >> 32) : 0);
    put32_big(descriptor, offset + 12, tag.checksum);
  } else {
    put16_big(descriptor, offset + 4, static_cast<uint16_t>(tag.checksum));
    put16_big(descriptor, offset + 6, static_cast<uint16_t>(flags));
    if (has_64bit()) put32_big(descriptor, offset + 8, static_cast<uint32_t>(tag.block >> 32));
  }
  offset += tag_size();
  if (!is_first) return;
  copy_bytes(descriptor.subspan(offset, kUuidSize), uuid);
  offset += kUuidSize;
}

void JournalSuperblock::write_revoke(Bytes block, uint32_t index, uint64_t revoked) const {
  const size_t step = has_64bit() ? 8 : 4;
  if (has_64bit()) {
    put64_big(block, 16 + index * step, revoked);
  } else {
    put32_big(block, 16 + index * step, static_cast<uint32_t>(revoked));
  }
  put32_big(block, 12, static_cast<uint32_t>(16 + (index + 1) * step));
}

void JournalSuperblock::seal(Bytes block) const {
  if (has_checksums()) put32_big(block, block.size() - 4, sum_without(seed, block, block.size() - 4));
}

void JournalSuperblock::write_commit(Bytes block, uint32_t number, uint64_t seconds, uint32_t nanoseconds) const {
  begin(block, JournalBlock::Commit, number);
  put64_big(block, 0x30, seconds);
  put32_big(block, 0x38, nanoseconds);
  if (has_checksums()) put32_big(block, kCommitChecksum, sum_without(seed, block, kCommitChecksum));
}

bool is_orphan_block(ConstBytes block) { return get32(block, block.size() - 8) == kOrphanBlockMagic; }

uint32_t orphan_block_checksum(ConstBytes block, uint32_t seed, uint64_t number) {
  return crc32c(crc32c_number(seed, number), block.first(size_t{orphan_entries(block.size())} * 4));
}

}  // namespace umk::ext4

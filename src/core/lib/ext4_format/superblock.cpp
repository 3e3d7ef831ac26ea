#include "core/lib/ext4_format/superblock.h"

#include "core/abi/errno.h"
#include "core/lib/ext4_format/checksum.h"

namespace umk::ext4 {

namespace {

constexpr size_t kChecksumOffset = 0x3fc;

struct FeatureName {
  uint32_t bit;
  std::string_view name;
};
constexpr FeatureName kCompatNames[] = {{0x1, "dir_prealloc"},   {0x2, "imagic_inodes"}, {0x4, "has_journal"}, {0x8, "ext_attr"},     {0x10, "resize_inode"}, {0x20, "dir_index"},
                                        {0x40, "lazy_bg"},       {0x100, "exclude_bitmap"}, {0x200, "sparse_super2"}, {0x400, "fast_commit"}, {0x800, "stable_inodes"}, {0x1000, "orphan_file"}};
constexpr FeatureName kIncompatNames[] = {{0x1, "compression"}, {0x2, "filetype"},  {0x4, "needs_recovery"}, {0x8, "journal_dev"},      {0x10, "meta_bg"},    {0x40, "extent"},
                                          {0x80, "64bit"},      {0x100, "mmp"},     {0x200, "flex_bg"},      {0x400, "ea_inode"},       {0x1000, "dirdata"},  {0x2000, "metadata_csum_seed"},
                                          {0x4000, "large_dir"}, {0x8000, "inline_data"}, {0x10000, "encrypt"}, {0x20000, "casefold"}};
constexpr FeatureName kRoCompatNames[] = {{0x1, "sparse_super"}, {0x2, "large_file"}, {0x4, "btree_dir"}, {0x8, "huge_file"},      {0x10, "uninit_bg"},  {0x20, "dir_nlink"},
                                          {0x40, "extra_isize"}, {0x80, "snapshot"},  {0x100, "quota"},   {0x200, "bigalloc"},     {0x400, "metadata_csum"}, {0x800, "replica"},
                                          {0x1000, "read-only"}, {0x2000, "project"}, {0x4000, "shared_blocks"}, {0x8000, "verity"}, {0x10000, "orphan_present"}};

bool is_power_of(uint32_t number, uint32_t base) {
  while (number > 1) {
    if (number % base != 0) return false;
    number /= base;
  }
  return number == 1;
}
bool is_power_of_two(uint32_t number) { return number != 0 && (number & (number - 1)) == 0; }

}  // namespace

void name_features(TextSink& sink, FeatureSet set, uint32_t bits) {
  const std::span<const FeatureName> names = set == FeatureSet::Compatible     ? std::span<const FeatureName>(kCompatNames)
                                             : set == FeatureSet::Incompatible ? std::span<const FeatureName>(kIncompatNames)
                                                                               : std::span<const FeatureName>(kRoCompatNames);
  const char letter = set == FeatureSet::Compatible ? 'C' : set == FeatureSet::Incompatible ? 'I' : 'R';
  bool first = true;
  for (unsigned bit = 0; bit < 32; ++bit) {
    if (!(bits >> bit & 1)) continue;
    if (!first) sink.put(" ");
    first = false;
    std::string_view known;
    for (const FeatureName& feature : names)
      if (feature.bit == 1u << bit) known = feature.name;
    if (known.empty()) {
      format(sink, "FEATURE_{}{}", letter, bit);
    } else {
      sink.put(known);
    }
  }
}

Result<Geometry> Geometry::parse(ConstBytes superblock, std::string_view& reason, Checksum checksum) {
  const auto refuse = [&](std::string_view why) {
    reason = why;
    return error(EINVAL);
  };
  if (superblock.size() < kSuperblockSize || get16(superblock, 0x38) != kSuperblockMagic) return refuse("no ext4 filesystem");
  superblock = superblock.first(kSuperblockSize);
  Geometry g;
  const bool dynamic = get32(superblock, 0x4c) >= 1;
  if (dynamic) {
    g.compat = get32(superblock, 0x5c);
    g.incompat = get32(superblock, 0x60);
    g.ro_compat = get32(superblock, 0x64);
  }
  if (g.has_checksums()) {
    if (get8(superblock, 0x175) != 1) return refuse("unknown checksum algorithm");
    if (checksum == Checksum::Checked && get32(superblock, kChecksumOffset) != crc32c(~0u, superblock.first(kChecksumOffset))) {
      reason = "wrong superblock checksum";
      return error(EUCLEAN);
    }
  }
  const uint32_t log_block_size = get32(superblock, 0x18);
  if (log_block_size > 6) return refuse("bad block size");
  g.block_bits = 10 + log_block_size;
  g.block_size = 1u << g.block_bits;
  if (!g.has_ro_compat(ro_compat::kBigAllocation) && get32(superblock, 0x1c) != log_block_size) return refuse("cluster size and block size differ");
  g.block_count = get32(superblock, 0x4);
  g.reserved_blocks = get32(superblock, 0x8);
  if (g.has_incompat(incompat::k64Bit)) {
    g.block_count |= uint64_t{get32(superblock, 0x150)} << 32;
    g.reserved_blocks |= uint64_t{get32(superblock, 0x154)} << 32;
  }
  g.first_data_block = get32(superblock, 0x14);
  if (g.block_size == 1024 && g.first_data_block == 0 && g.has_ro_compat(ro_compat::kBigAllocation))
    return refuse("it has a feature that is not supported: bigalloc with blocks of 1 KiB");
  if (g.first_data_block != (g.block_size == 1024 ? 1u : 0u)) return refuse("bad first data block");
  if (g.block_count <= g.first_data_block || g.block_count >> 48) return refuse("bad block count");
  g.blocks_per_group = get32(superblock, 0x20);
  g.inodes_per_group = get32(superblock, 0x28);
  const uint32_t bits_per_block = 8 * g.block_size;
  const uint32_t cluster_bits = g.has_ro_compat(ro_compat::kBigAllocation) ? get32(superblock, 0x1c) - log_block_size : 0;
  if (cluster_bits > 20) return refuse("bad cluster size");
  if (g.blocks_per_group == 0 || g.blocks_per_group % 8 != 0 || g.blocks_per_group > uint64_t{bits_per_block} << cluster_bits) return refuse("bad group size");
  if (g.inodes_per_group == 0 || g.inodes_per_group > bits_per_block) return refuse("bad number of inodes in a group");
  const uint64_t groups = (g.block_count - g.first_data_block + g.blocks_per_group - 1) / g.blocks_per_group;
  // Linux's limit as well: group numbers are 32 bits wide, and descriptors of all of them are kept in memory.
  if (groups > UINT32_MAX / 64) return refuse("too many groups");
  g.group_count = static_cast<uint32_t>(groups);

  g.inode_size = dynamic ? get16(superblock, 0x58) : 128;
  g.first_inode = dynamic ? get32(superblock, 0x54) : 11;
  if (!is_power_of_two(g.inode_size) || g.inode_size < 128 || g.inode_size > g.block_size) return refuse("bad inode size");
  if (g.first_inode < 11) return refuse("bad first inode");
  if (g.inodes_per_group % g.inodes_per_block() != 0) return refuse("inode tables do not fill blocks");
  g.inode_count = get32(superblock, 0x0);
  if (g.inode_count != groups * g.inodes_per_group) return refuse("bad inode count");
  g.descriptor_size = 32;
  if (g.has_incompat(incompat::k64Bit)) {
    g.descriptor_size = get16(superblock, 0xfe);
    if (!is_power_of_two(g.descriptor_size) || g.descriptor_size < 64 || g.descriptor_size > 1024) return refuse("bad descriptor size");
  }
  g.reserved_descriptor_blocks = get16(superblock, 0xce);
  if (g.reserved_descriptor_blocks > g.block_size / 4) return refuse("too many reserved descriptor blocks");
  g.first_meta_group = g.has_incompat(incompat::kMetaGroups) ? get32(superblock, 0x104) : 0;
  if (g.first_meta_group > g.descriptor_blocks()) return refuse("bad first meta group");
  if (g.has_incompat(incompat::kFlexGroups)) {
    const uint8_t log_flex = get8(superblock, 0x174);
    if (log_flex > 31) return refuse("bad flexible group size");
    g.groups_per_flex = 1u << log_flex;
  }
  if (g.has_compat(compat::kHasJournal)) g.journal_inode = get32(superblock, 0xe0);
  if (g.has_compat(compat::kOrphanFile)) g.orphan_file_inode = get32(superblock, 0x280);
  if (g.inode_size > 128) {
    const uint32_t smallest = get16(superblock, 0x15c), wanted = get16(superblock, 0x15e);
    g.want_extra_size = std::max<uint32_t>({smallest, wanted, 32});
    if (g.want_extra_size > g.inode_size - 128 || g.want_extra_size % 4 != 0) g.want_extra_size = 32;
  }
  copy_bytes(g.uuid, superblock.subspan(0x68, 16));
  g.checksum_seed = g.has_incompat(incompat::kChecksumSeed) ? get32(superblock, 0x270) : crc32c(~0u, g.uuid);
  for (size_t i = 0; i < 4; ++i) g.hash_seed[i] = get32(superblock, 0xec + 4 * i);
  g.hash_version = get8(superblock, 0xfc);
  const bool unsigned_hash = get32(superblock, 0x160) & 2;
  if (g.hash_version < 3 && unsigned_hash) g.hash_version = static_cast<uint8_t>(g.hash_version + 3);
  g.default_mount_options = get32(superblock, 0x100);
  const uint16_t policy = get16(superblock, 0x3c);
  g.error_policy = policy == 2 || policy == 3 ? static_cast<ErrorPolicy>(policy) : ErrorPolicy::Continue;
  g.reserved_uid = get16(superblock, 0x50);
  g.reserved_gid = get16(superblock, 0x52);
  g.backup_groups = {get32(superblock, 0x24c), get32(superblock, 0x250)};
  // A superblock, its descriptors, two bitmaps and an inode table must find room in a group that has them all.
  if (g.group_overhead(0) + 3 > g.blocks_per_group) return refuse("groups are too small");
  return g;
}

bool Geometry::group_has_superblock(uint32_t group) const {
  if (group == 0) return true;
  if (has_compat(compat::kSparseSuper2)) return group == backup_groups[0] || group == backup_groups[1];
  if (!has_ro_compat(ro_compat::kSparseSuper)) return true;
  return group == 1 || is_power_of(group, 3) || is_power_of(group, 5) || is_power_of(group, 7);
}

uint32_t Geometry::group_overhead(uint32_t group) const {
  const bool has_copy = group_has_superblock(group);
  const uint32_t in_block = descriptors_per_block();
  if (has_incompat(incompat::kMetaGroups) && group >= first_meta_group * in_block) {
    const uint32_t place = group % in_block;
    return (has_copy ? 1u : 0u) + (place == 0 || place == 1 || place == in_block - 1 ? 1u : 0u);
  }
  if (!has_copy) return 0;
  const uint32_t descriptors = has_incompat(incompat::kMetaGroups) ? first_meta_group : descriptor_blocks() + reserved_descriptor_blocks;
  return 1 + descriptors;
}

uint64_t Geometry::descriptor_block(uint32_t index) const {
  if (!has_incompat(incompat::kMetaGroups) || index < first_meta_group) return uint64_t{first_data_block} + 1 + index;
  const uint32_t group = index * descriptors_per_block();
  return group_first_block(group) + (group_has_superblock(group) ? 1 : 0);
}

uint64_t Geometry::maximum_file_size(bool extents) const {
  // Extents number blocks with 32 bits; the last one is kept free.
  if (extents) return uint64_t{UINT32_MAX} << block_bits;
  const uint64_t pointers = block_size / 4;
  const uint64_t blocks = 12 + pointers + pointers * pointers + pointers * pointers * pointers;
  const uint64_t by_count = has_ro_compat(ro_compat::kHugeFile) ? UINT32_MAX : (uint64_t{UINT32_MAX} * 512 >> block_bits) - 4096;
  return (blocks < by_count ? blocks : by_count) << block_bits;
}

uint64_t free_blocks(ConstBytes superblock) { return get32(superblock, 0xc) | uint64_t{get32(superblock, 0x158)} << 32; }

void set_free_blocks(Bytes superblock, uint64_t count) {
  put32(superblock, 0xc, static_cast<uint32_t>(count));
  if (get32(superblock, 0x60) & incompat::k64Bit) put32(superblock, 0x158, static_cast<uint32_t>(count >> 32));
}

void note_mounted(Bytes superblock, uint64_t now_seconds, std::string_view place) {
  put32(superblock, 0x2c, static_cast<uint32_t>(now_seconds));
  put8(superblock, 0x275, static_cast<uint8_t>(now_seconds >> 32));
  put16(superblock, 0x34, static_cast<uint16_t>(get16(superblock, 0x34) + 1));
  if (!place.empty()) {
    fill_zero(superblock.subspan(0x88, 64));
    copy_bytes(superblock.subspan(0x88, 63), std::as_bytes(std::span(place.data(), place.size() < 63 ? place.size() : 63)));
  }
}

void note_written(Bytes superblock, uint64_t now_seconds) {
  put32(superblock, 0x30, static_cast<uint32_t>(now_seconds));
  put8(superblock, 0x274, static_cast<uint8_t>(now_seconds >> 32));
}

void note_error(Bytes superblock, uint64_t now_seconds, uint32_t inode, uint64_t block, std::string_view function, uint32_t line) {
  const auto put_at = [&](size_t time, size_t time_high, size_t inode_at, size_t block_at, size_t function_at, size_t line_at) {
    put32(superblock, time, static_cast<uint32_t>(now_seconds));
    put8(superblock, time_high, static_cast<uint8_t>(now_seconds >> 32));
    put32(superblock, inode_at, inode);
    put64(superblock, block_at, block);
    fill_zero(superblock.subspan(function_at, 32));
    copy_bytes(superblock.subspan(function_at, 32), std::as_bytes(std::span(function.data(), function.size() < 32 ? function.size() : 32)));
    put32(superblock, line_at, line);
  };
  if (get32(superblock, 0x194) == 0) put_at(0x198, 0x278, 0x19c, 0x1a0, 0x1a8, 0x1c8);
  put_at(0x1cc, 0x279, 0x1d0, 0x1d8, 0x1e0, 0x1d4);
  put32(superblock, 0x194, get32(superblock, 0x194) + 1);
  set_mount_state(superblock, static_cast<uint16_t>(mount_state(superblock) | state::kErrors));
}

void keep_errors(Bytes superblock, ConstBytes before) {
  if (!(mount_state(before) & state::kErrors)) return;
  set_mount_state(superblock, static_cast<uint16_t>(mount_state(superblock) | state::kErrors));
  if (get32(before, 0x194) <= get32(superblock, 0x194)) return;
  copy_bytes(superblock.subspan(0x194, 0x200 - 0x194), before.subspan(0x194, 0x200 - 0x194));
  copy_bytes(superblock.subspan(0x278, 2), before.subspan(0x278, 2));
}

void take_tunable_fields(Bytes superblock, ConstBytes from) {
  struct Field {
    size_t offset, size;
  };
  // Counts of mounts and their limit, error policy, times of checks, reserve and its owners, label, default mount options, RAID layout.
  constexpr Field kFields[] = {{0x8, 4},   {0x34, 4},  {0x3c, 2},  {0x40, 8},   {0x50, 4},  {kLabelOffset, kLabelSize},
                               {0x100, 4}, {0x164, 2}, {0x170, 4}, {0x200, 64}, {0x277, 1}};
  for (const Field& field : kFields) copy_bytes(superblock.subspan(field.offset, field.size), from.subspan(field.offset, field.size));
  if (get32(superblock, 0x60) & incompat::k64Bit) put32(superblock, 0x154, get32(from, 0x154));
}

uint64_t reserved_blocks(ConstBytes superblock) {
  return get32(superblock, 0x8) | (get32(superblock, 0x60) & incompat::k64Bit ? uint64_t{get32(superblock, 0x154)} << 32 : 0);
}

void set_feature(Bytes superblock, FeatureSet set, uint32_t bit, bool present) {
  const size_t offset = set == FeatureSet::Compatible ? 0x5c : set == FeatureSet::Incompatible ? 0x60 : 0x64;
  const uint32_t bits = get32(superblock, offset);
  put32(superblock, offset, present ? bits | bit : bits & ~bit);
}

void seal_superblock(Bytes superblock) {
  if (get32(superblock, 0x4c) < 1 || !(get32(superblock, 0x64) & ro_compat::kMetadataChecksum)) return;
  put32(superblock, kChecksumOffset, crc32c(~0u, superblock.first(kChecksumOffset)));
}

}  // namespace umk::ext4

#include "core/lib/squashfs_format/superblock.h"

namespace umk::squashfs {

namespace {
constexpr uint32_t kMagic = 0x73717368;
constexpr uint32_t kLeastBlockBits = 12, kMostBlockBits = 20;
}  // namespace

std::string_view name_of(Compressor compressor) {
  switch (compressor) {
    case Compressor::Gzip: return "gzip";
    case Compressor::Lzma: return "lzma";
    case Compressor::Lzo: return "lzo";
    case Compressor::Xz: return "xz";
    case Compressor::Lz4: return "lz4";
    case Compressor::Zstd: return "zstd";
  }
  return "unknown";
}

Result<Layout> Layout::parse(ConstBytes raw, uint64_t device_bytes, std::string_view& reason) {
  reason = {};
  if (raw.size() < kSuperblockBytes || get32(raw, 0) != kMagic) return error(EINVAL);
  const auto refuse = [&](std::string_view why) {
    reason = why;
    return error(EINVAL);
  };
  if (get16(raw, 28) != 4 || get16(raw, 30) != 0) return refuse("versions other than 4.0 are not supported");
  Layout s;
  s.inodes = get32(raw, 4);
  s.made_at = get32(raw, 8);
  s.block_size = get32(raw, 12);
  s.fragments = get32(raw, 16);
  s.compressor = static_cast<Compressor>(get16(raw, 20));
  s.block_bits = get16(raw, 22);
  s.ids = get16(raw, 26);
  s.root = get64(raw, 32);
  s.bytes_used = get64(raw, 40);
  s.id_table = get64(raw, 48);
  s.attribute_table = get64(raw, 56);
  s.inode_table = get64(raw, 64);
  s.directory_table = get64(raw, 72);
  s.fragment_table = get64(raw, 80);
  if (s.block_bits < kLeastBlockBits || s.block_bits > kMostBlockBits || s.block_size != uint32_t{1} << s.block_bits)
    return refuse("size of blocks");
  if (s.compressor < Compressor::Gzip || s.compressor > Compressor::Zstd) return refuse("unknown compressor");
  if (s.bytes_used > device_bytes || s.bytes_used > INT64_MAX) return refuse("longer than its device");
  if (s.ids == 0 || s.inodes == 0) return refuse("no owners or no inodes");
  if (s.inode_table < kSuperblockBytes || s.inode_table >= s.directory_table || s.directory_table >= s.bytes_used)
    return refuse("places of the tables");
  if (s.id_table >= s.bytes_used || s.id_table < s.directory_table) return refuse("place of the owners");
  if (s.fragments == 0) s.fragment_table = kNoTable;
  else if (s.fragment_table >= s.bytes_used) return refuse("place of the fragments");
  if (s.attribute_table != kNoTable && s.attribute_table >= s.bytes_used) return refuse("place of the attributes");
  return s;
}

}  // namespace umk::squashfs

#include "core/lib/squashfs_format/inode_record.h"

namespace umk::squashfs {

namespace {
constexpr unsigned kKinds = 7;
}

Result<InodeRecord> read_inode(Stream& stream, bool* is_extended_out) {
  const auto head = TRY(stream.fields<16>());
  unsigned type = head.get<uint16_t>(0);
  if (type == 0 || type > 2 * kKinds) return error(EIO);
  const bool is_extended = type > kKinds;
  if (is_extended_out) *is_extended_out = is_extended;
  if (is_extended) type -= kKinds;
  InodeRecord r;
  r.kind = static_cast<Kind>(type);
  r.permissions = head.get<uint16_t>(2) & 07777u;
  r.uid_index = head.get<uint16_t>(4);
  r.gid_index = head.get<uint16_t>(6);
  r.modified = head.get<uint32_t>(8);
  r.number = head.get<uint32_t>(12);
  switch (r.kind) {
    case Kind::Directory:
      if (is_extended) {
        const auto f = TRY(stream.fields<24>());
        r.links = f.get<uint32_t>(0);
        r.size = f.get<uint32_t>(4);
        r.directory_block = f.get<uint32_t>(8);
        r.index_count = f.get<uint16_t>(16);
        r.directory_offset = f.get<uint16_t>(18);
        r.attributes = f.get<uint32_t>(20);
      } else {
        const auto f = TRY(stream.fields<16>());
        r.directory_block = f.get<uint32_t>(0);
        r.links = f.get<uint32_t>(4);
        r.size = f.get<uint16_t>(8);
        r.directory_offset = f.get<uint16_t>(10);
      }
      break;
    case Kind::Regular:
      if (is_extended) {
        const auto f = TRY(stream.fields<40>());
        r.first_block = f.get<uint64_t>(0);
        r.size = f.get<uint64_t>(8);
        r.sparse_bytes = f.get<uint64_t>(16);
        r.links = f.get<uint32_t>(24);
        r.fragment = f.get<uint32_t>(28);
        r.fragment_offset = f.get<uint32_t>(32);
        r.attributes = f.get<uint32_t>(36);
      } else {
        const auto f = TRY(stream.fields<16>());
        r.first_block = f.get<uint32_t>(0);
        r.fragment = f.get<uint32_t>(4);
        r.fragment_offset = f.get<uint32_t>(8);
        r.size = f.get<uint32_t>(12);
      }
      if (r.size > INT64_MAX) return error(EIO);
      break;
    case Kind::Symlink: {
      const auto f = TRY(stream.fields<8>());
      r.links = f.get<uint32_t>(0);
      r.size = f.get<uint32_t>(4);
      if (r.size == 0 || r.size >= kLinkLimit) return error(EIO);
      break;
    }
    case Kind::BlockDevice:
    case Kind::CharacterDevice: {
      const auto f = TRY(stream.fields<8>());
      r.links = f.get<uint32_t>(0);
      r.device = f.get<uint32_t>(4);
      break;
    }
    case Kind::Fifo:
    case Kind::Socket: r.links = TRY(stream.fields<4>()).get<uint32_t>(0); break;
  }
  if (is_extended && r.kind >= Kind::BlockDevice) r.attributes = TRY(stream.fields<4>()).get<uint32_t>(0);
  return r;
}

Result<void> read_index_entry(Stream& stream, IndexEntry& into) {
  const auto f = TRY(stream.fields<12>());
  into.position = f.get<uint32_t>(0);
  into.block = f.get<uint32_t>(4);
  const uint32_t size = f.get<uint32_t>(8);
  if (size >= sizeof into.name) return error(EIO);
  into.name_bytes = size + 1;
  return stream.read(std::as_writable_bytes(std::span(into.name).first(into.name_bytes)));
}

}  // namespace umk::squashfs

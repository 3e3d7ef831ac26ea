#include "core/fs/squashfs/volume.h"

#include <algorithm>

#include "core/fs/squashfs/nodes.h"
#include "core/lib/squashfs_format/attributes.h"

namespace umk::squashfs {

namespace {

vfs::FileType type_of(Kind kind) {
  static constexpr vfs::FileType kTypes[] = {vfs::FileType::Directory,   vfs::FileType::Regular,         vfs::FileType::Symlink,
                                             vfs::FileType::BlockDevice, vfs::FileType::CharacterDevice, vfs::FileType::Fifo,
                                             vfs::FileType::Socket};
  return kTypes[static_cast<unsigned>(kind) - 1];
}

}  // namespace

Result<RefPtr<UnpackedBlock>> Volume::metadata_block(uint64_t place) {
  if (RefPtr<UnpackedBlock> found = metadata_.find(place)) return found;
  std::byte head_bytes[2];
  TRY(unpacker_.read(place, head_bytes));
  const MetadataHead head{get16(head_bytes, 0)};
  RefPtr<UnpackedBlock> block = TRY(UnpackedBlock::create(place, kMetadataBytes));
  Result<size_t> made =
      unpacker_.unpack(place + sizeof head_bytes, head.bytes(), head.is_packed(), Bytes(block->memory.get(), kMetadataBytes));
  if (!made.ok() && made.code() != EIO) return made.failure();
  if (!made.ok() || made.value() == 0) return damaged("metadata block", place);
  block->size = made.value();
  block->next = place + sizeof head_bytes + head.bytes();
  metadata_.keep(block);
  return block;
}

Result<RefPtr<UnpackedBlock>> Volume::data_block(uint64_t place, BlockSize size) {
  if (RefPtr<UnpackedBlock> found = data_.find(place)) return found;
  RefPtr<UnpackedBlock> block = TRY(UnpackedBlock::create(place, layout_.block_size));
  Result<size_t> made = unpacker_.unpack(place, size.bytes(), size.is_packed(), Bytes(block->memory.get(), layout_.block_size));
  if (!made.ok()) return made.code() == EIO ? damaged("block of data", place) : made.failure();
  block->size = made.value();
  data_.keep(block);
  return block;
}

Result<void> Volume::read_data_block(uint64_t place, BlockSize size, Bytes into) {
  const Result<size_t> made = unpacker_.unpack(place, size.bytes(), size.is_packed(), into);
  if (!made.ok() && made.code() != EIO) return made.failure();
  if (!made.ok() || made.value() != into.size()) return damaged("block of data", place);
  return {};
}

MetadataStream Volume::entry_of(const Vector<uint64_t>& index, uint64_t entry, size_t entry_bytes) {
  const uint64_t in_block = kMetadataBytes / entry_bytes;
  return MetadataStream(*this, index[entry / in_block], static_cast<uint32_t>(entry % in_block * entry_bytes));
}

Result<Volume::Fragment> Volume::fragment(uint32_t index) {
  if (index >= layout_.fragments) return damaged("number of a fragment", index);
  MetadataStream stream = entry_of(fragment_index_, index, 16);
  const auto f = TRY(stream.fields<16>());
  return Fragment{f.get<uint64_t>(0), BlockSize{f.get<uint32_t>(8)}};
}

Result<RefPtr<vfs::ReadOnlyInode>> Volume::inode(Reference place, uint32_t number) {
  if (RefPtr<vfs::ReadOnlyInode> found = inodes().find(number)) return found;
  const uint64_t block = layout_.inode_table + place.block();
  if (block >= layout_.directory_table) return damaged("place of an inode", place.raw);
  MetadataStream stream(*this, block, place.offset());
  return inodes().enter(TRY(make_inode(stream, number)));
}

Result<RefPtr<vfs::ReadOnlyInode>> Volume::make_inode(MetadataStream& stream, uint32_t number) {
  bool is_extended = false;
  const Result<InodeRecord> parsed = read_inode(stream, &is_extended);
  if (!parsed.ok()) return parsed.code() == EIO ? damaged("inode", number) : parsed.failure();
  InodeRecord record = parsed.value();
  if (record.number != number || number == 0) return damaged("number of an inode", number);
  if (record.uid_index >= ids_.size() || record.gid_index >= ids_.size()) return damaged("owner of an inode", number);
  vfs::ReadOnlyInode::Description d;
  d.number = number;
  d.mode = static_cast<uint32_t>(type_of(record.kind)) | record.permissions;
  d.links = record.links;
  d.uid = ids_[record.uid_index];
  d.gid = ids_[record.gid_index];
  d.access_time = d.modify_time = d.change_time = {int64_t{record.modified}, 0};
  d.size_bytes = record.size;
  String target;
  if (record.kind == Kind::Symlink) {
    char text[kLinkLimit];
    TRY(stream.read(std::as_writable_bytes(std::span(text).first(record.size))));
    const std::string_view view(text, record.size);
    if (view.find('\0') != std::string_view::npos) return damaged("target of a symbolic link", number);
    target = TRY(String::from(view));
    if (is_extended) record.attributes = TRY(stream.fields<4>()).get<uint32_t>(0);
  }
  d.attributes_place = record.attributes;
  switch (record.kind) {
    case Kind::Directory: return RefPtr<vfs::ReadOnlyInode>(TRY(make_ref<DirectoryNode>(*this, d, record, stream)));
    case Kind::Regular:
      if (record.has_fragment() && record.size % layout_.block_size == 0) return damaged("fragment of a file", number);
      d.blocks = (record.size - std::min(record.sparse_bytes, record.size) + 511) / 512;
      return RefPtr<vfs::ReadOnlyInode>(TRY(make_ref<FileNode>(*this, d, record, stream)));
    case Kind::Symlink: return RefPtr<vfs::ReadOnlyInode>(TRY(make_ref<vfs::ReadOnlyLink>(*this, d, std::move(target))));
    case Kind::BlockDevice:
    case Kind::CharacterDevice: d.device = DeviceNumber::decode(record.device); [[fallthrough]];
    case Kind::Fifo:
    case Kind::Socket: return RefPtr<vfs::ReadOnlyInode>(TRY(make_ref<vfs::ReadOnlyInode>(*this, d)));
  }
  return error(EIO);
}

// --- attributes

Result<Volume::AttributeList> Volume::attribute_list(uint64_t attributes_place) {
  if (attributes_place >= attribute_count_) return damaged("attributes of an inode", attributes_place);
  MetadataStream stream = entry_of(attribute_index_, attributes_place, kAttributeIdBytes);
  const auto f = TRY(stream.fields<kAttributeIdBytes>());
  return AttributeList{{f.get<uint64_t>(0)}, f.get<uint32_t>(8)};
}

Result<String> Volume::attribute_of(uint64_t attributes_place, std::string_view wanted) {
  if (attributes_place == kNone || layout_.attribute_table == kNoTable) return error(ENODATA);
  const AttributeList list = TRY(attribute_list(attributes_place));
  MetadataStream stream(*this, attribute_lists_ + list.place.block(), list.place.offset());
  AttributeName name;
  for (uint32_t i = 0; i < list.count; ++i) {
    TRY(read_attribute_name(stream, name));
    if (name.view() == wanted && !name.is_elsewhere) return read_attribute_value(stream);
    const Reference place = TRY(skip_attribute_value(stream, name.is_elsewhere));
    if (name.view() != wanted) continue;
    MetadataStream elsewhere(*this, attribute_lists_ + place.block(), place.offset());
    return read_attribute_value(elsewhere);
  }
  return error(ENODATA);
}

Result<String> Volume::attributes_of(uint64_t attributes_place) {
  String names;
  if (attributes_place == kNone || layout_.attribute_table == kNoTable) return names;
  const AttributeList list = TRY(attribute_list(attributes_place));
  MetadataStream stream(*this, attribute_lists_ + list.place.block(), list.place.offset());
  AttributeName name;
  for (uint32_t i = 0; i < list.count; ++i) {
    TRY(read_attribute_name(stream, name));
    TRY(skip_attribute_value(stream, name.is_elsewhere));
    // XATTR_LIST_MAX
    if (names.size() + name.bytes + 1 > 65536) return error(E2BIG);
    TRY(names.append(name.view()));
    TRY(names.append('\0'));
  }
  return names;
}

}  // namespace umk::squashfs

#include "core/fs/squashfs/nodes.h"

namespace umk::squashfs {

namespace {

vfs::FileType type_of(Kind kind) {
  switch (kind) {
    case Kind::Directory: return vfs::FileType::Directory;
    case Kind::Regular: return vfs::FileType::Regular;
    case Kind::Symlink: return vfs::FileType::Symlink;
    case Kind::BlockDevice: return vfs::FileType::BlockDevice;
    case Kind::CharacterDevice: return vfs::FileType::CharacterDevice;
    case Kind::Fifo: return vfs::FileType::Fifo;
    case Kind::Socket: return vfs::FileType::Socket;
  }
  return vfs::FileType::Regular;
}

}  // namespace

template <typename IsBefore>
Result<DirectoryNode::Start> DirectoryNode::find_start(IsBefore is_before) {
  const uint64_t table = home().layout().directory_table;
  Start start{table + record_.directory_block, 0, record_.directory_offset};
  MetadataStream stream = index_;
  IndexEntry entry;
  for (uint32_t i = 0; i < record_.index_count; ++i) {
    TRY(read_index_entry(stream, entry));
    if (!is_before(entry)) break;
    if (entry.position < start.position || entry.position > record_.directory_bytes())
      return home().damaged("index of a directory", number());
    // The list goes through its blocks without gaps, so the place in one follows from the place in the list.
    start = {table + entry.block, entry.position,
             static_cast<uint32_t>((record_.directory_offset + uint64_t{entry.position}) % kMetadataBytes)};
  }
  return start;
}

Result<RefPtr<vfs::Inode>> DirectoryNode::lookup(std::string_view name) {
  if (name.size() > 256) return error(ENAMETOOLONG);
  const Start start = TRY(find_start([&](const IndexEntry& entry) { return entry.name_view() <= name; }));
  MetadataStream stream(home(), start.block, start.offset);
  DirectoryReader reader(stream, start.position, record_.directory_bytes());
  DirectoryEntry entry;
  for (;;) {
    Result<bool> more = reader.next(entry);
    if (!more.ok()) return home().damaged("directory", number());
    // Entries are sorted.
    if (!more.value() || entry.name > name) return error(ENOENT);
    if (entry.name == name) break;
  }
  RefPtr<vfs::ReadOnlyInode> found = TRY(home().inode(entry.inode, entry.number));
  if (found->type() != type_of(entry.kind)) return home().damaged("type of a directory's entry", number());
  if (found->is_directory()) TRY(found->found_under(number_));
  return RefPtr<vfs::Inode>(std::move(found));
}

Result<uint64_t> DirectoryNode::list(uint64_t position, vfs::InodeNumber parent_number, vfs::DirectorySink& sink) {
  if (!vfs::list_self_and_parent(position, number_, parent_number, sink)) return position;
  if (position - vfs::kFirstNamePosition >= record_.directory_bytes()) return position;
  const Start start = TRY(find_start([&](const IndexEntry& entry) { return entry.position <= position - vfs::kFirstNamePosition; }));
  MetadataStream stream(home(), start.block, start.offset);
  DirectoryReader reader(stream, start.position, record_.directory_bytes());
  DirectoryEntry entry;
  for (;;) {
    Result<bool> more = reader.next(entry);
    if (!more.ok()) return home().damaged("directory", number());
    if (!more.value()) return vfs::kFirstNamePosition + reader.position();
    const uint64_t here = vfs::kFirstNamePosition + entry.position;
    if (here < position) continue;
    if (!sink.emit(entry.name, entry.number, type_of(entry.kind), vfs::kFirstNamePosition + reader.position())) return here;
  }
}

}  // namespace umk::squashfs

#include "core/fs/iso9660/nodes.h"

namespace umk::iso9660 {

namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

}  // namespace

bool DirectoryNode::is_same(std::string_view name, std::string_view wanted) const {
  if (name == wanted) return true;
  if (!home().options().ignores_case || home().has_rock_ridge() || name.size() != wanted.size()) return false;
  for (size_t i = 0; i < name.size(); ++i)
    if (lower(name[i]) != lower(wanted[i])) return false;
  return true;
}

Result<RefPtr<vfs::Inode>> DirectoryNode::lookup(std::string_view name) {
  if (name.size() > 255) return error(ENAMETOOLONG);
  DirectoryScan scan(home(), place_, size_bytes(), 0);
  ScannedFile file;
  while (TRY(scan.next(file))) {
    if (!is_same(file.name, name)) continue;
    RefPtr<vfs::ReadOnlyInode> found = TRY(home().inode(file));
    if (found->is_directory()) TRY(found->found_under(number_));
    return RefPtr<vfs::Inode>(std::move(found));
  }
  return error(ENOENT);
}

Result<uint64_t> DirectoryNode::list(uint64_t position, vfs::InodeNumber parent_number, vfs::DirectorySink& sink) {
  if (!vfs::list_self_and_parent(position, number_, parent_number, sink)) return position;
  DirectoryScan scan(home(), place_, size_bytes(), position - vfs::kFirstNamePosition);
  ScannedFile file;
  while (TRY(scan.next(file))) {
    // Of directories the number is where they are.
    const uint64_t own_block = file.fields.child ? *file.fields.child : file.record.extent;
    const vfs::InodeNumber number = Volume::number_at(file.is_directory() ? own_block << home().block_bits() : file.place);
    const uint64_t next = vfs::kFirstNamePosition + scan.position();
    if (!sink.emit(file.name, number, file.type(), next)) return vfs::kFirstNamePosition + file.position;
    position = next;
  }
  return vfs::kFirstNamePosition + scan.position();
}

}  // namespace umk::iso9660

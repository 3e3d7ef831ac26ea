#include "core/fs/iso9660/volume.h"

#include "core/fs/iso9660/nodes.h"

namespace umk::iso9660 {

namespace {
/// More parts than that has no record; a chain that goes round in a circle has.
constexpr unsigned kMostContinuations = 32;
}  // namespace

Result<bool> Volume::read_fields(const DirectoryRecord& record, RockRidge& into) {
  ConstBytes area = record.system_use;
  // The first record of the root has the field that tells of this, and it is the same for all others.
  const size_t start = fields_start_.value_or(0);
  area = area.subspan(start < area.size() ? start : area.size());
  std::byte memory[kSectorBytes];
  for (unsigned count = 0;; ++count) {
    const Result<void> added = into.add(area);
    if (!added.ok()) {
      if (added.code() != EIO) return added.failure();
      (void)damaged("Rock Ridge field", uint64_t{record.extent} << block_bits_);
      return false;
    }
    if (!into.more) return true;
    const Continuation more = *into.more;
    if (count == kMostContinuations || more.size > sizeof memory || more.offset >= kSectorBytes) {
      (void)damaged("continuation of Rock Ridge fields", uint64_t{more.block} << block_bits_);
      return false;
    }
    TRY(read_bytes((uint64_t{more.block} << block_bits_) + more.offset, Bytes(memory, more.size)));
    area = ConstBytes(memory, more.size);
  }
}

void Volume::describe(const DirectoryRecord& record, const RockRidge& fields, bool is_directory, vfs::ReadOnlyInode::Description& d) const {
  const bool has_posix = has_rock_ridge() && fields.has_attributes;
  d.mode = is_directory ? static_cast<uint32_t>(vfs::FileType::Directory) | 0555 : static_cast<uint32_t>(vfs::FileType::Regular) | 0555;
  if (has_posix) {
    d.mode = fields.mode & (vfs::kFileTypeMask | vfs::kPermissionMask);
    d.links = fields.links;
    d.uid = fields.uid;
    d.gid = fields.gid;
  }
  if (options_.uid) d.uid = *options_.uid;
  if (options_.gid) d.gid = *options_.gid;
  const std::optional<uint32_t> mode = is_directory ? options_.directory_mode : options_.file_mode;
  const bool is_plain = is_directory || (d.mode & vfs::kFileTypeMask) == static_cast<uint32_t>(vfs::FileType::Regular);
  if (mode && is_plain && (!has_posix || options_.overrides_permissions)) d.mode = (d.mode & vfs::kFileTypeMask) | *mode;
  d.modify_time = {fields.modified.value_or(record.date), 0};
  d.access_time = {fields.accessed.value_or(record.date), 0};
  d.change_time = {fields.changed.value_or(record.date), 0};
  d.block_size = options_.block_size;
}

/// The directory whose records begin at this block: all that is known of it is in its first one.
Result<RefPtr<vfs::ReadOnlyInode>> Volume::directory(uint32_t block) {
  const uint64_t place = uint64_t{block} << block_bits_;
  const vfs::InodeNumber number = number_at(place);
  if (RefPtr<vfs::ReadOnlyInode> found = inodes().find(number)) return found;
  std::byte sector[256];
  TRY(read_bytes(place, sector));
  const Result<DirectoryRecord> parsed = DirectoryRecord::parse(sector);
  if (!parsed.ok() || !parsed.value().is_dot() || !parsed.value().is_directory()) return damaged("first record of a directory", place);
  const DirectoryRecord& record = parsed.value();
  RockRidge fields;
  if (has_rock_ridge() && !TRY(read_fields(record, fields))) return error(EIO);
  vfs::ReadOnlyInode::Description d;
  d.number = number;
  describe(record, fields, true, d);
  if ((d.mode & vfs::kFileTypeMask) != static_cast<uint32_t>(vfs::FileType::Directory)) return damaged("type of a directory", place);
  d.size_bytes = size_of(record);
  if (d.size_bytes > device().size_bytes() - place) return damaged("size of a directory", place);
  d.blocks = (d.size_bytes + 511) / 512;
  return inodes().enter(TRY(make_ref<DirectoryNode>(*this, d, place)));
}

Result<RefPtr<vfs::ReadOnlyInode>> Volume::inode(const ScannedFile& file) {
  if (file.is_damaged) return error(EIO);
  if (file.fields.child) return directory(*file.fields.child);
  if (file.is_directory()) return directory(file.record.extent);
  vfs::ReadOnlyInode::Description d;
  d.number = number_at(file.place);
  if (RefPtr<vfs::ReadOnlyInode> found = inodes().find(d.number)) return found;
  describe(file.record, file.fields, false, d);
  switch (static_cast<vfs::FileType>(d.mode & vfs::kFileTypeMask)) {
    case vfs::FileType::Regular: {
      Vector<Extent> extents;
      TRY(extents.append(std::span(file.extents.data(), file.extents.size())));
      for (const Extent& extent : extents) d.size_bytes += extent.bytes;
      d.blocks = (d.size_bytes + 511) / 512;
      return inodes().enter(TRY(make_ref<FileNode>(*this, d, std::move(extents))));
    }
    case vfs::FileType::Symlink: {
      if (!file.fields.has_target || file.fields.target.empty() || file.fields.target.view().find('\0') != std::string_view::npos)
        return damaged("target of a symbolic link", file.place);
      String target = TRY(file.fields.target.clone());
      d.size_bytes = target.size();
      return inodes().enter(TRY(make_ref<vfs::ReadOnlyLink>(*this, d, std::move(target))));
    }
    case vfs::FileType::CharacterDevice:
    case vfs::FileType::BlockDevice: {
      // Some put both numbers into the lower half.
      const uint32_t high = static_cast<uint32_t>(file.fields.device_high), low = static_cast<uint32_t>(file.fields.device_low);
      if (file.fields.has_device) d.device = high == 0 && low > 0xff ? DeviceNumber{low >> 8, low & 0xff} : DeviceNumber{high, low};
      [[fallthrough]];
    }
    case vfs::FileType::Fifo:
    case vfs::FileType::Socket: return inodes().enter(TRY(make_ref<vfs::ReadOnlyInode>(*this, d)));
    case vfs::FileType::Directory: break;
  }
  return damaged("type of a file", file.place);
}

}  // namespace umk::iso9660

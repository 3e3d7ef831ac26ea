#include "core/fs/iso9660/directory_scan.h"

#include <algorithm>

namespace umk::iso9660 {

vfs::FileType ScannedFile::type() const {
  if (is_directory()) return vfs::FileType::Directory;
  return fields.has_attributes ? static_cast<vfs::FileType>(fields.mode & vfs::kFileTypeMask) : vfs::FileType::Regular;
}

Result<DirectoryRecord> DirectoryScan::next_record(uint64_t& position) {
  while (position_ < bytes_) {
    const uint64_t sector = position_ & ~uint64_t{kSectorBytes - 1};
    if (sector != sector_position_) {
      sector_bytes_ = static_cast<size_t>(std::min<uint64_t>(kSectorBytes, bytes_ - sector));
      sector_position_ = UINT64_MAX;
      TRY(volume_.read_bytes(place_ + sector, Bytes(sector_, sector_bytes_)));
      sector_position_ = sector;
    }
    const size_t offset = static_cast<size_t>(position_ - sector);
    const Result<DirectoryRecord> record = DirectoryRecord::parse(ConstBytes(sector_, sector_bytes_).subspan(offset));
    if (!record.ok()) return volume_.damaged("directory record", place_ + position_);
    if (record.value().bytes == 0) {
      // Records do not cross sectors.
      position_ = sector + kSectorBytes;
      continue;
    }
    position = position_;
    position_ += record.value().bytes;
    return record.value();
  }
  return DirectoryRecord{};
}

Result<void> DirectoryScan::read_name(const DirectoryRecord& record, ScannedFile& into) {
  const std::span<char> room(into.name_text, 255);
  if (into.fields.has_name) {
    memcpy(into.name_text, into.fields.name.view().data(), into.fields.name.size());
    into.name = {into.name_text, into.fields.name.size()};
  } else if (volume_.has_joliet()) {
    into.name = joliet_name(record.name, room);
  } else {
    into.name = plain_name(record.name, volume_.options().map, room);
  }
  if (!is_file_name(into.name)) return volume_.damaged("name of a file", place_ + into.position);
  return {};
}

Result<bool> DirectoryScan::next(ScannedFile& into) {
  for (;;) {
    DirectoryRecord record = TRY(next_record(into.position));
    if (record.bytes == 0) return false;
    if (record.is_dot() || record.is_dot_dot()) continue;
    into.place = place_ + into.position;
    into.extents.clear();
    into.fields = RockRidge{};
    into.is_damaged = volume_.has_rock_ridge() && !TRY(volume_.read_fields(record, into.fields));
    const MountOptions& options = volume_.options();
    const bool is_shown = !into.fields.is_relocated && !(options.hides_hidden && (record.flags & DirectoryRecord::kHidden)) &&
                          (options.shows_associated || !(record.flags & DirectoryRecord::kAssociated));
    if (is_shown) TRY(read_name(record, into));
    into.record = record;
    into.record.name = into.record.system_use = {};
    for (;;) {
      if (record.is_interleaved) return volume_.damaged("file that is interleaved", into.place);
      const uint64_t size = volume_.size_of(record);
      // A page must lie in one piece.
      if ((record.flags & DirectoryRecord::kMoreExtents) && size % kSectorBytes != 0)
        return volume_.damaged("length of an extent", into.place);
      if (size != 0) TRY(into.extents.push_back({uint64_t{record.extent} << volume_.block_bits(), size}));
      if (!(record.flags & DirectoryRecord::kMoreExtents)) break;
      uint64_t position;
      record = TRY(next_record(position));
      if (record.bytes == 0) return volume_.damaged("file without its last extent", into.place);
    }
    if (is_shown) return true;
  }
}

}  // namespace umk::iso9660

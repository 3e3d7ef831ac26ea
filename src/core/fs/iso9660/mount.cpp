// Opening a volume, and what mount(8) and statfs(2) want to know of it.
#include "core/base/log.h"
#include "core/fs/iso9660/nodes.h"

namespace umk::iso9660 {

namespace {
constexpr int64_t kMagic = 0x9660;
}

Volume::Volume(RefPtr<block::BlockDevice> device, mm::PageCache& page_cache, const MountOptions& options)
    : ReadOnlyVolume("iso9660", std::move(device), page_cache), options_(options) {}

Result<RefPtr<Volume>> Volume::mount(RefPtr<block::BlockDevice> device, mm::PageCache& page_cache, std::string_view option_text,
                                     bool read_only) {
  MountOptions options;
  TRY(options.parse(option_text));
  const uint64_t first = (uint64_t{options.first_sector} + kFirstDescriptor) * kSectorBytes;
  if (device->size_bytes() < first + kSectorBytes) return error(EINVAL);
  RefPtr<Volume> volume = TRY(make_ref<Volume>(std::move(device), page_cache, options));
  TRY(volume->start());
  std::byte head[8];
  TRY(volume->read_bytes(first, head));
  if (text_of(ConstBytes(head).subspan(1, 5)) != "CD001") return error(EINVAL);
  // mount(8) tries again read-only upon this.
  if (!read_only) return error(EACCES);
  TRY(volume->load());
  return volume;
}

Result<uint32_t> Volume::choose_tree() {
  std::optional<VolumeDescriptor> primary, joliet;
  Vector<std::byte> sector;
  TRY(sector.resize(kSectorBytes));
  for (uint32_t i = 0; i < kMostDescriptors; ++i) {
    const uint64_t place = (uint64_t{options_.first_sector} + kFirstDescriptor + i) * kSectorBytes;
    if (place + kSectorBytes > device().size_bytes()) break;
    TRY(read_bytes(place, sector));
    const Result<VolumeDescriptor> parsed = VolumeDescriptor::parse(sector);
    if (!parsed.ok()) {
      // What is none ends the list as well as the descriptor for that.
      if (parsed.code() == EINVAL) break;
      return damaged("volume descriptor", place);
    }
    VolumeDescriptor found = parsed.value();
    found.root.name = found.root.system_use = {};
    if (found.kind == VolumeDescriptor::Kind::End) break;
    if (found.kind == VolumeDescriptor::Kind::Primary && !primary) primary = found;
    if (found.kind == VolumeDescriptor::Kind::Joliet && !joliet) joliet = found;
  }
  if (!primary) return error(EINVAL);
  block_bits_ = primary->block_bits;
  blocks_ = primary->blocks;
  if (options_.rock_ridge) {
    TRY(read_bytes(uint64_t{primary->root.extent} << block_bits_, Bytes(sector).first(256)));
    const Result<DirectoryRecord> first = DirectoryRecord::parse(Bytes(sector).first(256));
    if (first.ok() && first.value().bytes != 0) fields_start_ = fields_start(first.value().system_use);
  }
  if (has_rock_ridge() || !options_.joliet || !joliet) return primary->root.extent;
  has_joliet_ = true;
  block_bits_ = joliet->block_bits;
  return joliet->root.extent;
}

Result<void> Volume::load() { return set_root(TRY(directory(TRY(choose_tree())))); }

Result<vfs::FilesystemStatistics> Volume::statistics() {
  vfs::FilesystemStatistics s;
  s.type_magic = kMagic;
  s.block_size = uint64_t{1} << block_bits_;
  s.blocks = blocks_;
  s.name_length_limit = 255;
  return s;
}

Result<void> Volume::remount(std::string_view options, bool read_only) {
  if (!read_only) return error(EROFS);
  MountOptions ignored;
  return ignored.parse(options);
}

void Volume::show_options(TextSink& sink) { options_.show(sink, has_rock_ridge(), has_joliet_); }

Result<RefPtr<vfs::Superblock>> Type::mount(const vfs::MountRequest& request) {
  if (!request.device) return error(ENOTBLK);
  return RefPtr<vfs::Superblock>(
      TRY(Volume::mount(RefPtr<block::BlockDevice>(request.device), page_cache_, request.options, request.read_only)));
}

}  // namespace umk::iso9660

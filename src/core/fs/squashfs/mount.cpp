// Opening an image, and what mount(8) and statfs(2) want to know of it.
#include "core/base/log.h"
#include "core/fs/squashfs/nodes.h"
#include "core/kernel/time/log_limit.h"
#include "core/lib/squashfs_format/attributes.h"

namespace umk::squashfs {

namespace {
// Whoever mounts, or uses what is damaged, in a loop must not flood the log.
constinit LogLimit log_limit;
}  // namespace

namespace {
constexpr int64_t kMagic = 0x73717368;
constexpr size_t kCachedMetadata = 64;
constexpr size_t kCachedDataBytes = size_t{2} << 20;
}  // namespace

Volume::Volume(RefPtr<block::BlockDevice> device, mm::PageCache& page_cache, const Layout& layout)
    : ReadOnlyVolume("squashfs", device, page_cache), layout_(layout), unpacker_(*device) {}

// squashfs(5) has none that would change anything here: damage is told as an error, and there is one way of unpacking.
Result<void> Volume::parse_options(std::string_view text) {
  while (!text.empty()) {
    const std::string_view option = split_first(text, ',');
    if (option.empty() || option == "errors=continue" || option.starts_with("threads=")) continue;
    log_limited(log_limit, "squashfs", LogLevel::Error, "squashfs: unknown mount option \"{}\"", option);
    return error(EINVAL);
  }
  return {};
}

Result<RefPtr<Volume>> Volume::mount(RefPtr<block::BlockDevice> device, mm::PageCache& page_cache, std::string_view options) {
  const uint64_t sectors_bytes = round_up(kSuperblockBytes, device->logical_block_bytes());
  if (device->size_bytes() < sectors_bytes) return error(EINVAL);
  Vector<std::byte> sector;
  TRY(sector.resize(sectors_bytes));
  TRY(device->read(0, sector));
  std::string_view reason;
  const Result<Layout> layout = Layout::parse(sector, device->size_bytes(), reason);
  if (!layout.ok()) {
    if (!reason.empty()) log_limited(log_limit, "squashfs", LogLevel::Error, "squashfs: {}: cannot be mounted: {}", device->name(), reason);
    return layout.failure();
  }
  if (layout.value().compressor == Compressor::Lzma) {
    log_limited(log_limit, "squashfs", LogLevel::Error, "squashfs: {}: cannot be mounted: {} is not supported, only gzip, lzo, xz, lz4 and zstd", device->name(),
        name_of(Compressor::Lzma));
    return error(EINVAL);
  }
  TRY(parse_options(options));
  RefPtr<Volume> volume = TRY(make_ref<Volume>(std::move(device), page_cache, layout.value()));
  TRY(volume->start());
  TRY(volume->load());
  return volume;
}

/// The places of the metadata blocks that make up a table.
Result<void> Volume::load_index(uint64_t place, uint64_t entries, size_t entry_bytes, Vector<uint64_t>& into) {
  const uint64_t in_block = kMetadataBytes / entry_bytes, blocks = (entries + in_block - 1) / in_block;
  if (blocks > (layout_.bytes_used - place) / sizeof(uint64_t)) return damaged("index of a table", place);
  TRY(into.resize(blocks));
  return unpacker_.read(place, std::as_writable_bytes(std::span(into.data(), into.size())));
}

Result<void> Volume::load() {
  TRY(unpacker_.create(layout_));
  TRY(metadata_.create(kCachedMetadata));
  TRY(data_.create(kCachedDataBytes / layout_.block_size < 4    ? 4
                   : kCachedDataBytes / layout_.block_size > 16 ? 16
                                                                : kCachedDataBytes / layout_.block_size));
  Vector<uint64_t> index;
  TRY(load_index(layout_.id_table, layout_.ids, sizeof(uint32_t), index));
  TRY(ids_.resize(layout_.ids));
  for (size_t i = 0; i < index.size(); ++i) {
    constexpr size_t kInBlock = kMetadataBytes / sizeof(uint32_t);
    const size_t first = i * kInBlock, count = ids_.size() - first < kInBlock ? ids_.size() - first : kInBlock;
    MetadataStream stream(*this, index[i], 0);
    TRY(stream.read(std::as_writable_bytes(std::span(ids_.data() + first, count))));
  }
  if (layout_.fragment_table != kNoTable) TRY(load_index(layout_.fragment_table, layout_.fragments, 16, fragment_index_));
  if (layout_.attribute_table != kNoTable) {
    std::byte head[16];
    TRY(unpacker_.read(layout_.attribute_table, head));
    attribute_lists_ = get64(head, 0);
    attribute_count_ = get32(head, 8);
    if (attribute_lists_ >= layout_.attribute_table || layout_.bytes_used - layout_.attribute_table < sizeof head)
      return damaged("table of attributes", layout_.attribute_table);
    TRY(load_index(layout_.attribute_table + sizeof head, attribute_count_, kAttributeIdBytes, attribute_index_));
  }
  // The number of the root is what it says itself.
  const Reference place{layout_.root};
  const uint64_t block = layout_.inode_table + place.block();
  if (block >= layout_.directory_table) return damaged("place of the root", place.raw);
  MetadataStream peek(*this, block, place.offset());
  const Result<InodeRecord> record = read_inode(peek);
  if (!record.ok() || record.value().kind != Kind::Directory) return damaged("root directory", place.raw);
  return set_root(TRY(inode(place, record.value().number)));
}

Result<vfs::FilesystemStatistics> Volume::statistics() {
  vfs::FilesystemStatistics s;
  s.type_magic = kMagic;
  s.block_size = layout_.block_size;
  s.blocks = ((layout_.bytes_used - 1) >> layout_.block_bits) + 1;
  s.files = layout_.inodes;
  s.name_length_limit = 256;
  return s;
}

Result<void> Volume::remount(std::string_view options, bool) { return parse_options(options); }

void Volume::show_options(TextSink& sink) { sink.put(",errors=continue"); }

Result<RefPtr<vfs::Superblock>> Type::mount(const vfs::MountRequest& request) {
  if (!request.device) return error(ENOTBLK);
  return RefPtr<vfs::Superblock>(TRY(Volume::mount(RefPtr<block::BlockDevice>(request.device), page_cache_, request.options)));
}

}  // namespace umk::squashfs

// Mounting: reading the superblock and the groups, the journal, and the end of it.
#include <algorithm>

#include "core/base/log.h"
#include "core/fs/ext4/directory_node.h"
#include "core/fs/ext4/node.h"
#include "core/kernel/time/log_limit.h"
#include "core/kernel/vfs/caller.h"

namespace umk::ext4 {

namespace {
// Whoever mounts, or uses what is damaged, in a loop must not flood the log.
constinit LogLimit log_limit;
}  // namespace

namespace {

/// `may_be_torn`: a crash may have come while the superblock was written, and its journal makes it good.
Result<Geometry> read_geometry(block::BlockDevice& device, Bytes superblock, bool may_be_torn) {
  TRY(device.read(kSuperblockOffset, superblock));
  std::string_view reason = "no ext4 filesystem";
  Result<Geometry> parsed = Geometry::parse(superblock, reason);
  if (!parsed.ok() && parsed.code() == EUCLEAN && may_be_torn) {
    parsed = Geometry::parse(superblock, reason, Geometry::Checksum::Ignored);
    if (parsed.ok() && (!parsed.value().has_incompat(incompat::kRecover) || parsed.value().journal_inode == 0)) parsed = error(EUCLEAN);
  }
  if (!parsed.ok()) {
    log_limited(log_limit, "ext4", LogLevel::Error, "ext4: {}: {}", device.name(), reason);
    return parsed;
  }
  const Geometry& geometry = parsed.value();
  if (const uint32_t unknown = geometry.incompat & ~incompat::kSupported) {
    char names[256];
    BufferSink sink(names);
    name_features(sink, FeatureSet::Incompatible, unknown);
    log_limited(log_limit, "ext4", LogLevel::Error, "ext4: {}: cannot be mounted, as it has features that are not supported: {}", device.name(), sink.view());
    return error(EINVAL);
  }
  if (geometry.block_size > kPageSize) {
    log_limited(log_limit, "ext4", LogLevel::Error, "ext4: {}: blocks of {} bytes are not supported", device.name(), geometry.block_size);
    return error(EINVAL);
  }
  if (geometry.block_count > device.size_bytes() >> geometry.block_bits) {
    log_limited(log_limit, "ext4", LogLevel::Error, "ext4: {}: the filesystem has {} blocks, the device only {}", device.name(), geometry.block_count, device.size_bytes() >> geometry.block_bits);
    return error(EINVAL);
  }
  return parsed;
}

// How much metadata each filesystem keeps: as much as this, and no more than a part of the machine's memory.
constexpr uint64_t kMetadataBytes = 16 << 20, kPartForMetadata = 16;

bool may_be_written(block::BlockDevice& device, const Geometry& geometry) {
  const uint32_t unknown = (geometry.ro_compat & ~ro_compat::kSupported) | (geometry.ro_compat & ro_compat::kReadOnly);
  if (unknown == 0) return true;
  char names[256];
  BufferSink sink(names);
  name_features(sink, FeatureSet::ReadOnlyCompatible, unknown);
  log_limited(log_limit, "ext4", LogLevel::Error, "ext4: {}: can be mounted only read-only, as it has features that are not supported: {}", device.name(), sink.view());
  return false;
}

}  // namespace

Result<RefPtr<Volume>> Volume::mount(std::string_view type_name, RefPtr<block::BlockDevice> device, mm::PageCache& page_cache, std::string_view option_text,
                                     bool read_only) {
  Vector<std::byte> superblock;
  TRY(superblock.resize(kSuperblockSize));
  if (device->size_bytes() < kSuperblockOffset + kSuperblockSize) return error(EINVAL);
  const Geometry geometry = TRY(read_geometry(*device, superblock, !device->is_read_only()));
  MountOptions options = MountOptions::defaults(geometry);
  TRY(options.parse(option_text));
  // Without a replay it has to be right as it is.
  if (options.no_load) TRY(read_geometry(*device, superblock, false));
  if (options.data_mode && !geometry.has_compat(compat::kHasJournal)) return error(EINVAL);
  if (!read_only && device->is_read_only()) return error(EACCES);
  if (!read_only && !may_be_written(*device, geometry)) return error(EROFS);
  if (!read_only && options.no_load && geometry.has_compat(compat::kHasJournal)) return error(EINVAL);

  RefPtr<Volume> volume = TRY(make_ref<Volume>(type_name, device, page_cache, geometry, options));
  volume->claim_ = TRY(device->claim(volume.get()));
  volume->set_read_only(true);
  {
    MutexLock lock(volume->nodes_mutex_);
    TRY(volume->node_buckets_.resize(4096));
  }
  const bool needs_replay = geometry.has_incompat(incompat::kRecover) && geometry.journal_inode != 0 && !options.no_load && !device->is_read_only();
  TRY(volume->load_groups(needs_replay ? Replay::ToCome : Replay::Done));
  TRY(volume->open_journal(read_only));
  RefPtr<Node> root = TRY(volume->node(kRootInode));
  if (!root->is_directory()) return volume->damaged("root directory", kRootInode);
  if (!read_only) {
    TRY(volume->start_writing());
    volume->set_read_only(false);
    Result<void> orphans = volume->process_orphans();
    if (!orphans.ok()) {
      log_limited(log_limit, "ext4", LogLevel::Error, "ext4: {}: orphans could not be freed, errno {}", device->name(), orphans.code());
      volume->stop_writing();
      return orphans.failure();
    }
  }
  return volume;
}

Volume::Volume(std::string_view type_name, RefPtr<block::BlockDevice> device, mm::PageCache& page_cache, const Geometry& geometry, const MountOptions& options)
    : Superblock(type_name, device->number()),
      device_(std::move(device)),
      page_cache_(page_cache),
      geometry_(geometry),
      options_(options),
      cache_(*device_, geometry.block_size, geometry.block_count, std::min(kMetadataBytes, page_cache.window().account().limit() / kPartForMetadata), *this),
      journal_(cache_, *this) {
  journal_.set_barriers(options.barriers);
  journal_.set_commit_interval(options.commit_seconds);
}

Volume::~Volume() { stop_writing(); }

Result<void> Volume::load_groups(Replay replay) {
  descriptors_.clear();
  Vector<RefPtr<Buffer>> descriptors;
  superblock_ = TRY(cache_.read(geometry_.block_size == 1024 ? 1 : 0, BufferKind::Superblock));
  for (uint32_t i = 0; i < geometry_.descriptor_blocks(); ++i) {
    const uint64_t block = geometry_.descriptor_block(i);
    if (block >= geometry_.block_count) return damaged("group descriptors", 0, block);
    TRY(descriptors.push_back(TRY(cache_.read(block, BufferKind::Descriptors, i))));
  }
  TRY(descriptors_.publish(std::move(descriptors)));
  int64_t blocks = 0, inodes = 0;
  for (uint32_t group = 0; group < geometry_.group_count; ++group) {
    const GroupDescriptor d = descriptor(group);
    if (!d.is_intact(geometry_, group) || !d.is_sane(geometry_, group)) {
      log_limited(log_limit, "ext4", LogLevel::Error, "ext4: {}: the descriptor of group {} is damaged", device_->name(), group);
      return error(EUCLEAN);
    }
    if (replay == Replay::ToCome) return {};
    blocks += d.free_blocks();
    inodes += d.free_inodes();
  }
  free_blocks_.store(blocks);
  free_inodes_.store(inodes);
  {
    MutexLock lock(allocation_mutex_);
    groups_.clear();
    TRY(groups_.resize(geometry_.group_count));
  }
  return collect_system_ranges(geometry_, {});
}

/// Blocks that no file may have: copies of the superblock with the descriptors, bitmaps, inode tables.
Result<void> Volume::collect_system_ranges(const Geometry& whole, std::span<const NewGroup> fresh) {
  Vector<SystemRange> ranges;
  const auto add = [&](uint64_t first, uint64_t count) -> Result<void> {
    if (count == 0) return {};
    // Tables of neighbouring groups mostly follow each other.
    if (!ranges.empty() && ranges.back().end == first) {
      ranges.back().end += count;
      return {};
    }
    return ranges.push_back({first, first + count});
  };
  const uint64_t table_blocks = whole.inodes_per_group / whole.inodes_per_block();
  TRY(add(0, whole.first_data_block));
  for (uint32_t group = 0; group < whole.group_count; ++group) {
    uint64_t count = whole.group_overhead(group);
    // The reserve behind the descriptors belongs to the resize inode, whose blocks they are.
    if (whole.group_has_superblock(group) && !whole.has_incompat(incompat::kMetaGroups)) count -= whole.reserved_descriptor_blocks;
    TRY(add(whole.group_first_block(group), count));
  }
  const uint32_t present = whole.group_count - static_cast<uint32_t>(fresh.size());
  for (uint32_t group = 0; group < present; ++group) TRY(add(descriptor(group).block_bitmap(), 1));
  for (uint32_t group = 0; group < present; ++group) TRY(add(descriptor(group).inode_bitmap(), 1));
  for (uint32_t group = 0; group < present; ++group) TRY(add(descriptor(group).inode_table(), table_blocks));
  for (const NewGroup& group : fresh) {
    TRY(add(group.block_bitmap, 1));
    TRY(add(group.inode_bitmap, 1));
    TRY(add(group.inode_table, table_blocks));
  }
  std::sort(ranges.begin(), ranges.end(), [](const SystemRange& a, const SystemRange& b) { return a.first < b.first; });
  for (size_t i = 1; i < ranges.size(); ++i)
    if (ranges[i].first < ranges[i - 1].end) return damaged("metadata of groups that overlaps", 0, ranges[i].first);
  return system_ranges_.publish(std::move(ranges));
}

Result<void> Volume::open_journal(bool read_only) {
  const bool needs_recovery = geometry_.has_incompat(incompat::kRecover);
  if (geometry_.journal_inode == 0) {
    if (geometry_.has_compat(compat::kHasJournal)) {
      log_limited(log_limit, "ext4", LogLevel::Error, "ext4: {}: journals on other devices are not supported", device_->name());
      return error(EINVAL);
    }
    return {};
  }
  if (options_.no_load) return {};
  const bool may_write = !device_->is_read_only();
  if (needs_recovery && !may_write) {
    log_limited(log_limit, "ext4", LogLevel::Error, "ext4: {}: the journal must be replayed and the device is read-only; the option noload mounts it as it is", device_->name());
    return error(EROFS);
  }
  Vector<Extent> layout;
  uint64_t blocks = 0;
  {
    RefPtr<Node> inode = TRY(Node::load(*this, geometry_.journal_inode));
    if (!inode->is_regular()) return damaged("journal inode", geometry_.journal_inode);
    blocks = inode->size_bytes() >> geometry_.block_bits;
    if (blocks > UINT32_MAX) return damaged("journal size", geometry_.journal_inode);
    MutexLock lock(inode->map_mutex());
    for (uint64_t at = 0; at < blocks;) {
      const Mapping mapping = TRY(inode->map_locked(static_cast<uint32_t>(at), static_cast<uint32_t>(blocks - at)));
      if (mapping.is_hole()) return damaged("journal with holes", geometry_.journal_inode);
      const Extent next{static_cast<uint32_t>(at), mapping.count, mapping.physical, true};
      if (!layout.empty() && layout.back().physical + layout.back().length == next.physical) {
        layout.back().length += next.length;
      } else {
        TRY(layout.push_back(next));
      }
      at += mapping.count;
    }
  }
  std::string_view reason = "damaged";
  Result<uint32_t> replayed = journal_.open_log(std::move(layout), blocks, may_write && needs_recovery, reason);
  if (!replayed.ok()) {
    log_limited(log_limit, "ext4", LogLevel::Error, "ext4: {}: the journal cannot be used: {}", device_->name(), reason);
    return replayed.failure();
  }
  if (needs_recovery && may_write) {
    log_limited(log_limit, "ext4", LogLevel::Info, "ext4: {}: recovery complete, {} transactions", device_->name(), replayed.value());
    TRY(reload(read_only));
  }
  return {};
}

/// After a replay nothing that was read before is true any more.
Result<void> Volume::reload(bool) {
  Vector<std::byte> before;
  TRY(before.resize(kSuperblockSize));
  copy_bytes(Bytes(before.data(), before.size()), superblock_bytes());
  superblock_ = nullptr;
  descriptors_.clear();
  system_ranges_.clear();
  cache_.drop_all();
  Vector<std::byte> raw;
  TRY(raw.resize(kSuperblockSize));
  geometry_ = TRY(read_geometry(*device_, raw, false));
  cache_.set_block_count(geometry_.block_count);
  TRY(load_groups(Replay::Done));
  // Recovery is over whoever mounts next.
  set_feature(superblock_bytes(), FeatureSet::Incompatible, incompat::kRecover, false);
  keep_errors(superblock_bytes(), ConstBytes(before.data(), before.size()));
  geometry_.incompat &= ~incompat::kRecover;
  seal_superblock(superblock_bytes());
  TRY(device_->write(kSuperblockOffset, ConstBytes(superblock_bytes())));
  return device_->flush();
}

Result<void> Volume::start_writing() {
  if (is_writing_) return {};
  const Bytes raw = superblock_bytes();
  const uint16_t old_state = mount_state(raw);
  if (old_state & state::kErrors) log_limited(log_limit, "ext4", LogLevel::Warning, "ext4: {}: mounted with errors, e2fsck is recommended", device_->name());
  if (journal_.has_log()) {
    set_feature(raw, FeatureSet::Incompatible, incompat::kRecover, true);
  } else {
    set_mount_state(raw, static_cast<uint16_t>(old_state & ~state::kClean));
  }
  if (geometry_.orphan_file_inode) set_feature(raw, FeatureSet::ReadOnlyCompatible, ro_compat::kOrphanPresent, true);
  note_mounted(raw, static_cast<uint64_t>(vfs::file_time_now().seconds), {});
  seal_superblock(raw);
  // Before anything else is written: from now on a crash needs the journal. That something is in the journal is never said by its own superblock alone.
  TRY(device_->write(kSuperblockOffset, ConstBytes(raw)));
  TRY(device_->flush());
  if (journal_.has_log()) {
    uint32_t features = 0;
    if (geometry_.has_incompat(incompat::k64Bit)) features |= journal_feature::k64Bit;
    if (geometry_.has_checksums()) features |= journal_feature::kChecksumV3;
    TRY(journal_.start_log(features));
  }
  is_writing_ = true;
  page_cache_.add_group(*this);
  journal_.count_places_from(device_->shown_version.load() + 1);
  device_->set_mounted_user(this);
  generation_.store(static_cast<uint32_t>(vfs::file_time_now().nanoseconds) ^ static_cast<uint32_t>(vfs::file_time_now().seconds));
  return {};
}

/// Leaves a clean filesystem, unless something went wrong before.
void Volume::stop_writing() {
  if (!is_writing_) return;
  device_->set_mounted_user(nullptr);
  page_cache_.remove_group(*this);
  is_writing_ = false;
  if (journal_.is_aborted()) return;
  const auto finish = [&]() -> Result<void> {
    TRY(journal_.checkpoint());
    TRY(journal_.finish_log());
    const Bytes raw = superblock_bytes();
    set_free_blocks(raw, static_cast<uint64_t>(free_blocks_.load()));
    set_free_inodes(raw, static_cast<uint32_t>(free_inodes_.load()));
    set_feature(raw, FeatureSet::Incompatible, incompat::kRecover, false);
    bool has_orphans = false;
    {
      MutexLock lock(orphans_mutex_);
      has_orphans = orphan_count_ != 0;
    }
    if (geometry_.orphan_file_inode && !has_orphans) set_feature(raw, FeatureSet::ReadOnlyCompatible, ro_compat::kOrphanPresent, false);
    note_errors();
    if (!journal_.has_log() && !(mount_state(raw) & state::kErrors)) set_mount_state(raw, static_cast<uint16_t>(mount_state(raw) | state::kClean));
    note_written(raw, static_cast<uint64_t>(vfs::file_time_now().seconds));
    seal_superblock(raw);
    TRY(device_->write(kSuperblockOffset, ConstBytes(raw)));
    return device_->flush();
  };
  const Result<void> finished = finish();
  if (!finished.ok()) log_limited(log_limit, "ext4", LogLevel::Error, "ext4: {}: could not be left clean, errno {}", device_->name(), finished.code());
}

void Volume::unmounted() {
  (void)sync().ok();
  stop_writing();
  set_read_only(true);
  claim_ = {};
}

Result<void> Volume::remount(std::string_view option_text, bool read_only) {
  MountOptions wanted = options_;
  TRY(wanted.parse(option_text));
  // As Linux: what is cached was written in one way.
  if (wanted.data_mode.value_or(DataMode::Ordered) != options_.data_mode.value_or(DataMode::Ordered)) return error(EINVAL);
  if (!read_only && is_read_only()) {
    if (device_->is_read_only()) return error(EACCES);
    if (!may_be_written(*device_, geometry_)) return error(EROFS);
    if (journal_.is_aborted() || (options_.no_load && geometry_.has_compat(compat::kHasJournal))) return error(EROFS);
    TRY(start_writing());
    set_read_only(false);
    options_ = wanted;
    return process_orphans();
  }
  options_ = wanted;
  journal_.set_barriers(wanted.barriers);
  journal_.set_commit_interval(wanted.commit_seconds);
  if (read_only && !is_read_only()) {
    TRY(sync());
    set_read_only(true);
    stop_writing();
  }
  return {};
}

Result<RefPtr<vfs::Superblock>> Type::mount(const vfs::MountRequest& request) {
  if (!request.device) return error(ENOTBLK);
  return RefPtr<vfs::Superblock>(TRY(Volume::mount(name_, RefPtr<block::BlockDevice>(request.device), page_cache_, request.options, request.read_only)));
}

}  // namespace umk::ext4

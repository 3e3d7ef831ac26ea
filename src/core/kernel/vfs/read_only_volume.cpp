#include "core/kernel/vfs/read_only_volume.h"

#include <algorithm>
#include <cstring>

#include "core/base/log.h"
#include "core/kernel/time/log_limit.h"

namespace umk::vfs {

namespace {
// Damaged metadata can be read in a loop.
constinit LogLimit log_limit;
}  // namespace

// --- inodes in use

Result<void> InodeTable::create(size_t buckets) {
  MutexLock lock(mutex_);
  return buckets_.resize(buckets);
}

ReadOnlyInode** InodeTable::place_of(InodeNumber number) {
  // Numbers that are places in an image share their low bits.
  return &buckets_[(number ^ number >> 12 ^ number >> 24) % buckets_.size()];
}

RefPtr<ReadOnlyInode> InodeTable::find(InodeNumber number) {
  MutexLock lock(mutex_);
  for (ReadOnlyInode* inode = *place_of(number); inode; inode = inode->next_in_bucket_)
    if (inode->number() == number && inode->try_add_reference()) return RefPtr<ReadOnlyInode>::adopt(inode);
  return {};
}

RefPtr<ReadOnlyInode> InodeTable::enter(RefPtr<ReadOnlyInode> fresh) {
  MutexLock lock(mutex_);
  ReadOnlyInode** place = place_of(fresh->number());
  for (ReadOnlyInode* inode = *place; inode; inode = inode->next_in_bucket_)
    if (inode->number() == fresh->number() && inode->try_add_reference()) return RefPtr<ReadOnlyInode>::adopt(inode);
  fresh->next_in_bucket_ = *place;
  fresh->is_entered_ = true;
  *place = fresh.get();
  return fresh;
}

void InodeTable::forget(ReadOnlyInode& inode) {
  MutexLock lock(mutex_);
  if (!inode.is_entered_) return;
  for (ReadOnlyInode** place = place_of(inode.number()); *place; place = &(*place)->next_in_bucket_) {
    if (*place != &inode) continue;
    *place = inode.next_in_bucket_;
    return;
  }
}

// --- the volume

ReadOnlyVolume::ReadOnlyVolume(std::string_view type_name, RefPtr<block::BlockDevice> device, mm::PageCache& page_cache)
    : Superblock(type_name, device->number()), device_(std::move(device)), page_cache_(page_cache), metadata_(*this) {
  set_read_only(true);
}

ReadOnlyVolume::~ReadOnlyVolume() = default;

Result<void> ReadOnlyVolume::start() {
  claim_ = TRY(device_->claim(this));
  return inodes_.create(1024);
}

Result<void> ReadOnlyVolume::set_root(RefPtr<ReadOnlyInode> root) {
  // In no other directory.
  TRY(root->found_under(UINT64_MAX));
  root_ = std::move(root);
  return {};
}

void ReadOnlyVolume::unmounted() {
  root_ = nullptr;
  claim_ = {};
}

Result<void> ReadOnlyVolume::Metadata::read_pages(uint64_t first_page, std::span<const mm::PageMemory> pieces) {
  const uint64_t size = volume_.device_->size_bytes();
  uint64_t offset = first_page << kPageShift;
  for (const mm::PageMemory& piece : pieces) {
    const size_t here = offset >= size ? 0 : static_cast<size_t>(std::min<uint64_t>(size - offset, piece.size()));
    if (here != 0) TRY(volume_.device_->read(offset, piece.first(here)));
    if (here < piece.size()) memset(piece.data() + here, 0, piece.size() - here);
    offset += piece.size();
  }
  return {};
}

Result<void> ReadOnlyVolume::read_bytes(uint64_t offset, std::span<std::byte> into) {
  const uint64_t size = device_->size_bytes();
  if (offset > size || into.size() > size - offset) return damaged("metadata beyond the end of the device", offset);
  UserOutBuffer buffer = UserOutBuffer::kernel(into);
  while (buffer.remaining() != 0) {
    const size_t got = TRY(metadata_.cached_file().read(offset, buffer));
    if (got == 0) return error(EIO);
    offset += got;
  }
  return {};
}

Error ReadOnlyVolume::damaged(std::string_view what, uint64_t place, const char* file, int line) {
  log_limited(log_limit, "damaged", LogLevel::Error, "{}: {}: damaged: {}, at {} ({}:{})", type_name(), device_->name(), what, place, file, line);
  return error(EIO, file, line);
}

Result<String> ReadOnlyVolume::attribute_of(uint64_t, std::string_view) { return error(EOPNOTSUPP); }
Result<String> ReadOnlyVolume::attributes_of(uint64_t) { return String{}; }

// --- an inode

ReadOnlyInode::ReadOnlyInode(ReadOnlyVolume& volume, const Description& description)
    : Inode(volume, description.number, description.mode, description.uid, description.gid, description.device),
      block_size_(description.block_size),
      attributes_place_(description.attributes_place) {
  links_.store(description.links, std::memory_order_relaxed);
  size_bytes_.store(description.size_bytes, std::memory_order_relaxed);
  blocks_ = description.blocks;
  access_time_ = description.access_time;
  modify_time_ = description.modify_time;
  change_time_ = description.change_time;
  birth_time_ = {};
}

Result<Metadata> ReadOnlyInode::metadata() {
  Metadata data = TRY(Inode::metadata());
  data.block_size = block_size_;
  return data;
}

Result<void> ReadOnlyInode::found_under(InodeNumber parent) {
  // The numbers of directories are not 0 in the filesystems that use this.
  InodeNumber known = 0;
  if (parent_.compare_exchange_strong(known, parent, std::memory_order_relaxed) || known == parent) return {};
  return volume().damaged("directory with two parents", number());
}

void ReadOnlyInode::last_reference_dropped() {
  volume().inodes().forget(*this);
  delete this;
}

// --- a regular file

ReadOnlyFile::ReadOnlyFile(ReadOnlyVolume& volume, const Description& description)
    : ReadOnlyInode(volume, description), cached_(volume.page_cache(), volume.write_back_group(), *this) {}

ReadOnlyFile::~ReadOnlyFile() {
  drop_text_copies();
  cached_.discard();
}

Result<size_t> ReadOnlyFile::read_at(uint64_t offset, UserOutBuffer& buffer) {
  const uint64_t size = size_bytes();
  if (offset >= size) return size_t{0};
  if (buffer.remaining() > size - offset) buffer.limit(size - offset);
  return cached_.read(offset, buffer);
}

}  // namespace umk::vfs

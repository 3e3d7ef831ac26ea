#include "core/fs/ext4/volume.h"

#include <algorithm>

#include "core/base/log.h"
#include "core/fs/ext4/directory_node.h"
#include "core/fs/ext4/node.h"
#include "core/kernel/time/log_limit.h"
#include "core/lib/ext4_format/checksum.h"
#include "core/lib/ext4_format/directory_block.h"
#include "core/lib/ext4_format/htree.h"

namespace umk::ext4 {

namespace {
// Whoever mounts, or uses what is damaged, in a loop must not flood the log.
constinit LogLimit log_limit;
}  // namespace

RefPtr<vfs::Inode> Volume::root() {
  Result<RefPtr<Node>> found = node(kRootInode);
  return found.ok() ? RefPtr<vfs::Inode>(found.take()) : nullptr;
}

Result<Journal::Handle> Volume::begin(uint32_t credits, Journal::WhenBusy when_busy) {
  if (!is_writing_ || is_read_only()) return error(EROFS);
  return journal_.begin(credits, when_busy);
}

Result<vfs::FilesystemStatistics> Volume::statistics() {
  vfs::FilesystemStatistics s;
  s.type_magic = 0xef53;
  s.block_size = geometry_.block_size;
  // As Linux counts: without what the filesystem needs for itself.
  uint64_t overhead = geometry_.first_data_block;
  for (const SystemRange& range : *system_ranges_) overhead += range.end - range.first;
  if (geometry_.journal_inode) {
    Result<RefPtr<Node>> journal_node = Node::load(*this, geometry_.journal_inode);
    if (journal_node.ok()) overhead += journal_node.value()->size_bytes() >> geometry_.block_bits;
  }
  s.blocks = geometry_.block_count > overhead ? geometry_.block_count - overhead : 0;
  const int64_t free = free_blocks_.load() - promised_blocks_.load();
  s.blocks_free = free < 0 ? 0 : static_cast<uint64_t>(free);
  s.blocks_available = s.blocks_free > geometry_.reserved_blocks ? s.blocks_free - geometry_.reserved_blocks : 0;
  s.files = geometry_.inode_count;
  s.files_free = static_cast<uint64_t>(free_inodes_.load());
  return s;
}

void Volume::show_options(TextSink& sink) { options_.show(sink, geometry_); }

GroupDescriptor Volume::descriptor(uint32_t group) {
  const uint32_t in_block = geometry_.descriptors_per_block();
  return GroupDescriptor((*descriptors_)[group / in_block]->bytes().subspan(size_t{group % in_block} * geometry_.descriptor_size, geometry_.descriptor_size));
}

// --- nodes

Result<RefPtr<Node>> Volume::node(uint32_t number) {
  if (!geometry_.is_valid_inode(number)) return damaged("inode number", number);
  {
    MutexLock lock(nodes_mutex_);
    for (;;) {
      Node* found = node_buckets_[number % node_buckets_.size()];
      while (found && found->inode_number() != number) found = found->next_in_bucket;
      if (!found) break;
      if (found->try_add_reference()) return RefPtr<Node>::adopt(found);
      // It is being written back by whoever dropped the last reference.
      TRY(node_gone_.wait(nodes_mutex_, sync::Sleep::Uninterruptible));
    }
  }
  RefPtr<Node> loaded = TRY(Node::load(*this, number));
  MutexLock lock(nodes_mutex_);
  Node*& bucket = node_buckets_[number % node_buckets_.size()];
  for (Node* other = bucket; other; other = other->next_in_bucket)
    if (other->inode_number() == number && other->try_add_reference()) return RefPtr<Node>::adopt(other);
  loaded->is_entered = true;
  loaded->next_in_bucket = bucket;
  bucket = loaded.get();
  return loaded;
}

void Volume::enter_node(Node& node) {
  MutexLock lock(nodes_mutex_);
  Node*& bucket = node_buckets_[node.inode_number() % node_buckets_.size()];
  node.is_entered = true;
  node.next_in_bucket = bucket;
  bucket = &node;
}

void Volume::forget_node(Node& node) {
  if (!node.is_entered) return;
  MutexLock lock(nodes_mutex_);
  for (Node** place = &node_buckets_[node.inode_number() % node_buckets_.size()]; *place; place = &(*place)->next_in_bucket) {
    if (*place != &node) continue;
    *place = node.next_in_bucket;
    break;
  }
  node_gone_.wake_all();
}

void Volume::retire(Node& node) {
  // A copy that lost the race to be entered. The others are nobody's any more: no lock of theirs is needed, and none taken, as the last reference may
  // have been dropped under locks that come after an inode's.
  if (!node.is_entered) return;
  const auto finish = [&]() -> Result<void> {
    if (node.links() != 0) {
      node.sync_data();
      return is_read_only() ? Result<void>{} : node.store_last_changes();
    }
    node.discard_data();
    if (is_read_only()) return {};
    if (node.has_block_map()) TRY(node.remove_blocks(0, uint64_t{UINT32_MAX} + 1));
    Journal::Handle handle = TRY(begin(Node::kAttributeCredits + 8));
    // What cannot be read fails now: an orphan that is still listed is freed by the next mount.
    TRY(is_inode_used(node.inode_number()));
    const InodePlace place = TRY(inode_place(node.inode_number()));
    TRY(node.free_attribute_block(handle));
    TRY(remove_orphan(handle, node));
    {
      MutexLock map_lock(node.map_mutex());
      InodeRecord record = node.record();
      record.set_deletion_time(static_cast<uint32_t>(vfs::file_time_now().seconds));
      record.set_links(0);
      record.set_size(0);
      TRY(node.store_record_locked(handle));
    }
    return free_inode(handle, node.inode_number(), node.is_directory());
  };
  const Result<void> finished = finish();
  if (!finished.ok() && finished.code() != EROFS) log_limited(log_limit, "ext4", LogLevel::Error, "ext4: {}: inode {} could not be written back, errno {}", device_->name(), node.number(), finished.code());
}

Result<Volume::InodePlace> Volume::inode_place(uint32_t number) {
  if (number == 0 || number > geometry_.inode_count) return error(EUCLEAN);
  const uint32_t group = (number - 1) / geometry_.inodes_per_group, index = (number - 1) % geometry_.inodes_per_group;
  const uint64_t block = descriptor(group).inode_table() + index / geometry_.inodes_per_block();
  return InodePlace{TRY(cache_.read(block, BufferKind::InodeTable, group)), index % geometry_.inodes_per_block() * geometry_.inode_size};
}

// --- sync

Result<void> Volume::store_all_nodes() {
  // Nodes come and go meanwhile; each bucket is taken by references.
  for (size_t i = 0;; ++i) {
    Vector<RefPtr<Node>> batch;
    {
      MutexLock lock(nodes_mutex_);
      if (i >= node_buckets_.size()) return {};
      for (Node* node = node_buckets_[i]; node; node = node->next_in_bucket)
        if (node->try_add_reference()) TRY(batch.push_back(RefPtr<Node>::adopt(node)));
    }
    for (const RefPtr<Node>& node : batch) TRY(node->store_if_changed());
  }
}

Result<void> Volume::sync() {
  if (!is_writing_ || is_read_only()) return {};
  page_cache_.sync_group(this);
  TRY(store_all_nodes());
  const bool had_changes = journal_.has_changes();
  TRY(journal_.commit_all());
  return had_changes || !options_.barriers ? Result<void>{} : device_->flush();
}

void Volume::on_begun(uint32_t seconds) { page_cache_.write_later(*this, uint64_t{seconds} * 1'000'000'000); }

void Volume::write_own() {
  // What fails has aborted the journal, which says so.
  if (store_all_nodes().ok()) (void)journal_.commit_all().ok();
}

Result<void> Volume::sync_node(uint32_t transaction) {
  if (!is_writing_ || is_read_only()) return {};
  if (!journal_.has_log()) {
    // Without a log a commit writes everything to its place and flushes.
    return journal_.has_changes() ? journal_.commit_all() : device_->flush();
  }
  if (transaction != 0 && !journal_.is_committed(transaction)) return journal_.commit(transaction);
  return options_.barriers ? device_->flush() : Result<void>{};
}

// --- damage

Error Volume::damaged(std::string_view what, uint32_t inode, uint64_t block, const char* function, int line) {
  log_limited(log_limit, "ext4", LogLevel::Error, "ext4: {}: damaged: {}, inode {}, block {} ({}:{})", device_->name(), what, inode, block, function, line);
  {
    // Noted in the superblock later: whoever found the damage may hold any lock of the filesystem.
    MutexLock lock(error_mutex_);
    noted_error_ = {true, inode, block, function, line};
  }
  mark_on_disk(inode, block, function, line);
  switch (options_.errors) {
    case ErrorPolicy::Continue: break;
    case ErrorPolicy::RemountReadOnly:
      if (!is_read_only()) {
        log(LogLevel::Error, "ext4: {}: now read-only", device_->name());
        set_read_only(true);
      }
      break;
    case ErrorPolicy::Panic: panic("ext4: a damaged filesystem, with errors=panic");
  }
  return error(EUCLEAN);
}

/// Whatever becomes of the log, fsck looks at the filesystem before it is used again: what a replay brings does not change that (keep_errors()). The
/// counters in memory belong to transactions, so what is on the disk is read for this; a checkpoint at the same moment may be undone, which the
/// next one makes good.
void Volume::mark_on_disk(uint32_t inode, uint64_t block, const char* function, int line) {
  if (!is_writing_ || is_marked_.exchange(true)) return;
  std::byte raw[kSuperblockSize];
  if (!device_->read(kSuperblockOffset, Bytes(raw)).ok()) return;
  note_error(raw, static_cast<uint64_t>(vfs::file_time_now().seconds), inode, block, function, static_cast<uint32_t>(line));
  seal_superblock(raw);
  if (device_->write(kSuperblockOffset, ConstBytes(raw)).ok()) (void)device_->flush().ok();
}

Error Volume::failed_midway(Error failure) {
  if (failure.code != EROFS) journal_.abort(failure.code);
  return failure;
}

void Volume::on_abort(int) {
  mark_on_disk(0, 0, "abort", 0);
  if (options_.errors == ErrorPolicy::Panic) panic("ext4: the journal failed, with errors=panic");
  set_read_only(true);
}

void Volume::require_feature(Journal::Handle& handle, FeatureSet set, uint32_t bit) {
  const uint32_t present = set == FeatureSet::Compatible ? geometry_.compat : set == FeatureSet::Incompatible ? geometry_.incompat : geometry_.ro_compat;
  if (present & bit) return;
  MutexLock lock(allocation_mutex_);
  (set == FeatureSet::Compatible ? geometry_.compat : set == FeatureSet::Incompatible ? geometry_.incompat : geometry_.ro_compat) |= bit;
  handle.modify(*superblock_, BufferKind::Superblock);
  set_feature(superblock_bytes(), set, bit, true);
}

// --- of the cache and the journal

Result<void> Volume::check(Buffer& buffer, BufferKind kind, uint32_t context, bool is_fresh) {
  const Bytes bytes = buffer.bytes();
  bool is_good = true;
  switch (kind) {
    case BufferKind::Plain:
    case BufferKind::Superblock:
    case BufferKind::Descriptors:
    case BufferKind::InodeTable: break;
    case BufferKind::BlockBitmap: is_good = !is_fresh || !geometry_.has_checksums() || descriptor(context).block_bitmap_matches(geometry_, bytes); break;
    case BufferKind::InodeBitmap: is_good = !is_fresh || !geometry_.has_checksums() || descriptor(context).inode_bitmap_matches(geometry_, bytes); break;
    case BufferKind::Extents: {
      const ExtentNode node(bytes);
      is_good = node.is_sane(geometry_, std::nullopt, 0, uint64_t{UINT32_MAX} + 1) && (!is_fresh || node.is_intact(geometry_, context));
      break;
    }
    case BufferKind::DirectoryLeaf: {
      const DirectoryBlock block(geometry_, bytes);
      is_good = block.is_sane(geometry_.inode_count) && (!is_fresh || block.is_intact(context));
      break;
    }
    case BufferKind::HtreeRoot:
    case BufferKind::HtreeInner: {
      const HtreeNode node(geometry_, bytes, kind == BufferKind::HtreeRoot ? HtreeNode::Kind::Root : HtreeNode::Kind::Inner);
      is_good = (kind == BufferKind::HtreeInner || node.is_sane_root(geometry_.has_incompat(incompat::kLargeDirectory))) && node.is_sane(UINT32_MAX) &&
                (!is_fresh || node.is_intact(context));
      break;
    }
    case BufferKind::Attributes: is_good = is_attribute_block(bytes) && (!is_fresh || attribute_block_is_intact(geometry_, bytes, buffer.block())); break;
    case BufferKind::Orphans:
      is_good = is_orphan_block(bytes) && (!is_fresh || !geometry_.has_checksums() || get32(bytes, bytes.size() - 4) == orphan_block_checksum(bytes, context, buffer.block()));
      break;
  }
  if (is_good) return {};
  return error(EUCLEAN);
}

// Inodes of a directory lie together. Behind the last one of a group that was ever used the table may be anything.
Around Volume::around(BufferKind kind, uint32_t context) {
  if (kind != BufferKind::InodeTable) return {};
  MutexLock lock(allocation_mutex_);
  const GroupDescriptor d = descriptor(context);
  const uint32_t unused = geometry_.has_group_checksums() ? std::min(d.unused_inodes(), geometry_.inodes_per_group) : 0;
  return {d.inode_table(), (geometry_.inodes_per_group - unused + geometry_.inodes_per_block() - 1) / geometry_.inodes_per_block()};
}

bool Volume::has_new_error() {
  MutexLock lock(error_mutex_);
  return noted_error_.is_new;
}

void Volume::note_errors() {
  MutexLock lock(error_mutex_);
  if (!noted_error_.is_new) return;
  noted_error_.is_new = false;
  note_error(superblock_bytes(), static_cast<uint64_t>(vfs::file_time_now().seconds), noted_error_.inode, noted_error_.block, noted_error_.function,
             static_cast<uint32_t>(noted_error_.line));
}

void Volume::before_commit(Journal::Handle& handle) {
  MutexLock lock(allocation_mutex_);
  const Bytes raw = superblock_bytes();
  const uint64_t blocks = static_cast<uint64_t>(free_blocks_.load());
  const uint32_t inodes = static_cast<uint32_t>(free_inodes_.load());
  // A transaction of an inode's times alone leaves it out.
  if (ext4::free_blocks(raw) == blocks && ext4::free_inodes(raw) == inodes && !has_new_error()) return;
  handle.modify(*superblock_, BufferKind::Superblock);
  set_free_blocks(raw, blocks);
  set_free_inodes(raw, inodes);
  note_written(raw, static_cast<uint64_t>(vfs::file_time_now().seconds));
  note_errors();
}

void Volume::seal(Buffer& buffer) {
  const Bytes bytes = buffer.bytes();
  switch (buffer.kind) {
    case BufferKind::Plain:
    case BufferKind::InodeTable: break;  // inodes are sealed one by one when they are stored
    case BufferKind::Superblock: seal_superblock(superblock_bytes()); break;
    case BufferKind::Descriptors: {
      const uint32_t first = buffer.context * geometry_.descriptors_per_block();
      for (uint32_t i = 0; i < geometry_.descriptors_per_block() && first + i < geometry_.group_count; ++i) descriptor(first + i).seal(geometry_, first + i);
      break;
    }
    case BufferKind::BlockBitmap:
      if (geometry_.has_checksums()) descriptor(buffer.context).seal_block_bitmap(geometry_, bytes);
      break;
    case BufferKind::InodeBitmap:
      if (geometry_.has_checksums()) descriptor(buffer.context).seal_inode_bitmap(geometry_, bytes);
      break;
    case BufferKind::Extents: ExtentNode(bytes).seal(geometry_, buffer.context); break;
    case BufferKind::DirectoryLeaf: DirectoryBlock(geometry_, bytes).seal(buffer.context); break;
    case BufferKind::HtreeRoot: HtreeNode(geometry_, bytes, HtreeNode::Kind::Root).seal(buffer.context); break;
    case BufferKind::HtreeInner: HtreeNode(geometry_, bytes, HtreeNode::Kind::Inner).seal(buffer.context); break;
    case BufferKind::Attributes: seal_attribute_block(geometry_, bytes, buffer.block()); break;
    case BufferKind::Orphans:
      if (geometry_.has_checksums()) put32(bytes, bytes.size() - 4, orphan_block_checksum(bytes, buffer.context, buffer.block()));
      break;
  }
}

}  // namespace umk::ext4

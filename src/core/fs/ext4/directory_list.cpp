// Listing a directory. A position is 0 and 1 for `.` and `..`; then the hash of the name that comes next, or its place where entries never move.
#include <algorithm>

#include "core/fs/ext4/directory_node.h"

namespace umk::ext4 {

namespace {

vfs::FileType type_of(const DirectoryEntry& entry) { return static_cast<vfs::FileType>(mode_of_type_code(entry.type)); }

}  // namespace

Result<uint64_t> DirectoryNode::list(uint64_t position, vfs::InodeNumber parent_number, vfs::DirectorySink& sink) {
  if (!vfs::list_self_and_parent(position, number(), parent_number, sink)) return position;
  note_access();
  const bool by_hash = volume().geometry().has_compat(compat::kDirectoryIndex) && (is_indexed() || block_count() == 1);
  return by_hash ? list_by_hash(position, sink) : list_linear(position, sink);
}

/// As relatime, mount(8); the inode's mutex is held.
void DirectoryNode::note_access() {
  const vfs::Timestamp now = vfs::file_time_now();
  if ((flags() & inode_flags::kNoAccessTime) || now.seconds < access_time_fresh_until_.load(std::memory_order_relaxed)) return;
  constexpr int64_t kDay = 24 * 60 * 60;
  const auto at_or_before = [](const vfs::Timestamp& a, const vfs::Timestamp& b) {
    return a.seconds < b.seconds || (a.seconds == b.seconds && a.nanoseconds <= b.nanoseconds);
  };
  if (at_or_before(access_time_, modify_time_) || at_or_before(access_time_, change_time_) || now.seconds - access_time_.seconds >= kDay) access_time_ = now;
  access_time_fresh_until_.store(access_time_.seconds + kDay, std::memory_order_relaxed);
}

Result<uint64_t> DirectoryNode::list_linear(uint64_t position, vfs::DirectorySink& sink) {
  const Geometry& geometry = volume().geometry();
  for (;;) {
    const uint64_t place = position - vfs::kFirstNamePosition;
    if (place >= size_bytes()) return position;
    const uint32_t logical = static_cast<uint32_t>(place >> geometry.block_bits);
    RefPtr<Buffer> buffer = TRY(read_block(logical, BufferKind::DirectoryLeaf));
    const DirectoryBlock block = leaf_of(*buffer);
    const uint64_t start = vfs::kFirstNamePosition + (uint64_t{logical} << geometry.block_bits);
    for (auto entry = block.next(static_cast<uint32_t>(place & (geometry.block_size - 1))); entry; entry = block.after(*entry)) {
      if (entry->name == "." || entry->name == "..") continue;
      if (!sink.emit(entry->name, entry->inode, type_of(*entry), start + entry->offset + 1)) return start + entry->offset;
      position = start + entry->offset + 1;
    }
    position = start + geometry.block_size;
  }
}

Result<uint64_t> DirectoryNode::list_by_hash(uint64_t position, vfs::DirectorySink& sink) {
  struct Listed {
    uint64_t position;
    DirectoryEntry entry;
  };
  const Geometry& geometry = volume().geometry();
  const uint8_t version = is_indexed() ? TRY(index_version()) : geometry.hash_version;
  // A hash has 31 bits that count.
  const auto position_of = [](const NameHash& hash) { return vfs::kFirstNamePosition + 1 + (uint64_t{hash.major >> 1} << 32 | hash.minor); };
  IndexPath path;
  if (is_indexed()) TRY(follow_index(position > vfs::kFirstNamePosition ? static_cast<uint32_t>((position - vfs::kFirstNamePosition - 1) >> 32) << 1 : 0, path));
  for (bool has_more = true; has_more;) {
    // The entries of a leaf, with those that have the same hash and did not fit into it.
    Vector<RefPtr<Buffer>> buffers;
    Vector<Listed> entries;
    for (;;) {
      RefPtr<Buffer> buffer = TRY(read_block(is_indexed() ? index_node(path, path.last).block(path.at[path.last]) : 0, BufferKind::DirectoryLeaf));
      const DirectoryBlock block = leaf_of(*buffer);
      uint32_t highest = 0;
      for (auto entry = block.next(0); entry; entry = block.after(*entry)) {
        if (entry->name == "." || entry->name == "..") continue;
        const NameHash hash = hash_of(entry->name, version);
        const uint64_t place = position_of(hash);
        highest = std::max(highest, hash.major);
        if (place >= position) TRY(entries.push_back({place, *entry}));
      }
      TRY(buffers.push_back(std::move(buffer)));
      has_more = is_indexed() && TRY(next_leaf(path, highest));
      if (!has_more) break;
    }
    std::sort(entries.begin(), entries.end(), [](const Listed& a, const Listed& b) { return a.position < b.position; });
    for (const Listed& listed : entries) {
      if (!sink.emit(listed.entry.name, listed.entry.inode, type_of(listed.entry), listed.position + 1)) return listed.position;
      position = listed.position + 1;
    }
    has_more = is_indexed() && TRY(next_leaf(path, std::nullopt));
  }
  return position;
}

}  // namespace umk::ext4

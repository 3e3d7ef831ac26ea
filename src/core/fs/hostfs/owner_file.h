// OwnerFile: owners of what can carry no extended attribute (symlinks, special files, filesystems without attributes), in the file
// `.umk-owners` at the top of the tree.
//
// Lines `PATH<tab>UID:GID<tab>MODE<tab>DEVICE|-`, the path relative to the top; a later line for a path replaces an earlier one, and `PATH<tab>-`
// forgets it. The file is read at mount and only appended to afterwards; when most of its lines are out of date it is written anew at the next mount.
// Where the top may not be written, as that of the host's own root, what is set holds until the end of the mount; the log says so once.
// Lock: its own mutex, also held over appending.
#pragma once

#include "core/base/list.h"
#include "core/fs/hostfs/owner_record.h"

namespace umk::hostfs {

class OwnerFile {
 public:
  static constexpr std::string_view kName = ".umk-owners";

  ~OwnerFile();

  /// Reads the file in the directory `top`, if there is one. EFBIG beyond 64 MiB.
  Result<void> load(RefPtr<HostDescriptor> top, bool read_only);
  bool is_empty() const { return count_.load(std::memory_order_relaxed) == 0; }
  std::optional<OwnerRecord> find(std::string_view path);
  /// EINVAL for a path that cannot be written as a line.
  Result<void> set(std::string_view path, const OwnerRecord& record);
  Result<void> forget(std::string_view path);
  /// A file, or a directory with all that is in it, has a new path.
  Result<void> move(std::string_view from, std::string_view to);

 private:
  struct Entry : TreeHook<> {
    String path;
    OwnerRecord record;
  };
  struct PathOfEntry {
    using type = std::string_view;
    std::string_view operator()(const Entry& entry) const { return entry.path.view(); }
  };
  using Entries = Tree<Entry, PathOfEntry>;

  Result<void> store_locked(std::string_view path, const OwnerRecord& record) REQUIRES(mutex_);
  void drop_locked(Entry& entry) REQUIRES(mutex_);
  Result<void> take_line_locked(std::string_view line) REQUIRES(mutex_);
  Result<void> append_locked(std::string_view lines) REQUIRES(mutex_);
  Result<void> rewrite_locked() REQUIRES(mutex_);

  Mutex mutex_{LockRank::HostFile};
  Entries entries_ GUARDED_BY(mutex_);
  std::atomic<size_t> count_{0};
  bool is_kept_ GUARDED_BY(mutex_) = true;
  RefPtr<HostDescriptor> top_;
};

}  // namespace umk::hostfs

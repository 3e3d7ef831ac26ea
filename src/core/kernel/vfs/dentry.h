// Dentry: a name in a directory as the kernel has it in memory. DentryCache: all of them, found by parent and name.
//
// A dentry is positive (it has an inode) or negative (the name is known not to exist). The life of one: a lookup that misses the cache asks the directory
// inode and adds the answer; creating the file gives a negative dentry its inode; unlink and rmdir take the dentry out of the cache ("unhashed"), but
// whoever still uses it keeps it, with its inode; rename moves it in place, so open files and working directories see the new name.
// The cache holds one reference on each dentry in it, each dentry holds its parent; so a count of 1 means unused, and trim() lets the
// least recently used of those go when there are more than the limit.
//
// Locks: names under a directory are added, removed and moved only with the directory inode's mutex held. Each hash bucket has a lock (rank Dentry)
// that guards its chain, and the names and parents of the dentries on it. A dentry's name and parent change only while it is on no chain, under
// the tree mutex, which also guards the lists of children; walks upwards (`..`, path texts) take it. No two of these locks are held at once.
#pragma once

#include <memory>

#include "core/base/make.h"
#include "core/kernel/vfs/inode.h"

namespace umk::vfs {

class DentryCache;

/// Hash of a name, before the parent is mixed in.
uint32_t hash_name(std::string_view name);

class Dentry final : public RefCounted {
 public:
  static constexpr size_t kNameLimit = 255;

  /// Null for a negative dentry. Once there, the inode stays for the dentry's life.
  Inode* inode() const { return inode_.load(std::memory_order_acquire); }
  bool is_negative() const { return inode() == nullptr; }
  Superblock& superblock() const { return superblock_; }
  /// No longer, or never, found by name: unlinked, or anonymous.
  bool is_unhashed() const { return !hashed_.load(std::memory_order_acquire); }
  bool is_root() const { return is_root_; }
  /// True when something is mounted here; counts mounts.
  std::atomic<uint32_t> mounted_here{0};

  DentryCache& cache() const { return cache_; }

  Dentry(DentryCache& cache, Superblock& superblock) : cache_(cache), superblock_(superblock) {}

 protected:
  ~Dentry() override;
  void last_reference_dropped() override;

 private:
  friend class DentryCache;
  static constexpr size_t kInlineName = 32;

  Result<void> set_name(std::string_view name);
  std::string_view name_view() const { return {name_, name_size_}; }

  DentryCache& cache_;
  Superblock& superblock_;
  std::atomic<Inode*> inode_{nullptr};  // owns a reference
  Dentry* chain_next_ = nullptr;
  RefPtr<Dentry> parent_;
  // The chained children of a dentry, guarded by the cache's tree mutex.
  Dentry* first_child_ = nullptr;
  Dentry* next_sibling_ = nullptr;
  Dentry** sibling_link_ = nullptr;
  uint32_t hash_ = 0;
  uint16_t name_size_ = 0;
  bool is_root_ = false;
  std::atomic<bool> hashed_{false};
  std::atomic<bool> recently_used_{true};
  char* name_ = inline_name_;
  char inline_name_[kInlineName];
};

class DentryCache {
 public:
  /// Keeps up to about `limit` unused names.
  static Result<std::unique_ptr<DentryCache>> create(size_t limit = 32768);
  ~DentryCache();

  /// The dentry of `name` in `parent`, positive or negative, or null when nothing is known. `hash` is hash_name(name).
  RefPtr<Dentry> find(Dentry& parent, std::string_view name, uint32_t hash);
  /// Adds a name (the parent inode is locked, and find() gave null). ENOMEM.
  Result<RefPtr<Dentry>> add(Dentry& parent, std::string_view name, uint32_t hash, RefPtr<Inode> inode);
  /// The top of a filesystem, or an inode without a name.
  Result<RefPtr<Dentry>> make_root(Superblock& superblock, RefPtr<Inode> inode);
  /// A dentry below `parent` that no name finds, shown as "#number (deleted)": O_TMPFILE.
  Result<RefPtr<Dentry>> make_nameless(Dentry& parent, RefPtr<Inode> inode);
  /// Gives a negative dentry its inode. Parent locked.
  void instantiate(Dentry& dentry, RefPtr<Inode> inode);
  /// Takes a name out of the cache: unlinked, or no longer right. Parent locked, or the caller can stand a race with another remove.
  void remove(Dentry& dentry);
  /// Takes all (negative) names below a removed directory out of the cache, so that they do not keep it alive. Parent locked.
  void remove_children(Dentry& parent);
  /// Moves `dentry` to `new_parent` as `new_name`; a dentry that is there is removed. Both parents locked. ENOMEM leaves everything as it was.
  Result<void> move(Dentry& dentry, Dentry& new_parent, std::string_view new_name);
  /// Swaps the places of two dentries. Both parents locked.
  void exchange(Dentry& a, Dentry& b);

  /// The parent (the dentry itself for a root).
  RefPtr<Dentry> parent_of(Dentry& dentry);
  /// True when `ancestor` is `dentry` or above it, within one filesystem.
  bool is_at_or_below(const Dentry& dentry, const Dentry& ancestor);
  /// Copies the name; at most kNameLimit bytes.
  std::string_view copy_name(Dentry& dentry, std::span<char> into);
  /// Writes the path of `dentry` up to `top` or `other_top` (exclusive) in front of `end`, each name with a slash before it; returns where it begins, null when
  /// it does not fit after `begin`. `stopped` tells which dentry ended the walk: one of the two, or a root above both.
  char* prepend_path(const Dentry& dentry, const Dentry* top, const Dentry* other_top, char* begin, char* end, const Dentry** stopped);

  /// Lets unused names go when there are too many. Call with no lock held: inodes may be released.
  void trim() {
    if (count_.load(std::memory_order_relaxed) > limit_) [[unlikely]] evict(kEvictedAtOnce, 1);
  }
  /// Lets about `wanted` unused names go, those first that were not looked up lately; returns how many went. Like trim().
  size_t shrink(size_t wanted) { return evict(wanted, 3); }
  /// Drops all unused names of a filesystem (umount), or of all (drop_caches).
  void purge(const Superblock* superblock);
  size_t count() const { return count_.load(std::memory_order_relaxed); }

 private:
  struct Bucket {
    Mutex mutex{LockRank::Dentry};
    Dentry* first = nullptr;
  };

  friend class Dentry;
  DentryCache(std::unique_ptr<Bucket[]> buckets, size_t bucket_count, size_t limit) : buckets_(std::move(buckets)), bucket_mask_(bucket_count - 1), limit_(limit) {}
  Bucket& bucket_of(const Dentry& parent, uint32_t hash) {
    uint64_t mixed = (reinterpret_cast<uintptr_t>(&parent) >> 6) * 0x9e3779b97f4a7c15u + hash;
    mixed ^= mixed >> 32;
    return buckets_[(mixed * 0x2545f491u >> 8) & bucket_mask_];
  }
  void chain(Dentry& dentry);
  bool unchain(Dentry& dentry, uint32_t most_references = UINT32_MAX);
  void leave_parent(Dentry& dentry);
  static constexpr size_t kEvictedAtOnce = 64;
  size_t evict(size_t enough, unsigned rounds);
  /// Takes unused dentries that `wanted` admits off one bucket and releases them; returns how many.
  template <typename Wanted>
  size_t evict_bucket(Bucket& bucket, Wanted&& wanted);

  std::unique_ptr<Bucket[]> buckets_;
  size_t bucket_mask_;
  size_t limit_;
  std::atomic<size_t> count_{0};
  std::atomic<size_t> hand_{0};
  Mutex tree_mutex_{LockRank::Dentry};
};

}  // namespace umk::vfs

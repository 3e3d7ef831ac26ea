// HostDescriptor: a descriptor of the host, shared by those who use it and closed by the last.
//
// DescriptorCache: which inodes keep one although nobody has them open. Descriptors are a limited good of the whole machine, so hostfs keeps at most a
// quarter of what the host allows; beyond that the inodes that were not used for longest give theirs back and are found again by name.
#pragma once

#include "core/base/list.h"
#include "core/base/make.h"
#include "core/sync/mutex.h"

namespace umk::hostfs {

class DescriptorCache;
class HostInode;
struct DescriptorTag;

/// The part of an inode that the cache keeps in its list.
struct DescriptorHolder : ListHook<DescriptorTag> {};

class HostDescriptor final : public RefCounted {
 public:
  static constexpr unsigned kRead = 1, kWrite = 2;  // neither: O_PATH

  /// Takes over `fd`, also when it fails.
  static Result<RefPtr<HostDescriptor>> adopt(DescriptorCache& cache, int fd, unsigned access);

  int fd() const { return fd_; }
  unsigned access() const { return access_; }
  bool allows(unsigned access) const { return (access_ & access) == access; }

  HostDescriptor(DescriptorCache& cache, int fd, unsigned access) : cache_(cache), fd_(fd), access_(access) {}

 protected:
  ~HostDescriptor() override;

 private:
  DescriptorCache& cache_;
  int fd_;
  unsigned access_;
};

/// The name under which a descriptor can be opened again, or its extended attributes reached.
class DescriptorPath {
 public:
  explicit DescriptorPath(const HostDescriptor& descriptor);
  const char* c_str() const { return text_; }

 private:
  char text_[32];
};

class DescriptorCache {
 public:
  explicit DescriptorCache(size_t limit) : limit_(limit) {}

  void add(HostInode& inode);
  void remove(HostInode& inode);
  /// Lets inodes give descriptors back while there are too many. Call with no lock held.
  void trim() {
    if (open_.load(std::memory_order_relaxed) > limit_) [[unlikely]] trim_some();
  }
  size_t open() const { return open_.load(std::memory_order_relaxed); }
  void set_limit(size_t limit) { limit_ = limit; }

 private:
  friend class HostDescriptor;
  void trim_some();

  size_t limit_;
  std::atomic<size_t> open_{0};
  Mutex mutex_{LockRank::HostFile};
  List<DescriptorHolder, DescriptorTag> inodes_ GUARDED_BY(mutex_);  // least recently added first
};

}  // namespace umk::hostfs

#include "core/fs/hostfs/descriptor.h"

#include "core/fs/hostfs/host_inode.h"
#include "core/host/calls.h"

namespace umk::hostfs {

Result<RefPtr<HostDescriptor>> HostDescriptor::adopt(DescriptorCache& cache, int fd, unsigned access) {
  Result<RefPtr<HostDescriptor>> descriptor = make_ref<HostDescriptor>(cache, fd, access);
  if (descriptor.ok()) {
    cache.open_.fetch_add(1, std::memory_order_relaxed);
  } else {
    host::close(fd);
  }
  return descriptor;
}

HostDescriptor::~HostDescriptor() {
  host::close(fd_);
  cache_.open_.fetch_sub(1, std::memory_order_relaxed);
}

DescriptorPath::DescriptorPath(const HostDescriptor& descriptor) {
  BufferSink sink(text_);
  format(sink, "/proc/self/fd/{}", descriptor.fd());
  text_[sink.view().size()] = '\0';
}

void DescriptorCache::add(HostInode& inode) {
  MutexLock lock(mutex_);
  if (!inode.DescriptorHolder::is_linked()) inodes_.push_back(inode);
}

void DescriptorCache::remove(HostInode& inode) {
  MutexLock lock(mutex_);
  if (inode.DescriptorHolder::is_linked()) inode.DescriptorHolder::unlink();
}

void DescriptorCache::trim_some() {
  // A bounded look: when everything is in use, the limit is exceeded rather than the kernel kept busy.
  for (int looks = 0; looks < 256 && open() > limit_ - limit_ / 16; ++looks) {
    RefPtr<HostInode> candidate;
    {
      MutexLock lock(mutex_);
      if (inodes_.empty()) return;
      auto& first = static_cast<HostInode&>(inodes_.front());
      inodes_.pop_front();
      inodes_.push_back(first);
      // One that is about to go takes itself off the list; it only waits for the mutex.
      if (!first.try_add_reference()) continue;
      candidate = adopt_ref(&first);
    }
    candidate->give_descriptor_back();
  }
}

}  // namespace umk::hostfs

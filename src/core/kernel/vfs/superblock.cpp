#include "core/kernel/vfs/superblock.h"

#include "core/kernel/vfs/dentry.h"

namespace umk::vfs {

Superblock::Superblock(std::string_view type_name, DeviceNumber device) : type_name_(type_name), device_(device) {}

Superblock::~Superblock() {
  if (ObjectCounts* shared = shared_counts_.load()) shared->drop_reference();
}

void Superblock::count_in(RefPtr<ObjectCounts> counts) {
  ObjectCounts* none = nullptr;
  if (!shared_counts_.compare_exchange_strong(none, counts.get())) return;
  counts->inodes.fetch_add(own_counts_.inodes.exchange(0));
  counts->open_files.fetch_add(own_counts_.open_files.exchange(0));
  (void)counts.leak();
}

Result<void> Superblock::remount(std::string_view options, bool) {
  if (!options.empty()) return error(EINVAL);
  return {};
}

}  // namespace umk::vfs

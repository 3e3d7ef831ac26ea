#include "core/kernel/vfs/superblock.h"

#include "core/kernel/vfs/dentry.h"

namespace umk::vfs {

Superblock::Superblock(std::string_view type_name, DeviceNumber device) : type_name_(type_name), device_(device) {}
Superblock::~Superblock() = default;

Result<void> Superblock::remount(std::string_view options, bool) {
  if (!options.empty()) return error(EINVAL);
  return {};
}

}  // namespace umk::vfs

#include "core/kernel/device/device_registry.h"

namespace umk::device {

Result<void> DeviceRegistry::add_driver(vfs::FileType type, uint32_t major, uint32_t first_minor, uint32_t minors, Driver& driver) {
  for (const Range& range : ranges_)
    if (range.type == type && range.major == major && first_minor < range.first_minor + range.minors && range.first_minor < first_minor + minors)
      return error(EBUSY);
  return ranges_.push_back(Range{type, major, first_minor, minors, &driver});
}

Result<void> DeviceRegistry::announce(const Node& node) {
  MutexLock lock(mutex_);
  TRY(nodes_.push_back(node));
  if (listener_) return listener_->add_node(node);
  return {};
}

void DeviceRegistry::withdraw(const Node& node) {
  MutexLock lock(mutex_);
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (nodes_[i].name != node.name) continue;
    nodes_.erase(i);
    break;
  }
  if (listener_) listener_->remove_node(node);
}

Result<void> DeviceRegistry::set_listener(NodeListener& listener) {
  MutexLock lock(mutex_);
  listener_ = &listener;
  for (const Node& node : nodes_) TRY(listener.add_node(node));
  return {};
}

Result<RefPtr<vfs::OpenFile>> DeviceRegistry::open_device(const vfs::Caller& caller, RefPtr<vfs::Inode> inode, vfs::FileType type, vfs::DeviceNumber number,
                                                          const vfs::Path& path, uint32_t flags) {
  for (const Range& range : ranges_)
    if (range.type == type && range.major == number.major && number.minor - range.first_minor < range.minors)
      return range.driver->open(caller, std::move(inode), number, path, flags);
  return error(ENXIO);
}

}  // namespace umk::device

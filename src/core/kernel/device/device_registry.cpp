#include "core/kernel/device/device_registry.h"

namespace umk::device {

std::string_view class_of(const Node& node) {
  switch (node.number.major) {
    case 1: return "mem";
    case 4:
    case 5: return "tty";
    default: return "misc";
  }
}

Result<String> place_name_of(const Node& node) {
  String name;
  for (const char character : node.name) TRY(name.append(character == '/' ? '!' : character));
  return name;
}

Result<String> place_of(const Node& node) { return format_string("devices/virtual/{}/{}", class_of(node), TRY(place_name_of(node))); }

void put_properties(TextSink& sink, const Node& node) {
  format(sink, "MAJOR={}\nMINOR={}\nDEVNAME={}\n", node.number.major, node.number.minor, node.name);
}

Result<void> DeviceRegistry::add_driver(vfs::FileType type, uint32_t major, uint32_t first_minor, uint32_t minors, Driver& driver) {
  for (const Range& range : ranges_)
    if (range.type == type && range.major == major && first_minor < range.first_minor + range.minors &&
        range.first_minor < first_minor + minors)
      return error(EBUSY);
  return ranges_.push_back(Range{type, major, first_minor, minors, &driver});
}

void DeviceRegistry::tell_programs(UeventAction action, const Node& node) {
  if (node.type != vfs::FileType::CharacterDevice) return;
  StringSink properties;
  put_properties(properties, node);
  const Result<String> place = place_of(node);
  // Without memory for it an event is lost, as it is on Linux.
  if (place.ok() && !properties.failed())
    (void)uevents_.send(
        {.action = action, .place = place.value(), .subsystem = class_of(node), .properties = properties.view(), .remarks = {}});
}

Result<void> DeviceRegistry::announce(const Node& node) {
  MutexLock lock(mutex_);
  TRY(nodes_.push_back(node));
  for (NodeListener* listener : listeners_) TRY(listener->add_node(node));
  tell_programs(UeventAction::Add, node);
  return {};
}

void DeviceRegistry::withdraw(const Node& node) {
  MutexLock lock(mutex_);
  for (size_t i = 0; i < nodes_.size(); ++i) {
    if (nodes_[i].name != node.name) continue;
    nodes_.erase(i);
    break;
  }
  for (NodeListener* listener : listeners_) listener->remove_node(node);
  tell_programs(UeventAction::Remove, node);
}

Result<void> DeviceRegistry::add_listener(NodeListener& listener) {
  MutexLock lock(mutex_);
  TRY(listeners_.push_back(&listener));
  for (const Node& node : nodes_) TRY(listener.add_node(node));
  return {};
}

Result<RefPtr<vfs::OpenFile>> DeviceRegistry::open_device(const vfs::Caller& caller, RefPtr<vfs::Inode> inode, vfs::FileType type,
                                                          vfs::DeviceNumber number, const vfs::Path& path, uint32_t flags) {
  for (const Range& range : ranges_)
    if (range.type == type && range.major == number.major && number.minor - range.first_minor < range.minors)
      return range.driver->open(caller, std::move(inode), number, path, flags);
  return error(ENXIO);
}

}  // namespace umk::device

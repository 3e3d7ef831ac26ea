// DeviceRegistry: which driver stands behind a device number, and which nodes /dev should have.
//
// Drivers register once, at boot, before the first open: reading takes no lock. Opening a device node (vfs::DeviceOpener) finds the driver by type, major and
// minor. A node is announced with its name and permissions; devtmpfs and sysfs show what was announced, before and after they are mounted. Programs hear of
// character devices that come and go (uevents.h); of disks they hear when these are ready (block_files.h).
//
// Locks: `mutex_` guards the nodes; listeners are called and events are sent with it held, so that these keep the order of what happens.
#pragma once

#include "core/base/text.h"
#include "core/base/vector.h"
#include "core/kernel/device/uevents.h"
#include "core/kernel/vfs/device_opener.h"

namespace umk::device {

class Driver {
 public:
  /// The name in /proc/devices: "mem", "tty", "ubd".
  virtual std::string_view name() const = 0;
  virtual Result<RefPtr<vfs::OpenFile>> open(const vfs::Caller& caller, RefPtr<vfs::Inode> inode, vfs::DeviceNumber number,
                                             const vfs::Path& path, uint32_t flags) = 0;

 protected:
  ~Driver() = default;
};

/// A node that /dev should have.
struct Node {
  std::string_view name;  // may have directories in it: "input/mice"
  vfs::FileType type;
  vfs::DeviceNumber number;
  uint32_t permissions;
  UserId uid = 0;
  GroupId gid = 0;
};

/// Of a character device: the directory of /sys/class that lists it.
std::string_view class_of(const Node& node);
/// Where sysfs shows a character device, from the root of its tree. A name in a directory of /dev has "!" for the slash.
Result<String> place_of(const Node& node);
Result<String> place_name_of(const Node& node);
/// NAME=value lines: MAJOR, MINOR, DEVNAME.
void put_properties(TextSink& sink, const Node& node);

/// Who makes nodes appear: devtmpfs, sysfs.
class NodeListener {
 public:
  virtual Result<void> add_node(const Node& node) = 0;
  virtual void remove_node(const Node& node) = 0;

 protected:
  ~NodeListener() = default;
};

class DeviceRegistry final : public vfs::DeviceOpener {
 public:
  /// A driver for minors [first, first + count) of a major. EBUSY when one of them is taken.
  Result<void> add_driver(vfs::FileType type, uint32_t major, uint32_t first_minor, uint32_t minors, Driver& driver);
  /// The name must outlive the registry.
  Result<void> announce(const Node& node);
  void withdraw(const Node& node);
  /// From now on the listener hears of nodes; those announced before are given to it at once. It stays.
  Result<void> add_listener(NodeListener& listener);
  Uevents& uevents() { return uevents_; }

  Result<RefPtr<vfs::OpenFile>> open_device(const vfs::Caller& caller, RefPtr<vfs::Inode> inode, vfs::FileType type,
                                            vfs::DeviceNumber number, const vfs::Path& path, uint32_t flags) override;

  /// Calls `body(FileType, major, name)` for each registered major, for /proc/devices.
  template <typename Body>
  void for_each_driver(Body&& body) {
    for (const Range& range : ranges_) body(range.type, range.major, range.driver->name());
  }
  /// Calls `body(const Node&)` for each announced node, with the list locked.
  template <typename Body>
  void for_each_node(Body&& body) {
    MutexLock lock(mutex_);
    for (const Node& node : nodes_) body(node);
  }

 private:
  struct Range {
    vfs::FileType type;
    uint32_t major, first_minor, minors;
    Driver* driver;
  };
  void tell_programs(UeventAction action, const Node& node);

  Vector<Range> ranges_;
  Mutex mutex_{LockRank::None};
  Vector<Node> nodes_ GUARDED_BY(mutex_);
  Vector<NodeListener*> listeners_ GUARDED_BY(mutex_);
  Uevents uevents_;
};

}  // namespace umk::device

// DeviceRegistry: which driver stands behind a device number, and which nodes /dev should have.
//
// Drivers register once, at boot, before the first open: reading takes no lock. Opening a device node (vfs::DeviceOpener) finds the driver by type, major and
// minor. A node is announced with its name and permissions; devtmpfs shows what was announced, before and after it is mounted.
#pragma once

#include "core/base/vector.h"
#include "core/kernel/vfs/device_opener.h"

namespace umk::device {

class Driver {
 public:
  /// The name in /proc/devices: "mem", "tty", "ubd".
  virtual std::string_view name() const = 0;
  virtual Result<RefPtr<vfs::OpenFile>> open(const vfs::Caller& caller, RefPtr<vfs::Inode> inode, vfs::DeviceNumber number, const vfs::Path& path,
                                             uint32_t flags) = 0;

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

/// Who makes nodes appear: devtmpfs.
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
  /// From now on the listener hears of nodes; those announced before are given to it at once.
  Result<void> set_listener(NodeListener& listener);

  Result<RefPtr<vfs::OpenFile>> open_device(const vfs::Caller& caller, RefPtr<vfs::Inode> inode, vfs::FileType type, vfs::DeviceNumber number,
                                            const vfs::Path& path, uint32_t flags) override;

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
  Vector<Range> ranges_;
  Mutex mutex_{LockRank::None};
  Vector<Node> nodes_ GUARDED_BY(mutex_);
  NodeListener* listener_ GUARDED_BY(mutex_) = nullptr;
};

}  // namespace umk::device

// DeviceOpener: how the VFS opens device files without knowing devices. The device registry (kernel/device) implements it.
#pragma once

#include "core/kernel/vfs/open_file.h"

namespace umk::vfs {

class DeviceOpener {
 public:
  /// The open file of a character or block device node; ENXIO when no driver has the number. `path` is where it was opened.
  virtual Result<RefPtr<OpenFile>> open_device(const Caller& caller, RefPtr<Inode> inode, FileType type, DeviceNumber number, const Path& path,
                                               uint32_t flags) = 0;

 protected:
  ~DeviceOpener() = default;
};

}  // namespace umk::vfs

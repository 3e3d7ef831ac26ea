// hostfs: a directory of the host as a filesystem of the guest. `mount -t hostfs none /mnt -o /dir`, `rootfstype=hostfs rootflags=/dir`.
//
// Options, separated by commas: the directory (absolute; "/" when it is not given), `owners=map` (the default: what the user of umk may not set on the host is
// kept beside the files, see owner_record.h) or `owners=host` (all is as the host says, and what it refuses fails).
//
// A guest never leaves the directory: every host call names one component in a directory that is already open, and no symlink is followed by the host.
// Only directories, regular files and symlinks of ordinary filesystems are opened; what the host has mounted of another kind (proc, sysfs...) appears as
// an empty directory. Device nodes, FIFOs and sockets are never opened on the host: they name the guest's own devices, and pipes and sockets of its kernel.
#pragma once

#include "core/fs/hostfs/descriptor.h"
#include "core/kernel/vfs/superblock.h"

namespace umk::hostfs {

/// One a machine; must outlive its mounts.
class Type final : public vfs::FilesystemType {
 public:
  Type();
  std::string_view name() const override { return "hostfs"; }
  Result<RefPtr<vfs::Superblock>> mount(const vfs::MountRequest& request) override;

  /// From now on mounts find their directory below `directory` only, as if it were the root of the host.
  Result<void> confine(std::string_view directory);

  DescriptorCache& descriptors() { return descriptors_; }

 private:
  DescriptorCache descriptors_;
  RefPtr<HostDescriptor> top_;
};

}  // namespace umk::hostfs

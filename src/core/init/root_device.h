// The root filesystem on a disk: which device root= names, and which filesystem is on it.
#pragma once

#include "core/init/machine_start.h"
#include "core/kernel/block/block_devices.h"
#include "core/kernel/vfs/vfs.h"

namespace umk::init {

/// The device that root= means: "/dev/ubda1", "ubda", "/dev/ubd0", "98:1". Null when there is none.
RefPtr<block::BlockDevice> find_root_device(block::BlockDevices& devices, std::string_view name);

/// Mounts it over the first root, which is empty. ENXIO when there is no such device, EINVAL when no filesystem knows what is on it.
Result<void> mount_root_device(vfs::Vfs& vfs, block::BlockDevices& devices, const vfs::Caller& caller, const StartRequest& request);

/// What to tell people when the root could not be mounted.
const char* problem_of_root(const StartRequest& request, int error_code);

/// Leaves filesystems on disks as if they were unmounted, whether they are in use or not: who looks at an image next finds nothing to replay.
void close_filesystems(vfs::Vfs& vfs);

/// All that was written to disks is on the host's afterwards.
void flush_disks(block::BlockDevices& devices);

}  // namespace umk::init

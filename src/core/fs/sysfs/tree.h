// What sysfs contains.
#pragma once

#include "core/fs/sysfs/nodes.h"
#include "core/kernel/device/device_registry.h"

namespace umk {
class Kernel;
}

namespace umk::sysfs {

Result<void> build_tree(Directory& root, Kernel& kernel);

// Character devices, which come and go.
Result<void> add_device(Directory& root, const device::Node& node, device::Uevents& uevents);
void remove_device(Directory& root, const device::Node& node);

// block_tree.cpp: disks and partitions, which come and go, too.
Result<void> add_block_device(Directory& root, block::BlockDevice& device, device::Uevents& uevents);
void remove_block_device(Directory& root, block::BlockDevice& device);

}  // namespace umk::sysfs

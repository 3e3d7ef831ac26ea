// What sysfs contains.
#pragma once

#include "core/fs/sysfs/nodes.h"

namespace umk {
class Kernel;
}

namespace umk::sysfs {

Result<void> build_tree(Directory& root, Kernel& kernel);

// block_tree.cpp: disks and partitions, which come and go.
Result<void> add_block_device(Directory& root, block::BlockDevice& device);
void remove_block_device(Directory& root, block::BlockDevice& device);

}  // namespace umk::sysfs

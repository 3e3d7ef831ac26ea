// What sysfs contains.
#pragma once

#include "core/fs/sysfs/nodes.h"

namespace umk {
class Kernel;
}

namespace umk::sysfs {

Result<void> build_tree(Directory& root, Kernel& kernel);

}  // namespace umk::sysfs

// How sysfs and uevents describe block devices: Documentation/ABI/stable/sysfs-block.
#pragma once

#include "core/base/text.h"
#include "core/kernel/block/block_device.h"

namespace umk::block {

/// Where sysfs shows it, from the root of its tree: "devices/virtual/block/ubda/ubda1".
Result<String> place_of(const BlockDevice& device);
/// NAME=value lines: MAJOR, MINOR, DEVNAME, DEVTYPE, and of a partition PARTN.
void put_properties(TextSink& sink, const BlockDevice& device);

}  // namespace umk::block

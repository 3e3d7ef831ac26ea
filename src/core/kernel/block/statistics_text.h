// The figures of a block device as Linux writes them: iostat(1) reads them. Documentation/admin-guide/iostats.rst, Documentation/block/stat.rst.
#pragma once

#include "core/base/text.h"
#include "core/kernel/block/block_device.h"

namespace umk::block {

/// The seventeen figures, separated by blanks: `width` is that of each, 0 for /proc/diskstats and 8 for /sys/block/ubda/stat.
void put_statistics(TextSink& sink, const BlockDevice& device, unsigned width);

}  // namespace umk::block

// The checksums of ext4: crc32c, and crc16 for group descriptors of filesystems without metadata_csum.
//
// Both are chained: the result of one piece is the start of the next, with no inversion at the end. A filesystem's seed is the crc32c of its UUID
// begun with all ones; what belongs to an inode starts from the seed of that inode.
#pragma once

#include "core/base/bytes.h"

namespace umk::ext4 {

uint32_t crc32c(uint32_t start, ConstBytes bytes);
uint16_t crc16(uint16_t start, ConstBytes bytes);

/// Adds a little-endian number.
uint32_t crc32c_number(uint32_t start, uint32_t number);
uint32_t crc32c_number(uint32_t start, uint64_t number);
uint16_t crc16_number(uint16_t start, uint32_t number);

/// Where the checksums of all that belongs to one inode start: its number and generation added to the filesystem's seed.
inline uint32_t inode_seed(uint32_t filesystem_seed, uint32_t number, uint32_t generation) {
  return crc32c_number(crc32c_number(filesystem_seed, number), generation);
}

}  // namespace umk::ext4

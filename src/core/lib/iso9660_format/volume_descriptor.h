// Volume descriptors: what a volume is and where its root is. ECMA-119, 8; Joliet's in its specification of 1995.
#pragma once

#include "core/lib/iso9660_format/directory_record.h"

namespace umk::iso9660 {

inline constexpr uint32_t kFirstDescriptor = 16;  // sector, from the start of the session
inline constexpr uint32_t kMostDescriptors = 100;

struct VolumeDescriptor {
  enum class Kind { Other, Primary, Joliet, End };
  Kind kind = Kind::Other;
  uint32_t block_size = kSectorBytes;  // 512, 1024 or 2048
  uint32_t block_bits = 11;
  uint64_t blocks = 0;  // of the volume
  DirectoryRecord root;

  /// Of a sector. EINVAL for what is no descriptor; EIO for one that is damaged.
  static Result<VolumeDescriptor> parse(ConstBytes sector);
};

}  // namespace umk::iso9660

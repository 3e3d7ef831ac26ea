// The embedded root filesystem.
#pragma once

#include <cstddef>
#include <vector>

namespace umk::monitor {

/// The embedded cpio archive, unpacked from gzip. Throws std::runtime_error when it is damaged.
std::vector<std::byte> embedded_root_archive();

}  // namespace umk::monitor

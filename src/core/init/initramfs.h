// Unpacks the initial root filesystem.
#pragma once

#include <cstddef>
#include <span>

#include "core/kernel/vfs/vfs.h"

namespace umk::init {

/// Makes what a cpio archive (newc, uncompressed) holds, below the caller's root. The caller is the superuser.
/// A name that exists is replaced, unless both are directories; a missing parent directory is made. EINVAL when the archive is damaged, which the log explains; what came before
/// the damage is there. Other errors are the filesystem's.
Result<void> unpack_archive(vfs::Vfs& vfs, const vfs::Caller& caller, std::span<const std::byte> archive);

}  // namespace umk::init

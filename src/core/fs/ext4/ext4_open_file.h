// An open file or directory of ext4: the calls that ioctl(2) has for it.
#pragma once

#include "core/kernel/vfs/open_file.h"

namespace umk::ext4 {

class OpenFile final : public vfs::InodeFile {
 public:
  using vfs::InodeFile::InodeFile;
  Result<int64_t> ioctl(Task& task, uint32_t request, uint64_t argument) override;
};

}  // namespace umk::ext4

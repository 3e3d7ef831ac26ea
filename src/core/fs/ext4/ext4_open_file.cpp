#include "core/fs/ext4/ext4_open_file.h"

#include "core/fs/ext4/node.h"

namespace umk::ext4 {

Result<int64_t> OpenFile::ioctl(Task& task, uint32_t request, uint64_t argument) { return InodeFile::ioctl(task, request, argument); }

}  // namespace umk::ext4

#include "core/fs/ext4/ext4_open_file.h"

#include "core/fs/ext4/node.h"
#include "core/kernel/task/task.h"

namespace umk::ext4 {

namespace {

// ioctl_fs(2): FS_IOC_GETFLAGS(2const), FS_IOC_SETFLAGS(2const), and the generation number; FITRIM.
constexpr uint32_t kGetFlags = 0x80086601, kSetFlags = 0x40086602, kGetVersion = 0x80087601, kTrim = 0xc0185879;

struct TrimRange {
  uint64_t start, length, minimum;
};

}  // namespace

Result<int64_t> OpenFile::ioctl(Task& task, uint32_t request, uint64_t argument) {
  Node& node = static_cast<Node&>(inode());
  switch (request) {
    // Declared with a long, an int by all who use them.
    case kGetFlags: TRY(UserPtr<uint32_t>(argument).write(node.visible_flags())); return 0;
    case kSetFlags: TRY(node.set_visible_flags(task.credentials(), TRY(UserPtr<uint32_t>(argument).read()))); return 0;
    case kGetVersion: TRY(UserPtr<uint32_t>(argument).write(node.record().generation())); return 0;
    case kTrim: {
      if (!task.credentials().has(Capability::SysAdmin)) return error(EPERM);
      TrimRange range = TRY(UserPtr<TrimRange>(argument).read());
      range.length = TRY(node.volume().trim(range.start, range.length, range.minimum));
      TRY(UserPtr<TrimRange>(argument).write(range));
      return 0;
    }
    default: return InodeFile::ioctl(task, request, argument);
  }
}

}  // namespace umk::ext4

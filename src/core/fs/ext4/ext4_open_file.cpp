#include "core/fs/ext4/ext4_open_file.h"

#include <algorithm>
#include <array>

#include "core/fs/ext4/node.h"
#include "core/kernel/task/task.h"

namespace umk::ext4 {

namespace {

// ioctl_fs(2): FS_IOC_GETFLAGS(2const), FS_IOC_SETFLAGS(2const), and the generation number; FITRIM.
constexpr uint32_t kGetFlags = 0x80086601, kSetFlags = 0x40086602, kGetVersion = 0x80087601, kTrim = 0xc0185879;
// Linux, Documentation/filesystems/ext4: what resize2fs(8) asks for.
constexpr uint32_t kExtendGroup = 0x40086607, kAddGroup = 0x40286608, kResize = 0x40086610;

constexpr uint32_t kGetLabel = 0x81009431, kSetLabel = 0x41009432;
constexpr size_t kLabelField = kLabelSize + 1;  // what Linux copies of the 256 bytes that the calls are declared with

struct TrimRange {
  uint64_t start, length, minimum;
};

struct NewGroupInput {
  uint32_t group, padding;
  uint64_t block_bitmap, inode_bitmap, inode_table;
  uint32_t blocks;
  uint16_t reserved_blocks, unused;
};
static_assert(sizeof(NewGroupInput) == 40);

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
    case kGetLabel: {
      std::array<char, kLabelField> text{};
      const std::array<char, kLabelSize> label = node.volume().label();
      std::copy(label.begin(), label.end(), text.begin());
      TRY((UserPtr<std::array<char, kLabelField>>(argument).write(text)));
      return 0;
    }
    case kSetLabel: {
      if (!task.credentials().has(Capability::SysAdmin)) return error(EPERM);
      const std::array<char, kLabelField> text = TRY((UserPtr<std::array<char, kLabelField>>(argument).read()));
      const std::string_view label(text.data(), text.size());
      TRY(node.volume().set_label(label.substr(0, label.find('\0'))));
      return 0;
    }
    case kResize:
    case kExtendGroup:
    case kAddGroup: {
      if (!task.credentials().has(Capability::SysResource)) return error(EPERM);
      if (request == kResize) {
        TRY(node.volume().grow(TRY(UserPtr<uint64_t>(argument).read())));
      } else if (request == kExtendGroup) {
        TRY(node.volume().grow_last_group(TRY(UserPtr<uint32_t>(argument).read())));
      } else {
        const NewGroupInput group = TRY(UserPtr<NewGroupInput>(argument).read());
        TRY(node.volume().add_group({group.group, group.block_bitmap, group.inode_bitmap, group.inode_table, group.blocks, group.reserved_blocks}));
      }
      return 0;
    }
    default: return InodeFile::ioctl(task, request, argument);
  }
}

}  // namespace umk::ext4

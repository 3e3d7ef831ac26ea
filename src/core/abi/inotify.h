// What inotify(7) exchanges with guests. The bits of events are in kernel/vfs/notify.h.
#pragma once

#include <cstdint>

namespace umk {

/// Followed by `name_length` bytes: the name, padded with NULs to a multiple of this structure's size.
struct KernelInotifyEvent {
  int32_t watch;
  uint32_t mask;
  uint32_t cookie;
  uint32_t name_length;
};
static_assert(sizeof(KernelInotifyEvent) == 16);

namespace inotify_flags {
inline constexpr uint32_t kAllEvents = 0xfff;
inline constexpr uint32_t kQueueOverflow = 0x4000;
inline constexpr uint32_t kOnlyDirectory = 0x01000000, kDontFollow = 0x02000000, kExcludeUnlinked = 0x04000000, kMaskCreate = 0x10000000,
                          kMaskAdd = 0x20000000, kOneShot = 0x80000000;
}  // namespace inotify_flags

}  // namespace umk

// DiskImage: a disk as the monitor hands it over: files of the host that are open, locked and checked, and what their formats say. Plain data: it crosses from
// the monitor into the kernel image. The texts need to live only until the disk is made.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/lib/cow_format/cow_format.h"

namespace umk::ubd {

struct DiskImage {
  uint32_t number = 0;  // ubda is 0
  /// What is read and written: the image, or the copy-on-write file. The disk closes both.
  int fd = -1;
  /// A copy-on-write file's backing file; -1: the image is plain.
  int backing_fd = -1;
  cow_format::Layout layout;

  uint64_t bytes = 0;  // of the disk's contents; its size is that rounded up to sectors
  bool is_read_only = false;
  bool can_discard = true;
  /// The image if it is read only, the backing file if there is one: it is locked, so that nobody writes it.
  bool is_fixed = false;
  std::string_view file, backing_file;  // for messages
  std::string_view serial;              // shown in /sys
};

}  // namespace umk::ubd

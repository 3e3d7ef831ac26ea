// Reads archives of cpio's "newc" format, which initramfs images have, without trusting them.
//
// An entry is a header of 110 ASCII bytes, its name with a zero, padding to a multiple of four, its data, padding again.
// "TRAILER!!!" ends an archive; zeroes and further archives may follow, and each has its own hard links. Entries refer to
// the bytes that the reader was given; nothing is copied or allocated. The first error ends the reading: it says what is
// wrong and where, for whoever made the image.
//
// Linux, Documentation/driver-api/early-userspace/buffer-format.rst; cpio(5).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "core/base/result.h"

namespace umk::cpio {

struct Entry {
  /// Relative to the root, without "/" or "./" before it; empty for the root itself. No part of it is "..".
  std::string_view name;
  /// A file's content, or a symbolic link's target.
  std::span<const std::byte> data;
  size_t position;  // of the header in the input
  uint32_t archive; // counts archives from 0: hard links do not cross them
  uint32_t inode;
  uint32_t mode;    // with the type, S_IFMT
  uint32_t user;
  uint32_t group;
  uint32_t link_count;
  uint32_t modification_time;  // seconds since 1970
  uint32_t device_major;       // of the file system that was archived
  uint32_t device_minor;
  uint32_t special_major;  // of a device file
  uint32_t special_minor;

  /// Other names of the same file may come before or after it. Its data comes with one of them, usually the last.
  bool may_have_links() const;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> input) : input_(input) {}

  /// The next entry, or nothing at the end of the last archive. Fails with EINVAL, and does so again if asked again.
  Result<std::optional<Entry>> next();

  /// After a failure: the reason, and the place of the bytes that are wrong.
  std::string_view reason() const { return reason_; }
  size_t position() const { return position_; }

 private:
  /// Nothing if it is the trailer.
  Result<std::optional<Entry>> read_entry();
  Error fail(size_t position, std::string_view reason);

  std::span<const std::byte> input_;
  size_t position_ = 0;
  uint32_t archive_ = 0;
  bool in_archive_ = false;
  std::string_view reason_;
};

}  // namespace umk::cpio

// Numbers in bytes, and bytes that come one after the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "core/base/make.h"

namespace umk::squashfs {

using Bytes = std::span<std::byte>;
using ConstBytes = std::span<const std::byte>;

/// A little-endian number. The place lies in the bytes.
template <typename T>
inline T get(ConstBytes bytes, size_t offset) {
  CHECK(offset <= bytes.size() && sizeof(T) <= bytes.size() - offset, "a field lies inside of its structure");
  T value;
  memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

/// Unpacked metadata from some place on: tables run through the blocks that they are packed in.
class Stream {
 public:
  /// The next bytes, all of them. EIO where there are none, or for blocks that are damaged.
  virtual Result<void> read(Bytes into) = 0;

  /// The next fields, as the disk has them.
  template <size_t kBytes>
  struct Fields {
    std::byte bytes[kBytes];
    template <typename T>
    T get(size_t offset) const {
      return squashfs::get<T>(ConstBytes(bytes), offset);
    }
  };
  template <size_t kBytes>
  Result<Fields<kBytes>> fields() {
    Fields<kBytes> fields;
    TRY(read(fields.bytes));
    return fields;
  }

 protected:
  ~Stream() = default;
};

}  // namespace umk::squashfs

// Bytes of metadata that come one after the other.
#pragma once

#include "core/base/bytes.h"
#include "core/base/make.h"

namespace umk::squashfs {

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
      return load_field<T>(bytes, offset);
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

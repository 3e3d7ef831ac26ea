// Decompressor: unpacks one whole piece of compressed data from memory to memory, as filesystems and archives store their blocks.
//
// A decompressor owns the tables that its method needs and is used by one thread at a time; one that is kept unpacks piece after piece. Input is not trusted:
// whatever is in it, nothing outside of the two spans is touched, and the work is bounded by their sizes.
//
// Written from the formats' descriptions: RFC 1950 and 1951 (zlib), RFC 8878 (Zstandard), the LZ4 block format, "LZO stream format as understood by Linux'
// LZO decompressor", "The .xz File Format" and the LZMA specification.
#pragma once

#include <memory>

#include "core/base/bytes.h"
#include "core/base/make.h"

namespace umk::decompress {

enum class Method {
  Zlib,  // deflate with zlib's header and checksum
  Lz4,  // one block, without a frame
  Lzo,  // LZO1X, without a header
  Xz,  // one stream with LZMA2, and the x86 branch filter
  Zstd,  // one frame without a dictionary
};

class Decompressor {
 public:
  /// ENOMEM.
  static Result<std::unique_ptr<Decompressor>> create(Method method);
  virtual ~Decompressor() = default;
  Decompressor(const Decompressor&) = delete;
  Decompressor& operator=(const Decompressor&) = delete;

  /// Unpacks all of `from`; returns how many bytes that made. EIO when it is damaged or does not fit; `into` then holds anything.
  virtual Result<size_t> decompress(ConstBytes from, Bytes into) = 0;

 protected:
  Decompressor() = default;
};

/// Adler-32: RFC 1950.
uint32_t adler32(ConstBytes bytes);

}  // namespace umk::decompress

#include "core/lib/decompress/decompressor.h"

#include "core/lib/decompress/methods.h"

namespace umk::decompress {

Result<std::unique_ptr<Decompressor>> Decompressor::create(Method method) {
  switch (method) {
    case Method::Zlib: return make_zlib();
    case Method::Lz4: return make_lz4();
    case Method::Lzo: return make_lzo();
    case Method::Xz: return make_xz();
    case Method::Zstd: return make_zstd();
  }
  return error(EINVAL);
}

}  // namespace umk::decompress

#include "monitor/machine/root_archive.h"

#include <zlib.h>

#include <cstring>
#include <stdexcept>

#include "monitor/machine/embedded.h"

extern "C" const unsigned char umk_root_archive_begin[], umk_root_archive_end[];

namespace umk::monitor {

std::vector<std::byte> embedded_root_archive() {
  const size_t packed_bytes = static_cast<size_t>(umk_root_archive_end - umk_root_archive_begin);
  // gzip ends with the unpacked size, RFC 1952 section 2.3.1.
  uint32_t unpacked_bytes = 0;
  if (packed_bytes >= 18) std::memcpy(&unpacked_bytes, umk_root_archive_begin + packed_bytes - 4, sizeof unpacked_bytes);
  std::vector<std::byte> archive(unpacked_bytes);

  z_stream stream{};
  stream.next_in = const_cast<unsigned char*>(umk_root_archive_begin);
  stream.avail_in = static_cast<uInt>(packed_bytes);
  stream.next_out = reinterpret_cast<unsigned char*>(archive.data());
  stream.avail_out = unpacked_bytes;
  constexpr int kGzip = 16 + MAX_WBITS;
  const bool ok = inflateInit2(&stream, kGzip) == Z_OK && inflate(&stream, Z_FINISH) == Z_STREAM_END && stream.total_out == unpacked_bytes;
  inflateEnd(&stream);
  forget_embedded(umk_root_archive_begin, umk_root_archive_end);
  if (!ok) throw std::runtime_error("umk: the embedded root filesystem is damaged: rebuild umk");
  return archive;
}

}  // namespace umk::monitor

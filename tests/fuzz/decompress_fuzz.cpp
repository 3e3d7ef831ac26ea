// Any bytes as packed data: the first byte chooses the method, the second how much room there is. Nothing is written beyond the room.
#include <algorithm>
#include <vector>

#include "core/lib/decompress/decompressor.h"
#include "fuzz/fuzz.h"

using namespace umk::decompress;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  static constexpr Method kMethods[] = {Method::Zlib, Method::Lz4, Method::Lzo, Method::Xz, Method::Zstd};
  const std::unique_ptr<Decompressor> decompressor = Decompressor::create(kMethods[data[0] % 5]).take();
  std::vector<std::byte> room(size_t{data[1]} * 1024 + 1);
  const umk::ConstBytes packed = std::as_bytes(std::span(data + 2, size - 2));
  const umk::Result<size_t> made = decompressor->decompress(packed, room);
  if (!made.ok()) return 0;
  FUZZ_CHECK(made.value() <= room.size());
  // What was unpacked before makes no difference.
  std::vector<std::byte> again(room.size());
  const umk::Result<size_t> second = decompressor->decompress(packed, again);
  FUZZ_CHECK(second.ok() && second.value() == made.value());
  FUZZ_CHECK(std::equal(room.begin(), room.begin() + static_cast<ptrdiff_t>(made.value()), again.begin()));
  return 0;
}

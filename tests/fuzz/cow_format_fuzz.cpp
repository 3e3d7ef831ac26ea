// Any bytes as the start of a copy-on-write file: what is believed of them is consistent, and a header that can be read can be written again.
#include "core/lib/cow_format/cow_format.h"

#include <array>

#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  namespace cow = umk::cow_format;
  const auto input = std::as_bytes(std::span(data, size));
  const cow::Parsed parsed = cow::parse(input);
  if (parsed.kind == cow::Parsed::Kind::Damaged) FUZZ_CHECK(!parsed.problem.empty());
  if (parsed.kind != cow::Parsed::Kind::Cow) return 0;
  const cow::Layout& layout = parsed.layout;
  FUZZ_CHECK(layout.bitmap_offset >= 280 && layout.data_offset >= layout.bitmap_offset);
  FUZZ_CHECK(layout.usable_bitmap_bytes <= layout.data_offset - layout.bitmap_offset);
  FUZZ_CHECK(layout.sectors == 0 || layout.sectors - 1 <= (UINT64_MAX - layout.data_offset) / layout.sector_bytes);
  FUZZ_CHECK(layout.sectors == 0 || layout.has_bit(layout.sectors - 1) || parsed.header.version < 3);
  if (parsed.header.version != 3 || parsed.header.backing_name.empty()) return 0;
  std::array<std::byte, cow::kHeaderBytes> bytes;
  FUZZ_CHECK(cow::write_header(bytes, parsed.header).ok());
  const cow::Parsed again = cow::parse(bytes);
  FUZZ_CHECK(again.kind == cow::Parsed::Kind::Cow && again.header.backing_name == parsed.header.backing_name);
  FUZZ_CHECK(again.header.backing_bytes == parsed.header.backing_bytes && again.header.backing_time == parsed.header.backing_time);
  return 0;
}

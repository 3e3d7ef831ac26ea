// Any bytes as an archive: it ends, with entries inside the input or with a reason and its place.
#include "core/lib/cpio/cpio_reader.h"
#include "core/lib/cpio/hard_links.h"
#include "fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto input = std::as_bytes(std::span(data, size));
  umk::cpio::Reader reader(input);
  umk::cpio::HardLinks links;
  size_t count = 0;
  for (;;) {
    const auto entry = reader.next();
    if (!entry) {
      FUZZ_CHECK(!reader.reason().empty() && reader.position() <= size);
      return 0;
    }
    if (!entry.value()) return 0;
    FUZZ_CHECK(entry.value()->data.data() >= input.data() && entry.value()->data.data() + entry.value()->data.size() <= input.data() + size);
    FUZZ_CHECK(entry.value()->name.find('\0') == std::string_view::npos && !entry.value()->name.starts_with('/'));
    FUZZ_CHECK(links.first_name(*entry.value()).ok());
    FUZZ_CHECK(++count <= size / 110);
  }
}

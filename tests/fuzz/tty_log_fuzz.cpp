// Any bytes as a log of terminals, in the layout that is guessed and in both: reading ends, never leaves the bytes, and a head that is accepted reads
// the same when it is written again.
#include <algorithm>

#include "core/lib/tty_log_format/tty_log_format.h"
#include "fuzz/fuzz.h"

namespace format = umk::tty_log_format;

namespace {

void check_log(std::span<const std::byte> log, format::Layout layout) {
  const size_t head_bytes = format::head_bytes(layout);
  while (log.size() >= head_bytes) {
    const format::Parsed parsed = format::parse_head(log.first(head_bytes), layout);
    if (parsed.fault) return;
    FUZZ_CHECK(parsed.head.length <= format::kMostData && parsed.head.microseconds < 1'000'000);
    if (layout == format::Layout::Bits32) {
      const auto written = format::write_head(parsed.head);
      FUZZ_CHECK(format::parse_head(written, layout).head == parsed.head);
      FUZZ_CHECK(std::equal(written.begin(), written.end(), log.begin()));
    }
    log = log.subspan(head_bytes);
    if (log.size() < parsed.head.length) return;
    const auto data = log.first(parsed.head.length);
    if (parsed.head.what == format::What::Open) (void)format::parent_of(data);
    if (parsed.head.what == format::What::Exec) {
      std::string_view rest(reinterpret_cast<const char*>(data.data()), data.size());
      size_t bytes = 0;
      while (!rest.empty()) bytes += format::next_argument(rest).size() + 1;
      FUZZ_CHECK(bytes >= data.size() && bytes <= data.size() + 1);
    }
    log = log.subspan(data.size());
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto log = std::as_bytes(std::span(data, size));
  check_log(log, format::guess_layout(log));
  check_log(log, format::Layout::Bits32);
  check_log(log, format::Layout::Bits64);
  return 0;
}

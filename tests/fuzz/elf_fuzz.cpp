// Any bytes as a program file: what is accepted must be consistent, and nothing may crash.
#include "core/base/bits.h"
#include "core/lib/elf/elf_image.h"
#include "core/lib/elf/script.h"
#include "fuzz/fuzz.h"

namespace {

using namespace umk;
using namespace umk::elf;

constexpr uint64_t kUserEnd = 0x7e00'0000'0000;

void check(const ElfImage& image) {
  uint64_t end = 0;
  for (const Segment& segment : image.segments()) {
    FUZZ_CHECK(segment.memory_size > 0 && segment.file_size <= segment.memory_size);
    FUZZ_CHECK(segment.address >= end);
    end = segment.address + segment.memory_size;
    FUZZ_CHECK(end <= kUserEnd && segment.page_end() <= kUserEnd);
    FUZZ_CHECK(segment.page_start() <= segment.file_pages_end() && segment.file_pages_end() <= segment.page_end());
    if (segment.file_size > 0) FUZZ_CHECK(is_aligned(segment.file_pages_offset(), kPageSize));
    if (segment.file_size > 0) FUZZ_CHECK(segment.file_pages_offset() <= INT64_MAX - (segment.file_pages_end() - segment.page_start()));
  }
  FUZZ_CHECK(end > 0 && image.page_start() < image.page_end());
  FUZZ_CHECK(image.program_headers_address() < kUserEnd);
  FUZZ_CHECK(is_aligned(image.alignment(), kPageSize));
  if (image.interpreter()) FUZZ_CHECK(image.interpreter()->size <= 4096);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  if (const auto script = parse_script(bytes)) {
    FUZZ_CHECK(!script.value().interpreter.empty() && script.value().interpreter.size() < kScriptLineBytes);
  }
  for (const Role role : {Role::Program, Role::Interpreter}) {
    const auto summary = parse_file_header(bytes, role);
    if (!summary) continue;
    const FileRange range = summary.value().program_headers;
    if (range.offset > size || range.size > size - range.offset) continue;
    const auto image = ElfImage::create(summary.value(), bytes.subspan(range.offset, range.size), kUserEnd);
    if (!image) continue;
    check(image.value());
    const auto interpreter = image.value().interpreter();
    if (interpreter && interpreter->offset <= size && interpreter->size <= size - interpreter->offset)
      (void)interpreter_path(bytes.subspan(interpreter->offset, interpreter->size)).ok();
  }
  return 0;
}

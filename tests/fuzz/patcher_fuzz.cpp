// Any bytes as a program file: every `syscall` pair in its code is planned, and each plan must keep its promises.
#include <algorithm>
#include <cstring>

#include "engine/patcher/file_site.h"
#include "engine/patcher/trap_bytes.h"
#include "engine/patcher/write_order.h"
#include "fuzz/fuzz.h"

using namespace umk::patcher;

namespace {

constexpr int kMaxSites = 16;

// What a plan promises, whatever the file said.
void check(const PatchPlan& plan) {
  FUZZ_CHECK(plan.window.size() >= 5 && plan.window.size() == plan.place.window_size());
  FUZZ_CHECK(plan.trampoline.size() == plan.place.trampoline_size());
  FUZZ_CHECK(!has_protection_key_write(plan.trampoline) && !has_protection_key_write(plan.window));
  std::vector<uint8_t> written(plan.window.size());
  for (const WriteStep& step : write_order(plan))
    std::ranges::copy(step.bytes, written.begin() + static_cast<ptrdiff_t>(step.address - plan.place.window_start));
  FUZZ_CHECK(written == plan.window);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::span<const uint8_t> input(data, size);
  const auto file = ElfFile::open([&](uint64_t offset, std::span<uint8_t> into) {
    if (offset > input.size() || into.size() > input.size() - offset) return false;
    std::memcpy(into.data(), input.data() + offset, into.size());
    return true;
  });
  if (!file) return 0;

  int sites = 0;
  for (size_t offset = 0; offset + 1 < size && sites < kMaxSites; ++offset) {
    if (data[offset] != 0x0f || data[offset + 1] != 0x05) continue;
    const auto site = file->code_address(offset);
    if (!site) continue;
    ++sites;
    const uint64_t companion = file->segments().front().addresses.begin - 0x40000;
    const AddressRange room = {companion + 8, companion + 0x1000};
    const auto planned =
        plan_patch_in_file(*file, {.site = *site, .trapped_rax = 39, .literal = companion, .room = {&room, 1}, .taken = {}});
    if (const PatchPlan* plan = std::get_if<PatchPlan>(&planned)) check(*plan);
  }
  return 0;
}

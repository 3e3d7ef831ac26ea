#include "engine/patcher/file_site.h"

#include <algorithm>
#include <vector>

namespace umk::patcher {
namespace {

/// Bytes read around a site, and before a function: enough for a constant load with its prefix, and for the scan of joints.
constexpr uint64_t kMargin = 16;

}  // namespace

std::variant<PatchPlan, Refusal> plan_patch_in_file(const ElfFile& file, const FileSite& site) {
  const Segment* const segment = file.code_at(site.site);
  if (!segment) return Refusal{RefusalReason::OutsideText};

  const AddressReader reader = [&](uint64_t address, std::span<uint8_t> bytes) { return file.read(address, bytes); };
  std::optional<FunctionRange> function = find_function(file.unwind_tables(), reader, site.site);
  if (function && !segment->addresses.contains(function->code)) return Refusal{RefusalReason::OutsideText};
  if (function && function->code.size() > kMaxFunction) return Refusal{RefusalReason::FunctionTooLarge};

  AddressRange wanted = {site.site, site.site + 2};
  if (function) {
    // What is far away, or not of this segment, is no padding.
    if (function->code.begin - function->padding_begin > kMaxPadding || !segment->addresses.contains(function->padding_begin)) {
      function->padding_begin = function->code.begin;
    }
    wanted = {function->padding_begin, function->code.end};
  }
  const AddressRange around = {
      wanted.begin - std::min(kMargin, wanted.begin - segment->addresses.begin),
      wanted.end + std::min(kMargin, segment->addresses.end - std::min(wanted.end, segment->addresses.end)),
  };
  std::vector<uint8_t> bytes(around.size());
  if (!file.read(around.begin, bytes)) return Refusal{RefusalReason::OutsideText};
  return plan_patch({
      .text = {bytes, around.begin},
      .site = site.site,
      .trapped_rax = site.trapped_rax,
      .function = function,
      .literal = site.literal,
      .room = site.room,
      .taken = site.taken,
      .answers = site.answers,
  });
}

}  // namespace umk::patcher

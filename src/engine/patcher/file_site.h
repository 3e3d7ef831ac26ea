// A patch plan for a site of an ELF file: finds the function, reads its original bytes, and plans.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <variant>

#include "engine/patcher/elf_file.h"
#include "engine/patcher/patch_plan.h"

namespace umk::patcher {

/// The fields mean what they mean in SiteRequest.
struct FileSite {
  uint64_t site = 0;
  std::optional<uint64_t> trapped_rax;
  uint64_t literal = 0;
  std::span<const AddressRange> room;
  std::span<const AddressRange> taken;
  std::span<const IdentityAnswer> answers = {};
};

/// Plans the patch of `site.site` in `file`, whose reader must give the file's own bytes, not those of a patched copy.
std::variant<PatchPlan, Refusal> plan_patch_in_file(const ElfFile& file, const FileSite& site);

}  // namespace umk::patcher

// PatchWorker: the monitor's thread that turns call sites that trapped into jumps.
//
// A site that traps is patched at once. If it is the first of its text, the rest of that text is looked through then: whatever must be a call
// site, because the code before it loads a call's number, is patched before it can trap, and so are `cpuid` instructions whose answers never
// change (engine/patcher/identity_tail.h). A text is read once for that, and a large one not at all.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "engine/image/boot_protocol.h"
#include "engine/patcher/address_range.h"
#include "engine/patcher/elf_file.h"
#include "engine/patcher/identity_tail.h"
#include "engine/patcher/patch_plan.h"
#include "monitor/machine/window_writer.h"

namespace umk::monitor {

class PatchWorker {
 public:
  explicit PatchWorker(const engine::ImageHeader& image) : image_(image) {}

  /// Serves jobs for ever; on an attached thread.
  void run();

 private:
  /// What was written into one text copy so far. Addresses count as the ELF file does.
  struct TextState {
    std::vector<patcher::AddressRange> windows;
    std::vector<patcher::AddressRange> trampolines;
    /// What the trampolines leave of the companion extent, in order; the first job of the text fills it in.
    std::vector<patcher::AddressRange> room;
    bool is_looked_through = false;
  };
  struct OpenText;

  void serve(const engine::PatchJob& job);
  std::optional<patcher::PatchPlan> plan(const OpenText& text, uint64_t site, std::optional<uint64_t> trapped_rax,
                                         std::span<const patcher::IdentityAnswer> answers);
  /// Writes the trampoline, lets the kernel know of the window, and begins to write that.
  void apply(const OpenText& text, const patcher::PatchPlan& plan);
  /// Patches what the text holds beside the site that trapped; returns how many sites.
  uint64_t look_through(const OpenText& text);
  bool read_file(uint64_t text_id, uint64_t offset, std::span<uint8_t> bytes);

  const engine::ImageHeader& image_;
  std::map<uint64_t, TextState> texts_;
  WindowWriter writer_;
  std::optional<std::vector<patcher::IdentityAnswer>> answers_;
  // Blocks of the file of the last job: unwind tables are read many times.
  uint64_t cached_text_id_ = 0;
  std::map<uint64_t, std::vector<uint8_t>> blocks_;
};

}  // namespace umk::monitor

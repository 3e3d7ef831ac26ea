// PatchedText: one text copy as the patcher sees it: its file, what was patched in it so far, and how far it was looked through.
//
// Life: made with the first site of the text that traps, dropped when the kernel has let go of the text. All addresses count as the ELF file
// does. Used by the patcher's thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "engine/image/patch_protocol.h"
#include "engine/patcher/address_range.h"
#include "engine/patcher/elf_file.h"
#include "engine/patcher/identity_tail.h"
#include "engine/patcher/patch_plan.h"
#include "monitor/machine/window_writer.h"

namespace umk::monitor {

class PatchedText {
 public:
  using Clock = std::chrono::steady_clock;

  /// Looking through the C library takes 10 ms. A file made for that could have one great function, which is decoded for each of its sites.
  static constexpr std::chrono::milliseconds kMostLooking{2000};

  /// `job` is one of its sites; only what it says of the text matters.
  PatchedText(const engine::PatchFunctions& kernel, const engine::PatchJob& job, Clock::duration most_looking = kMostLooking)
      : kernel_(kernel), job_(job), may_look_for_(most_looking) {}
  PatchedText(const PatchedText&) = delete;
  PatchedText& operator=(const PatchedText&) = delete;

  /// Patches the site that trapped, unless it was patched since. False when it cannot be.
  bool patch_site(uint64_t file_offset, uint64_t trapped_rax, WindowWriter& writer);

  /// Goes on to the next place that looks like a site and patches it if it is one for sure; false when the whole text has been looked at, or has
  /// taken too long.
  bool look_further(std::span<const patcher::IdentityAnswer> answers, WindowWriter& writer);

  /// Sites patched since the last time that this was asked.
  uint64_t take_patched();
  /// Forgets the file's bytes: the kernel lets go of the file now.
  void close_file() { blocks_.clear(); }

 private:
  enum class Stage { Sites, UnprovedQuestions, Done };

  void look_at_next(std::span<const patcher::IdentityAnswer> answers, WindowWriter& writer);

  bool open_file(uint64_t site_offset);
  bool read_file(uint64_t offset, std::span<uint8_t> bytes);
  uint64_t companion() const { return address_ - job_.trampoline_distance; }
  std::optional<patcher::PatchPlan> plan(uint64_t site, std::optional<uint64_t> trapped_rax, std::span<const patcher::IdentityAnswer> answers) const;
  bool is_as_planned(const patcher::PatchPlan& plan) const;
  /// Writes the trampoline, lets the kernel know of the window, and begins to write that.
  void apply(const patcher::PatchPlan& plan, WindowWriter& writer);
  bool has_room() const;
  bool patch_candidate(uint64_t site, std::span<const patcher::IdentityAnswer> answers, WindowWriter& writer);

  const engine::PatchFunctions& kernel_;
  const engine::PatchJob job_;
  std::optional<patcher::ElfFile> file_;
  /// Blocks of the file: unwind tables are read many times.
  std::map<uint64_t, std::vector<uint8_t>> blocks_;
  /// Of the text's first byte.
  uint64_t address_ = 0;

  std::set<uint64_t> sites_;
  std::vector<patcher::AddressRange> windows_;
  std::vector<patcher::AddressRange> trampolines_;
  /// What the trampolines leave of the companion extent, in order.
  std::vector<patcher::AddressRange> room_;
  uint64_t patched_ = 0;

  Stage stage_ = Stage::Sites;
  Clock::duration may_look_for_;
  uint64_t looked_at_ = 0;  // bytes
  uint64_t used_by_looking_ = 0;
  /// `cpuid` instructions whose leaf is loaded and has a lasting answer, and those whose leaf is not known.
  std::vector<uint64_t> proved_, unproved_;
  size_t next_unproved_ = 0;
};

}  // namespace umk::monitor

#include "engine/patcher/patch_plan.h"

#include <algorithm>
#include <array>
#include <limits>
#include <utility>

#include "engine/patcher/trap_bytes.h"

namespace umk::patcher {
namespace {

constexpr uint64_t kSyscallSize = 2;
constexpr size_t kJumpSize = 5;
constexpr size_t kShortJumpSize = 2;
constexpr uint8_t kInt3 = 0xcc;
constexpr uint64_t kSysRtSigreturn = 15;
/// Where a trampoline that may lie anywhere begins: it is then one fetch of the processor away from its first instruction.
constexpr uint64_t kTrampolineAlignment = 16;
/// Places tried for one window: every one in 256 KiB of room.
constexpr uint64_t kMaxPlaces = uint64_t{1} << 18;

// The signed distance of two addresses, if an instruction can hold it.
std::optional<int32_t> displacement(uint64_t from, uint64_t to) {
  const auto distance = static_cast<int64_t>(to - from);
  if (distance < std::numeric_limits<int32_t>::min() || distance > std::numeric_limits<int32_t>::max()) return std::nullopt;
  return static_cast<int32_t>(distance);
}

int32_t load32(const uint8_t* from) {
  uint32_t value = 0;
  for (unsigned i = 0; i < 4; ++i) value |= static_cast<uint32_t>(from[i]) << (8 * i);
  return static_cast<int32_t>(value);
}

void store32(uint8_t* to, int32_t value) {
  for (unsigned i = 0; i < 4; ++i) to[i] = static_cast<uint8_t>(static_cast<uint32_t>(value) >> (8 * i));
}

bool is_restorer(const SiteRequest& request) {
  if (request.function && request.function->is_signal_frame) return true;
  if (request.trapped_rax == kSysRtSigreturn) return true;
  constexpr std::array<uint8_t, 7> kWide = {0x48, 0xc7, 0xc0, kSysRtSigreturn, 0, 0, 0};
  constexpr std::array<uint8_t, 5> kNarrow = {0xb8, kSysRtSigreturn, 0, 0, 0};
  const auto ends_with = [&](std::span<const uint8_t> load) {
    const auto before = request.text.slice({request.site - load.size(), request.site});
    return before && std::ranges::equal(*before, load);
  };
  return ends_with(kWide) || ends_with(kNarrow);
}

std::variant<CodeBefore, Refusal> read_code(const SiteRequest& request) {
  if (request.function) return read_code_before(request.text, *request.function, request.site);
  if (request.trapped_rax) return read_constant_load_before(request.text, request.site, *request.trapped_rax);
  return Refusal{RefusalReason::NoFunction};
}

/// One choice of window for a site, and the search for a place for its trampoline.
class Candidate {
 public:
  /// The window is `moved`, the last instructions before the site.
  Candidate(const SiteRequest& request, const CodeBefore& code, std::span<const MovableInstruction> moved)
      : Candidate(request, code, moved, moved, request.site) {}
  /// The window is that of a branch.
  Candidate(const SiteRequest& request, const CodeBefore& code, const BranchToRun& branch)
      : Candidate(request, code, branch.window, behind(code.run, branch.target), branch.window.back().end()) {
    is_of_branch_ = true;
  }

  /// Long enough, and no more than a trampoline can do.
  bool is_possible() const { return is_possible_; }
  AddressRange range() const { return {start_, end_}; }
  size_t size() const { return range().size(); }
  /// A boundary lies inside the jump, so that the place of the trampoline matters.
  bool is_torn() const { return is_torn_; }
  /// A direct branch will trap.
  bool is_entered() const { return is_entered_; }
  int rank() const { return (is_of_branch_ ? 4 : 0) + (is_entered_ ? 2 : 0) + (is_torn_ ? 1 : 0); }

  /// Finds the first place in the room that will do.
  std::variant<PatchPlan, Refusal> place() const {
    const uint64_t needed = placed_at(0).trampoline_size();
    uint64_t budget = kMaxPlaces;
    std::vector<uint8_t> window = empty_window();
    const uint64_t step = is_torn_ ? 1 : kTrampolineAlignment;
    bool in_reach = false;
    bool found_room = false;

    for (const AddressRange& room : request_->room) {
      const uint64_t first = -room.begin & (step - 1);
      for (uint64_t offset = first; offset < room.size() && room.size() - offset >= needed; offset += step) {
        const uint64_t address = room.begin + offset;
        if (budget == 0) return Refusal{RefusalReason::NoRoom};
        --budget;
        found_room = true;

        const auto distance = displacement(start_ + kJumpSize, address);
        if (!distance) continue;
        store32(&window[1], *distance);
        if (!boundaries_trap(window)) {
          in_reach = true;
          continue;
        }
        auto trampoline = trampoline_bytes(address);
        if (!trampoline) continue;
        in_reach = true;
        if (opens_kernel_memory(window, *trampoline)) continue;
        return plan(address, std::move(window), std::move(*trampoline));
      }
    }
    return Refusal{found_room && !in_reach ? RefusalReason::OutOfReach : RefusalReason::NoRoom};
  }

 private:
  Candidate(const SiteRequest& request, const CodeBefore& code, std::span<const MovableInstruction> window,
            std::span<const MovableInstruction> moved, uint64_t end)
      : request_(&request), rax_(code.rax), window_(window), moved_(moved), start_(window.front().address), end_(end) {
    if (!request.answers.empty()) identity_bytes_ = identity_tail(request.answers, rax_, 0, 0).size();
    for (const MovableInstruction& instruction : moved_) {
      if (instruction.short_jump_target == 0) continue;
      is_possible_ = is_possible_ && branch_target_ == 0 && identity_bytes_ == 0;
      branch_target_ = instruction.short_jump_target;
    }
    bool only_nops = true;
    for (const MovableInstruction& instruction : window_) {
      const uint64_t offset = instruction.address - start_;
      if (offset != 0) {
        const bool led_back = instruction.is_entered && only_nops && offset >= kJumpSize && instruction.length >= kShortJumpSize;
        if (led_back) {
          led_back_.push_back(offset);
        } else {
          is_torn_ = is_torn_ || offset < kJumpSize;
          jump_end_is_boundary_ = jump_end_is_boundary_ || offset == kJumpSize;
          is_entered_ = is_entered_ || instruction.is_entered;
          // Every call of the function would trap where now only the `syscall` does; and it may have other paths.
          is_possible_ = is_possible_ && !(request.function && instruction.address == request.function->code.begin);
        }
        if (led_back && offset == kJumpSize) jump_end_is_boundary_ = true;
      }
      only_nops = only_nops && instruction.is_nop;
    }
    is_possible_ = is_possible_ && size() >= kJumpSize;
  }

  static std::span<const MovableInstruction> behind(std::span<const MovableInstruction> run, uint64_t address) {
    const auto first = std::ranges::find(run, address, &MovableInstruction::address);
    return run.subspan(static_cast<size_t>(first - run.begin()));
  }

  PatchedSite placed_at(uint64_t address) const {
    return {.window_start = start_,
            .window_end = end_,
            .moved_start = moved_.front().address,
            .site = request_->site,
            .trampoline = address,
            .branch_target = branch_target_,
            .identity_tail = identity_bytes_};
  }

  // The jump without its displacement, and what fills the rest.
  std::vector<uint8_t> empty_window() const {
    std::vector<uint8_t> bytes(size(), kInt3);
    bytes[0] = 0xe9;
    // A trampoline below its text gives a displacement that ends in ff, and "ff ff" is an invalid instruction.
    if (is_torn_ && !jump_end_is_boundary_ && bytes.size() > kJumpSize) bytes[kJumpSize] = 0xff;
    for (const uint64_t offset : led_back_) {
      bytes[offset] = 0xeb;
      bytes[offset + 1] = static_cast<uint8_t>(-(offset + kShortJumpSize));
    }
    return bytes;
  }

  bool boundaries_trap(std::span<const uint8_t> window) const {
    return std::ranges::all_of(window_.subspan(1), [&](const MovableInstruction& instruction) {
      const uint64_t offset = instruction.address - start_;
      return std::ranges::find(led_back_, offset) != led_back_.end() || traps_at_once(window, offset);
    });
  }

  // A copy of the window, whose branch goes to the moved instructions, and a jump to what is behind the window.
  std::optional<std::vector<uint8_t>> lead_bytes(uint64_t address) const {
    const auto original = request_->text.slice(range());
    if (!original) return std::nullopt;
    std::vector<uint8_t> bytes(original->begin(), original->end());
    const uint8_t branch_size = window_.front().length;
    const uint64_t distance = bytes.size() + kTrampolineBranch - branch_size;
    if (branch_size == kShortJumpSize) {
      bytes[1] = static_cast<uint8_t>(distance);
    } else {
      store32(&bytes[1], static_cast<int32_t>(distance));
    }
    const auto to_end = displacement(address + bytes.size() + kJumpSize, end_);
    if (!to_end) return std::nullopt;
    bytes.insert(bytes.end(), {0xe9, 0, 0, 0, 0, kInt3});
    store32(&bytes[bytes.size() - kTrampolineBranch + 1], *to_end);
    return bytes;
  }

  std::optional<std::vector<uint8_t>> trampoline_bytes(uint64_t address) const {
    std::vector<uint8_t> bytes;
    if (is_of_branch_) {
      auto lead = lead_bytes(address);
      if (!lead) return std::nullopt;
      bytes = std::move(*lead);
    }
    const uint64_t moved_start = moved_.front().address;
    const size_t moved_offset = bytes.size();
    const auto original = request_->text.slice({moved_start, request_->site});
    if (!original) return std::nullopt;
    bytes.insert(bytes.end(), original->begin(), original->end());
    for (const MovableInstruction& instruction : moved_) {
      const uint64_t end = instruction.end();
      uint8_t* const copy = &bytes[moved_offset + (instruction.address - moved_start)];
      if (instruction.short_jump_target != 0) copy[instruction.length - 1] = static_cast<uint8_t>(request_->site + kTrampolineTail - end);
      if (instruction.displacement_offset == 0) continue;
      uint8_t* const field = copy + instruction.displacement_offset;
      const auto moved = displacement(end + (address + moved_offset - moved_start), end + static_cast<uint64_t>(int64_t{load32(field)}));
      if (!moved) return std::nullopt;
      store32(field, *moved);
    }

    const size_t tail = bytes.size();
    if (identity_bytes_ != 0) {
      const std::vector<uint8_t> answers = identity_tail(request_->answers, rax_, address + tail, request_->site);
      if (answers.empty()) return std::nullopt;
      bytes.insert(bytes.end(), answers.begin(), answers.end());
      return bytes;
    }
    const auto to_return = displacement(address + tail + 7, request_->site + kSyscallSize);
    const auto to_literal = displacement(address + tail + 13, request_->literal);
    if (!to_return || !to_literal) return std::nullopt;
    constexpr std::array<uint8_t, kTrampolineTail> kTail = {0x48, 0x8d, 0x0d, 0, 0, 0, 0, 0xff, 0x25, 0, 0, 0, 0, kInt3};
    bytes.insert(bytes.end(), kTail.begin(), kTail.end());
    store32(&bytes[tail + 3], *to_return);
    store32(&bytes[tail + 9], *to_literal);
    if (branch_target_ == 0) return bytes;

    const size_t branch = bytes.size();
    const auto to_target = displacement(address + branch + kJumpSize, branch_target_);
    if (!to_target) return std::nullopt;
    bytes.insert(bytes.end(), {0xe9, 0, 0, 0, 0, kInt3});
    store32(&bytes[branch + 1], *to_target);
    return bytes;
  }

  // Such bytes in the original text are its scanner's affair; here it must not be a patch that makes or moves one. Before a
  // trampoline stands the int3 of another one, or nothing yet, which is int3 too.
  bool opens_kernel_memory(std::span<const uint8_t> window, std::span<const uint8_t> trampoline) const {
    if (has_protection_key_write(trampoline)) return true;
    constexpr uint64_t kJoint = 2;
    const auto before = request_->text.slice({start_ - kJoint, start_});
    const auto after = request_->text.slice({end_, end_ + kJoint});
    std::vector<uint8_t> joined;
    if (before) joined.insert(joined.end(), before->begin(), before->end());
    joined.insert(joined.end(), window.begin(), window.end());
    if (after) joined.insert(joined.end(), after->begin(), after->end());
    return has_protection_key_write(joined);
  }

  PatchPlan plan(uint64_t address, std::vector<uint8_t> window, std::vector<uint8_t> trampoline) const {
    PatchPlan result;
    result.place = placed_at(address);
    result.rax = rax_;
    result.is_entered = is_entered_;
    result.window = std::move(window);
    result.trampoline = std::move(trampoline);
    for (const MovableInstruction& instruction : window_) result.boundaries.push_back(instruction.address);
    return result;
  }

  const SiteRequest* request_;
  std::optional<uint64_t> rax_;
  /// The size of the tail at a `cpuid`; 0 at a `syscall`.
  uint64_t identity_bytes_ = 0;
  std::span<const MovableInstruction> window_;
  /// What the trampoline executes before the call: the same, but for the window of a branch.
  std::span<const MovableInstruction> moved_;
  uint64_t start_;
  uint64_t end_;
  uint64_t branch_target_ = 0;
  /// Offsets that get a short jump back to the start.
  std::vector<uint64_t> led_back_;
  bool is_possible_ = true;
  bool is_of_branch_ = false;
  bool is_entered_ = false;
  bool is_torn_ = false;
  bool jump_end_is_boundary_ = false;
};

bool rax_is_plausible(const SiteRequest& request, const CodeBefore& code) {
  return !code.rax || !request.trapped_rax || *code.rax == *request.trapped_rax;
}

}  // namespace

std::variant<PatchPlan, Refusal> plan_patch(const SiteRequest& request) {
  const auto instruction = request.text.slice({request.site, request.site + kSyscallSize});
  if (!instruction) return Refusal{RefusalReason::OutsideText};
  const uint8_t wanted = request.answers.empty() ? 0x05 : 0xa2;
  if ((*instruction)[0] != 0x0f || (*instruction)[1] != wanted) return Refusal{RefusalReason::NotASyscall};
  if (request.answers.empty() && is_restorer(request)) return Refusal{RefusalReason::Restorer};

  const auto read = read_code(request);
  if (const Refusal* refusal = std::get_if<Refusal>(&read)) return *refusal;
  const CodeBefore& code = std::get<CodeBefore>(read);
  if (!rax_is_plausible(request, code)) return Refusal{RefusalReason::UnexpectedRax};

  std::vector<Candidate> candidates;
  for (size_t count = 1; count <= code.run.size(); ++count) {
    Candidate candidate(request, code, std::span(code.run).last(count));
    if (candidate.is_possible()) candidates.push_back(std::move(candidate));
  }
  for (const BranchToRun& branch : code.branches) {
    Candidate candidate(request, code, branch);
    if (candidate.is_possible()) candidates.push_back(std::move(candidate));
  }
  if (candidates.empty()) return Refusal{code.limit};

  std::erase_if(candidates, [&](const Candidate& candidate) {
    return std::ranges::any_of(request.taken, [&](const AddressRange& taken) { return taken.overlaps(candidate.range()); });
  });
  if (candidates.empty()) return Refusal{RefusalReason::Taken};

  // They are in order of size already.
  std::ranges::stable_sort(candidates, {}, &Candidate::rank);
  Refusal last{RefusalReason::NoRoom};
  for (const Candidate& candidate : candidates) {
    auto placed = candidate.place();
    if (std::holds_alternative<PatchPlan>(placed)) return placed;
    last = std::get<Refusal>(placed);
  }
  return last;
}

}  // namespace umk::patcher

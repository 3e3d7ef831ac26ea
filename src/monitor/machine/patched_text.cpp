#include "monitor/machine/patched_text.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "engine/patcher/file_site.h"

namespace umk::monitor {

namespace {

constexpr uint64_t kBlockBytes = 64 * 1024;
/// The first slot of every companion extent holds the gate's address.
constexpr uint64_t kLiteralBytes = 64;
constexpr uint8_t kTrapByte = 0xcc;
/// Larger texts are patched site by site.
constexpr uint64_t kLookThroughBytes = uint64_t{8} << 20;
/// Room that is left for sites that trap later.
constexpr uint64_t kSpareBytes = 64 * 1024;

/// Takes `used`, which lies in one of the ranges, out of `room`.
void take_out(std::vector<patcher::AddressRange>& room, patcher::AddressRange used) {
  const auto whole = std::find_if(room.begin(), room.end(), [&](const auto& range) { return range.contains(used); });
  const patcher::AddressRange before = {whole->begin, used.begin}, after = {used.end, whole->end};
  auto at = room.erase(whole);
  if (after.size() != 0) at = room.insert(at, after);
  if (before.size() != 0) room.insert(at, before);
}

/// The number is one of a call. Two bytes that look like a `syscall` may be data, but not behind such a load.
bool is_call(const patcher::PatchPlan& plan) {
  constexpr uint64_t kNumbers = 1024;
  constexpr uint64_t kSysRtSigreturn = 15;
  return plan.rax && *plan.rax < kNumbers && *plan.rax != kSysRtSigreturn;
}

bool is_question(const patcher::PatchPlan& plan, std::span<const patcher::IdentityAnswer> answers) {
  return plan.rax && std::any_of(answers.begin(), answers.end(), [&](const auto& answer) { return answer.leaf == *plan.rax; });
}

}  // namespace

bool PatchedText::open_file(uint64_t site_offset) {
  auto file = patcher::ElfFile::open([this](uint64_t offset, std::span<uint8_t> bytes) { return read_file(offset, bytes); });
  // A segment need not begin where its first page does: its first byte may have no address.
  const auto site = file ? file->code_address(site_offset) : std::nullopt;
  if (!site) return false;
  address_ = *site - (site_offset - job_.text_file_offset);
  file_ = std::move(file);
  room_ = {{companion() + kLiteralBytes, companion() + job_.trampoline_bytes}};
  return true;
}

bool PatchedText::read_file(uint64_t offset, std::span<uint8_t> bytes) {
  while (!bytes.empty()) {
    const uint64_t block = offset / kBlockBytes;
    auto found = blocks_.find(block);
    if (found == blocks_.end()) {
      std::vector<uint8_t> content(kBlockBytes);
      content.resize(kernel_.read_file(job_.text_id, block * kBlockBytes, content.data(), kBlockBytes));
      found = blocks_.emplace(block, std::move(content)).first;
    }
    const uint64_t start = offset % kBlockBytes;
    if (start >= found->second.size()) return false;
    const size_t count = std::min<size_t>(bytes.size(), found->second.size() - start);
    std::memcpy(bytes.data(), found->second.data() + start, count);
    bytes = bytes.subspan(count);
    offset += count;
  }
  return true;
}

bool PatchedText::patch_site(uint64_t file_offset, uint64_t trapped_rax, WindowWriter& writer) {
  if (!file_ && !open_file(file_offset)) return false;
  const auto site = file_->code_address(file_offset);
  if (!site) return false;
  // A site may have trapped once more before its window was written.
  if (sites_.contains(*site)) return true;
  const auto planned = plan(*site, trapped_rax, {});
  if (!planned || !is_as_planned(*planned)) return false;
  apply(*planned, writer);
  return true;
}

std::optional<patcher::PatchPlan> PatchedText::plan(uint64_t site, std::optional<uint64_t> trapped_rax,
                                                    std::span<const patcher::IdentityAnswer> answers) const {
  auto planned = patcher::plan_patch_in_file(
      *file_, {.site = site, .trapped_rax = trapped_rax, .literal = companion(), .room = room_, .taken = windows_, .answers = answers});
  if (auto* plan = std::get_if<patcher::PatchPlan>(&planned)) return std::move(*plan);
  return std::nullopt;
}

// A library may be written while it is mapped: its text copy has the old bytes then, and the plan was made from the new ones. And the text
// may be only a piece of the segment that the plan was made from.
bool PatchedText::is_as_planned(const patcher::PatchPlan& plan) const {
  const auto is_same = [&](uint64_t begin, uint64_t end) {
    if (!patcher::AddressRange{address_, address_ + job_.text_bytes}.contains(patcher::AddressRange{begin, end})) return false;
    std::vector<uint8_t> bytes(end - begin);
    return file_->read(begin, bytes) && std::memcmp(bytes.data(), job_.text + (begin - address_), bytes.size()) == 0;
  };
  return is_same(plan.place.window_start, plan.place.window_end) && is_same(plan.place.moved_start, plan.place.site);
}

void PatchedText::apply(const patcher::PatchPlan& plan, WindowWriter& writer) {
  std::memcpy(job_.trampolines, &job_.gate_address, sizeof job_.gate_address);
  const uint64_t trampoline_offset = plan.place.trampoline - companion();
  // The page around the trampoline traps wherever no trampoline is.
  const uint64_t first_page = trampoline_offset & ~uint64_t{4095};
  const uint64_t end = (trampoline_offset + plan.trampoline.size() + 4095) & ~uint64_t{4095};
  for (uint64_t page = first_page; page < end; page += 4096) {
    if (std::any_of(trampolines_.begin(), trampolines_.end(),
                    [&](const auto& used) { return used.begin - companion() < page + 4096 && used.end - companion() > page; }))
      continue;
    const uint64_t start = page == 0 ? kLiteralBytes : page;
    std::memset(job_.trampolines + start, kTrapByte, page + 4096 - start);
  }
  std::memcpy(job_.trampolines + trampoline_offset, plan.trampoline.data(), plan.trampoline.size());
  trampolines_.push_back(plan.trampoline_range());
  take_out(room_, plan.trampoline_range());
  windows_.push_back(plan.window_range());
  sites_.insert(plan.place.site);
  ++patched_;
  std::atomic_thread_fence(std::memory_order_seq_cst);

  auto from_text = [&](uint64_t address) { return static_cast<int64_t>(address - address_); };
  const engine::PatchOutcome outcome{.window_start = from_text(plan.place.window_start),
                                     .window_end = from_text(plan.place.window_end),
                                     .moved_start = from_text(plan.place.moved_start),
                                     .site = from_text(plan.place.site),
                                     .trampoline = from_text(plan.place.trampoline),
                                     .branch_target = plan.place.branch_target == 0 ? 0 : from_text(plan.place.branch_target),
                                     .identity_tail = plan.place.identity_tail};
  kernel_.announce(job_.text_id, &outcome);
  writer.begin(reinterpret_cast<uint8_t*>(job_.text), address_, plan);
}

bool PatchedText::has_room() const { return used_by_looking_ + kSpareBytes < job_.trampoline_bytes; }

bool PatchedText::look_further(std::span<const patcher::IdentityAnswer> answers, WindowWriter& writer) {
  const Clock::time_point begin = Clock::now();
  if (stage_ != Stage::Done) look_at_next(answers, writer);
  may_look_for_ -= Clock::now() - begin;
  if (may_look_for_ < Clock::duration::zero()) stage_ = Stage::Done;
  return stage_ != Stage::Done;
}

void PatchedText::look_at_next(std::span<const patcher::IdentityAnswer> answers, WindowWriter& writer) {
  if (stage_ == Stage::Sites) {
    // The copy is the file's bytes but for what was patched already, and a patch leaves the instruction itself.
    const auto* bytes = reinterpret_cast<const uint8_t*>(job_.text);
    const uint64_t end = job_.text_bytes;
    bool found = false;
    if (end <= kLookThroughBytes && has_room() && file_) {
      while (!found && looked_at_ + 1 < end) {
        const void* const next = std::memchr(bytes + looked_at_, 0x0f, end - 1 - looked_at_);
        if (!next) break;
        looked_at_ = static_cast<uint64_t>(static_cast<const uint8_t*>(next) - bytes) + 1;
        found = patch_candidate(address_ + looked_at_ - 1, answers, writer);
      }
    }
    if (!found) stage_ = Stage::UnprovedQuestions;
    return;
  }

  // A question whose leaf is computed is believed to be one when another, whose leaf is loaded, is near.
  while (next_unproved_ < unproved_.size() && has_room()) {
    const uint64_t site = unproved_[next_unproved_++];
    constexpr uint64_t kNear = 4096;
    if (!std::any_of(proved_.begin(), proved_.end(), [&](uint64_t other) { return site - other < kNear || other - site < kNear; })) continue;
    if (const auto planned = plan(site, std::nullopt, answers); planned && is_as_planned(*planned)) {
      used_by_looking_ += planned->trampoline.size();
      apply(*planned, writer);
    }
    return;
  }
  stage_ = Stage::Done;
}

// True when it took time: something was planned.
bool PatchedText::patch_candidate(uint64_t site, std::span<const patcher::IdentityAnswer> answers, WindowWriter& writer) {
  const auto second = static_cast<uint8_t>(job_.text[site - address_ + 1]);
  constexpr uint8_t kSyscall = 0x05, kCpuid = 0xa2;
  if ((second != kSyscall && (second != kCpuid || answers.empty())) || sites_.contains(site)) return false;
  const bool asks = second == kCpuid;
  const auto planned = plan(site, std::nullopt, asks ? answers : std::span<const patcher::IdentityAnswer>());
  if (!planned) return true;
  if (asks && is_question(*planned, answers)) proved_.push_back(site);
  if (asks && !planned->rax) unproved_.push_back(site);
  if ((asks ? is_question(*planned, answers) : is_call(*planned)) && is_as_planned(*planned)) {
    used_by_looking_ += planned->trampoline.size();
    apply(*planned, writer);
  }
  return true;
}

uint64_t PatchedText::take_patched() { return std::exchange(patched_, 0); }

}  // namespace umk::monitor

#include "monitor/machine/patch_worker.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "engine/patcher/file_site.h"
#include "engine/patcher/write_order.h"

namespace umk::monitor {

namespace {

constexpr uint64_t kBlockBytes = 64 * 1024;
/// The first slot of every companion extent holds the gate's address.
constexpr uint64_t kLiteralBytes = 64;
constexpr uint8_t kTrapByte = 0xcc;
/// Longer than any instruction stays in a processor after it was fetched.
constexpr useconds_t kSettleMicroseconds = 1000;

/// The parts of `whole` that no range of `used` covers, in order.
std::vector<patcher::AddressRange> free_parts(patcher::AddressRange whole, std::vector<patcher::AddressRange> used) {
  std::sort(used.begin(), used.end(), [](const auto& a, const auto& b) { return a.begin < b.begin; });
  std::vector<patcher::AddressRange> parts;
  uint64_t at = whole.begin;
  for (const patcher::AddressRange& range : used) {
    if (range.begin != at) parts.push_back({at, range.begin});
    at = range.end;
  }
  if (at != whole.end) parts.push_back({at, whole.end});
  return parts;
}

}  // namespace

void PatchWorker::run() {
  for (;;) {
    engine::PatchJob job;
    image_.patch.next(&job);
    image_.patch.finish(serve(job));
  }
}

bool PatchWorker::read_file(uint64_t text_id, uint64_t offset, std::span<uint8_t> bytes) {
  if (text_id != cached_text_id_) blocks_.clear();
  cached_text_id_ = text_id;
  while (!bytes.empty()) {
    const uint64_t block = offset / kBlockBytes;
    auto found = blocks_.find(block);
    if (found == blocks_.end()) {
      std::vector<uint8_t> content(kBlockBytes);
      content.resize(image_.patch.read_file(block * kBlockBytes, content.data(), kBlockBytes));
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

bool PatchWorker::serve(const engine::PatchJob& job) {
  TextState& state = texts_[job.text_id];
  const auto file = patcher::ElfFile::open([&](uint64_t offset, std::span<uint8_t> bytes) { return read_file(job.text_id, offset, bytes); });
  if (!file) return false;
  const auto site = file->code_address(job.site_file_offset);
  if (!site) return false;
  const uint64_t text_address = *site - (job.site_file_offset - job.text_file_offset);
  const uint64_t companion = text_address - job.trampoline_distance;
  const auto room = free_parts({companion + kLiteralBytes, companion + job.trampoline_bytes}, state.trampolines);

  const auto planned = patcher::plan_patch_in_file(
      *file, {.site = *site, .trapped_rax = job.trapped_rax, .literal = companion, .room = room, .taken = state.windows});
  const auto* plan = std::get_if<patcher::PatchPlan>(&planned);
  if (plan == nullptr) return false;

  std::memcpy(job.trampolines, &job.gate_address, sizeof job.gate_address);
  const uint64_t trampoline_offset = plan->place.trampoline - companion;
  // The page around the trampoline traps wherever no trampoline is.
  const uint64_t first_page = trampoline_offset & ~uint64_t{4095};
  const uint64_t end = (trampoline_offset + plan->trampoline.size() + 4095) & ~uint64_t{4095};
  for (uint64_t page = first_page; page < end; page += 4096) {
    if (std::any_of(state.trampolines.begin(), state.trampolines.end(),
                    [&](const auto& used) { return used.begin - companion < page + 4096 && used.end - companion > page; }))
      continue;
    const uint64_t start = page == 0 ? kLiteralBytes : page;
    std::memset(job.trampolines + start, kTrapByte, page + 4096 - start);
  }
  std::memcpy(job.trampolines + trampoline_offset, plan->trampoline.data(), plan->trampoline.size());
  state.trampolines.push_back(plan->trampoline_range());
  state.windows.push_back(plan->window_range());
  std::atomic_thread_fence(std::memory_order_seq_cst);

  auto from_text = [&](uint64_t address) { return static_cast<int64_t>(address - text_address); };
  const engine::PatchOutcome outcome{true, from_text(plan->place.window_start), from_text(plan->place.site), from_text(plan->place.trampoline),
                                     plan->place.branch_target == 0 ? 0 : from_text(plan->place.branch_target)};
  image_.patch.announce(&outcome);
  write(job, *plan, text_address);
  return true;
}

void PatchWorker::write(const engine::PatchJob& job, const patcher::PatchPlan& plan, uint64_t text_address) {
  for (const patcher::WriteStep& step : patcher::write_order(plan)) {
    auto* target = reinterpret_cast<uint8_t*>(job.text) + (step.address - text_address);
    if (step.one_store) {
      auto* word = reinterpret_cast<uint64_t*>(reinterpret_cast<uintptr_t>(target) & ~uintptr_t{7});
      uint64_t value = *word;
      std::memcpy(reinterpret_cast<uint8_t*>(&value) + (target - reinterpret_cast<uint8_t*>(word)), step.bytes.data(), step.bytes.size());
      std::atomic_ref<uint64_t>(*word).store(value, std::memory_order_release);
    } else {
      for (size_t i = 0; i < step.bytes.size(); ++i) std::atomic_ref<uint8_t>(target[i]).store(step.bytes[i], std::memory_order_release);
    }
    if (step.settle) usleep(kSettleMicroseconds);
  }
}

}  // namespace umk::monitor

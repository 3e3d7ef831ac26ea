#include "monitor/machine/patch_worker.h"

#include <cpuid.h>
#include <malloc.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "engine/patcher/file_site.h"
#include "engine/patcher/identity_answers.h"

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

std::array<uint32_t, 4> ask_processor(uint32_t leaf, uint32_t subleaf) {
  std::array<uint32_t, 4> got{};
  __cpuid_count(leaf, subleaf, got[0], got[1], got[2], got[3]);
  return got;
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

/// The text of a job, and its addresses as the ELF file counts them.
struct PatchWorker::OpenText {
  const engine::PatchJob& job;
  const patcher::ElfFile& file;
  TextState& state;
  uint64_t address;
  uint64_t companion() const { return address - job.trampoline_distance; }
};

void PatchWorker::run() {
  for (;;) {
    engine::PatchJob job;
    image_.patch.next(&job);
    serve(job);
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

void PatchWorker::serve(const engine::PatchJob& job) {
  const auto file =
      patcher::ElfFile::open([&](uint64_t offset, std::span<uint8_t> bytes) { return read_file(job.text_id, offset, bytes); });
  const auto site = file ? file->code_address(job.site_file_offset) : std::nullopt;
  if (!site) return image_.patch.finish(0, false);
  const OpenText text{job, *file, texts_[job.text_id], *site - (job.site_file_offset - job.text_file_offset)};

  if (text.state.trampolines.empty()) text.state.room = {{text.companion() + kLiteralBytes, text.companion() + job.trampoline_bytes}};

  // A site may have trapped once more before its window was written.
  bool has_its_site =
      std::any_of(text.state.windows.begin(), text.state.windows.end(), [&](const auto& window) { return window.end == *site; });
  uint64_t patched = 0;
  if (!has_its_site) {
    if (const auto planned = plan(text, *site, job.trapped_rax, {})) {
      apply(text, *planned);
      has_its_site = true;
      ++patched;
    }
  }
  if (!text.state.is_looked_through) {
    text.state.is_looked_through = true;
    patched += look_through(text);
    // Reading the whole text was a thing of once.
    blocks_.clear();
    malloc_trim(0);
  }
  writer_.finish();
  image_.patch.finish(patched, has_its_site);
}

std::optional<patcher::PatchPlan> PatchWorker::plan(const OpenText& text, uint64_t site, std::optional<uint64_t> trapped_rax,
                                                    std::span<const patcher::IdentityAnswer> answers) {
  auto planned = patcher::plan_patch_in_file(text.file, {.site = site,
                                                         .trapped_rax = trapped_rax,
                                                         .literal = text.companion(),
                                                         .room = text.state.room,
                                                         .taken = text.state.windows,
                                                         .answers = answers});
  if (auto* plan = std::get_if<patcher::PatchPlan>(&planned)) return std::move(*plan);
  return std::nullopt;
}

void PatchWorker::apply(const OpenText& text, const patcher::PatchPlan& plan) {
  const engine::PatchJob& job = text.job;
  const uint64_t companion = text.companion();
  std::memcpy(job.trampolines, &job.gate_address, sizeof job.gate_address);
  const uint64_t trampoline_offset = plan.place.trampoline - companion;
  // The page around the trampoline traps wherever no trampoline is.
  const uint64_t first_page = trampoline_offset & ~uint64_t{4095};
  const uint64_t end = (trampoline_offset + plan.trampoline.size() + 4095) & ~uint64_t{4095};
  for (uint64_t page = first_page; page < end; page += 4096) {
    if (std::any_of(text.state.trampolines.begin(), text.state.trampolines.end(),
                    [&](const auto& used) { return used.begin - companion < page + 4096 && used.end - companion > page; }))
      continue;
    const uint64_t start = page == 0 ? kLiteralBytes : page;
    std::memset(job.trampolines + start, kTrapByte, page + 4096 - start);
  }
  std::memcpy(job.trampolines + trampoline_offset, plan.trampoline.data(), plan.trampoline.size());
  text.state.trampolines.push_back(plan.trampoline_range());
  take_out(text.state.room, plan.trampoline_range());
  text.state.windows.push_back(plan.window_range());
  std::atomic_thread_fence(std::memory_order_seq_cst);

  auto from_text = [&](uint64_t address) { return static_cast<int64_t>(address - text.address); };
  const engine::PatchOutcome outcome{true,
                                     from_text(plan.place.window_start),
                                     from_text(plan.place.site),
                                     from_text(plan.place.trampoline),
                                     plan.place.branch_target == 0 ? 0 : from_text(plan.place.branch_target),
                                     plan.place.identity_tail};
  image_.patch.announce(&outcome);
  writer_.begin(reinterpret_cast<uint8_t*>(job.text), text.address, plan);
}

uint64_t PatchWorker::look_through(const OpenText& text) {
  if (text.job.text_bytes > kLookThroughBytes) return 0;
  if (!answers_) answers_ = patcher::lasting_answers(ask_processor);
  uint64_t used = 0, patched = 0;
  const auto take = [&](const patcher::PatchPlan& plan) {
    used += plan.trampoline.size();
    ++patched;
    apply(text, plan);
  };
  const auto has_room = [&] { return used + kSpareBytes < text.job.trampoline_bytes; };

  // The copy is the file's bytes but for what was patched already, and a patch leaves the instruction itself.
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.job.text);
  std::vector<uint64_t> proved, unproved;
  const auto next_candidate = [&](uint64_t from) {
    const void* found = from < text.job.text_bytes ? std::memchr(bytes + from, 0x0f, text.job.text_bytes - from) : nullptr;
    return found ? static_cast<uint64_t>(static_cast<const uint8_t*>(found) - bytes) : text.job.text_bytes;
  };
  for (uint64_t i = next_candidate(0); i + 1 < text.job.text_bytes && has_room(); i = next_candidate(i + 1)) {
    if (bytes[i + 1] != 0x05 && bytes[i + 1] != 0xa2) continue;
    writer_.advance();
    const uint64_t site = text.address + i;
    if (std::any_of(text.state.windows.begin(), text.state.windows.end(), [&](const auto& window) { return window.end == site; })) continue;
    if (bytes[i + 1] == 0x05) {
      if (auto planned = plan(text, site, std::nullopt, {}); planned && is_call(*planned)) take(*planned);
    } else if (!answers_->empty()) {
      auto planned = plan(text, site, std::nullopt, *answers_);
      if (planned && is_question(*planned, *answers_)) {
        proved.push_back(site);
        take(*planned);
      } else if (planned && !planned->rax) {
        unproved.push_back(site);
      }
    }
  }
  // One whose leaf is computed is believed to be one when another, whose leaf is loaded, is near.
  for (const uint64_t site : unproved) {
    constexpr uint64_t kNear = 4096;
    const bool is_near =
        std::any_of(proved.begin(), proved.end(), [&](uint64_t other) { return site - other < kNear || other - site < kNear; });
    if (!is_near || !has_room()) continue;
    if (auto planned = plan(text, site, std::nullopt, *answers_)) take(*planned);
  }
  return patched;
}

}  // namespace umk::monitor

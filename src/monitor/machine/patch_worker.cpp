#include "monitor/machine/patch_worker.h"

#include <cpuid.h>
#include <malloc.h>

#include <array>
#include <utility>

#include "engine/patcher/identity_answers.h"

namespace umk::monitor {

namespace {

std::array<uint32_t, 4> ask_processor(uint32_t leaf, uint32_t subleaf) {
  std::array<uint32_t, 4> got{};
  __cpuid_count(leaf, subleaf, got[0], got[1], got[2], got[3]);
  return got;
}

}  // namespace

void PatchWorker::run() {
  for (;;) {
    engine::PatchJob job;
    if (image_.patch.next(&job, patience_ns())) {
      is_resting_ = false;
      serve(job);
    } else if (!looking_.empty()) {
      look_further();
    } else if (writer_.is_done() && !is_resting_) {
      rest();
    }
    writer_.advance();
  }
}

// How long to wait for a site that traps when there is other work.
uint64_t PatchWorker::patience_ns() const {
  if (!looking_.empty()) return 0;
  if (!writer_.is_done()) return writer_.until_settled_ns();
  return is_resting_ ? UINT64_MAX : 0;
}

void PatchWorker::serve(const engine::PatchJob& job) {
  const auto [found, is_new] = texts_.try_emplace(job.text_id, image_.patch, job);
  PatchedText& text = found->second;
  const bool can_be = text.patch_site(job.site_file_offset, job.trapped_rax, writer_);
  image_.patch.count(text.take_patched(), can_be ? 0 : 1);
  if (is_new) looking_.push_back(&text);
}

void PatchWorker::look_further() {
  if (!answers_) answers_ = patcher::lasting_answers(ask_processor);
  PatchedText& text = *looking_.front();
  const bool goes_on = text.look_further(*answers_, writer_);
  if (const uint64_t patched = text.take_patched(); patched != 0) image_.patch.count(patched, 0);
  if (goes_on) return;
  looking_.pop_front();
  has_garbage_ = true;
}

void PatchWorker::rest() {
  is_resting_ = true;
  for (auto& [id, text] : texts_) text.close_file();
  image_.patch.rest();
  std::erase_if(texts_, [&](const auto& entry) { return !image_.patch.is_alive(entry.first); });
  // Reading a whole text was a thing of once.
  if (std::exchange(has_garbage_, false)) malloc_trim(0);
}

}  // namespace umk::monitor

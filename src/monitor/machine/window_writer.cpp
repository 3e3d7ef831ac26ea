#include "monitor/machine/window_writer.h"

#include <atomic>
#include <cstring>
#include <thread>
#include <utility>

namespace umk::monitor {

namespace {

/// One store of the aligned word that holds the bytes.
void store_in_word(uint8_t* target, const std::vector<uint8_t>& bytes) {
  auto* word = reinterpret_cast<uint64_t*>(reinterpret_cast<uintptr_t>(target) & ~uintptr_t{7});
  uint64_t value = *word;
  std::memcpy(reinterpret_cast<uint8_t*>(&value) + (target - reinterpret_cast<uint8_t*>(word)), bytes.data(), bytes.size());
  std::atomic_ref<uint64_t>(*word).store(value, std::memory_order_release);
}

}  // namespace

void WindowWriter::begin(uint8_t* text, uint64_t text_address, const patcher::PatchPlan& plan) {
  Window window{text, text_address, patcher::write_order(plan), 0, {}};
  if (!write_until_pause(window)) return;
  window.settled = Clock::now() + kSettle;
  windows_.push_back(std::move(window));
}

void WindowWriter::advance(Clock::time_point now) {
  while (!windows_.empty() && windows_.front().settled <= now) {
    Window window = std::move(windows_.front());
    windows_.pop_front();
    if (!write_until_pause(window)) continue;
    // Counted from the store and not from `now`, which may be older.
    window.settled = Clock::now() + kSettle;
    windows_.push_back(std::move(window));
  }
}

void WindowWriter::finish() {
  while (!windows_.empty()) {
    std::this_thread::sleep_until(windows_.front().settled);
    advance();
  }
}

uint64_t WindowWriter::until_settled_ns(Clock::time_point now) const {
  const auto settled = windows_.front().settled;
  return settled <= now ? 0 : static_cast<uint64_t>(std::chrono::nanoseconds(settled - now).count());
}

bool WindowWriter::write_until_pause(Window& window) {
  while (window.next < window.steps.size()) {
    const patcher::WriteStep& step = window.steps[window.next++];
    uint8_t* const target = window.text + (step.address - window.text_address);
    if (step.one_store) {
      store_in_word(target, step.bytes);
    } else {
      for (size_t i = 0; i < step.bytes.size(); ++i) std::atomic_ref<uint8_t>(target[i]).store(step.bytes[i], std::memory_order_release);
    }
    if (step.settle) return true;
  }
  return false;
}

}  // namespace umk::monitor

// WindowWriter: stores the windows of patches while threads may run through them.
//
// A window that does not fit into one store is written in steps, and each must settle before the next (engine/patcher/write_order.h). The writer
// does not sleep meanwhile: its caller plans further windows, so that looking through a text takes as long as planning it and not as long
// as all pauses together. Used by one thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <vector>

#include "engine/patcher/patch_plan.h"
#include "engine/patcher/write_order.h"

namespace umk::monitor {

class WindowWriter {
 public:
  using Clock = std::chrono::steady_clock;

  /// Longer than any instruction stays in a processor after it was fetched.
  static constexpr std::chrono::milliseconds kSettle{1};

  /// Writes the first step of `plan`'s window. `text` is where the byte of address `text_address` is mapped; it stays so until finish() returns.
  void begin(uint8_t* text, uint64_t text_address, const patcher::PatchPlan& plan);
  /// Goes on with the windows whose last step has settled at `now`.
  void advance(Clock::time_point now = Clock::now());
  /// Waits until all windows are written.
  void finish();

  bool is_done() const { return windows_.empty(); }
  /// How long until advance() has something to do; not when done.
  uint64_t until_settled_ns(Clock::time_point now = Clock::now()) const;

 private:
  struct Window {
    uint8_t* text;
    uint64_t text_address;
    std::vector<patcher::WriteStep> steps;
    size_t next;
    Clock::time_point settled;
  };

  /// Writes steps up to the next one that has to settle; returns false when none is left.
  static bool write_until_pause(Window& window);

  /// In the order in which they settle.
  std::deque<Window> windows_;
};

}  // namespace umk::monitor

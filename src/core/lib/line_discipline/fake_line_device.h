// A LineDevice for tests: remembers what it was told.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/lib/line_discipline/line_discipline.h"

namespace umk {

class FakeLineDevice final : public LineDevice {
 public:
  size_t output_room() const override { return room_; }
  void output(std::span<const uint8_t> bytes) override {
    EXPECT_LE(bytes.size(), room_);
    room_ -= bytes.size();
    shown_.append(bytes.begin(), bytes.end());
  }
  void signal(TerminalSignal signal) override { signals_.push_back(signal); }
  void flushed() override { ++flushes_; }
  void flow_changed(bool is_stopped) override { flow_.push_back(is_stopped); }

  size_t room_ = 1 << 20;
  std::string shown_;
  std::vector<TerminalSignal> signals_;
  std::vector<bool> flow_;
  int flushes_ = 0;
};

inline std::span<const uint8_t> bytes_of(std::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

}  // namespace umk

#include "engine/patcher/write_order.h"

#include <algorithm>
#include <utility>

namespace umk::patcher {
namespace {

constexpr uint8_t kInt3 = 0xcc;

}  // namespace

std::vector<WriteStep> write_order(const PatchPlan& plan) {
  const uint64_t start = plan.place.window_start;
  if (plan.fits_in_word()) return {{.address = start, .bytes = plan.window, .settle = false, .one_store = true}};

  std::vector<WriteStep> steps;
  const auto write = [&](uint64_t offset, std::vector<uint8_t> bytes) {
    steps.push_back({.address = start + offset, .bytes = std::move(bytes), .settle = false, .one_store = false});
  };
  const auto is_boundary = [&](uint64_t offset) { return std::ranges::find(plan.boundaries, start + offset) != plan.boundaries.end(); };

  for (const uint64_t boundary : plan.boundaries) write(boundary - start, {kInt3});
  steps.back().settle = true;

  for (uint64_t offset = 0; offset < plan.window.size(); ++offset) {
    if (!is_boundary(offset)) write(offset, {plan.window[offset]});
  }
  steps.back().settle = true;

  // From the last one back: what a byte here means to a thread may depend on the byte behind it.
  for (auto boundary = plan.boundaries.rbegin(); boundary != plan.boundaries.rend(); ++boundary) {
    const uint64_t offset = *boundary - start;
    if (offset == 0 || plan.window[offset] == kInt3) continue;
    write(offset, {plan.window[offset]});
    steps.back().settle = true;
  }

  write(0, {plan.window[0]});
  return steps;
}

}  // namespace umk::patcher

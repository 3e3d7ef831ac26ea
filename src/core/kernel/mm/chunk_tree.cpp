#include "core/kernel/mm/chunk_tree.h"

#include "core/base/make.h"

namespace umk::mm {

Result<ChunkTree::Node*> ChunkTree::make_leaf() {
  static_assert(sizeof(WideNode) == 2 * sizeof(Node), "second words follow the first at a fixed distance");
  if (has_second_) return static_cast<Node*>(TRY(make_unique<WideNode>()).release());
  return TRY(make_unique<Node>()).release();
}

Result<ChunkTree::Slot*> ChunkTree::make(uint64_t index) {
  if (index == 0) return &first_;
  uintptr_t root = root_.load(std::memory_order_relaxed);
  unsigned height = root & kHeightMask;
  if (height == 0) {
    root = reinterpret_cast<uintptr_t>(TRY(make_leaf())) | ++height;
    root_.store(root, std::memory_order_release);
  }
  while ((index >> (kFanOutShift * height)) != 0) {
    Node* top = TRY(make_unique<Node>()).release();
    top->slots[0].store(root & ~kHeightMask, std::memory_order_relaxed);
    root = reinterpret_cast<uintptr_t>(top) | ++height;
    root_.store(root, std::memory_order_release);
  }
  Node* node = reinterpret_cast<Node*>(root & ~kHeightMask);
  while (--height > 0) {
    Slot& slot = node->slots[(index >> (kFanOutShift * height)) % kFanOut];
    Node* child = reinterpret_cast<Node*>(slot.load(std::memory_order_relaxed));
    if (!child) {
      child = height == 1 ? TRY(make_leaf()) : TRY(make_unique<Node>()).release();
      slot.store(reinterpret_cast<uintptr_t>(child), std::memory_order_release);
    }
    node = child;
  }
  return &node->slots[index % kFanOut];
}

std::optional<uint64_t> ChunkTree::next_used(uint64_t from) const {
  if (from == 0) {
    if (first_.load(std::memory_order_acquire)) return 0;
    from = 1;
  }
  const uintptr_t root = root_.load(std::memory_order_acquire);
  const unsigned height = root & kHeightMask;
  if (height == 0) return std::nullopt;
  while ((from >> (kFanOutShift * height)) == 0) {
    const Node* node = reinterpret_cast<const Node*>(root & ~kHeightMask);
    unsigned level = height - 1;
    for (;;) {
      // Goes down along `from`, or to the first used slot right of it.
      unsigned slot = (from >> (kFanOutShift * level)) % kFanOut;
      while (slot < kFanOut && node->slots[slot].load(std::memory_order_acquire) == 0) {
        ++slot;
        from = ((from >> (kFanOutShift * level)) + 1) << (kFanOutShift * level);
      }
      if (slot == kFanOut) break;  // `from` now starts the next stretch above
      if (level == 0) return from;
      node = reinterpret_cast<const Node*>(node->slots[slot].load(std::memory_order_acquire));
      --level;
    }
  }
  return std::nullopt;
}

void ChunkTree::clear() {
  const uintptr_t root = root_.exchange(0, std::memory_order_relaxed);
  const unsigned height = root & kHeightMask;
  if (height == 0) return;
  // Eight levels at most: a walk with a path of its own instead of recursion.
  Node* path[16] = {reinterpret_cast<Node*>(root & ~kHeightMask)};
  unsigned at[16] = {};
  unsigned depth = 0;
  for (;;) {
    if (depth + 1 < height && at[depth] < kFanOut) {
      Node* child = reinterpret_cast<Node*>(path[depth]->slots[at[depth]++].load(std::memory_order_relaxed));
      if (!child) continue;
      path[++depth] = child;
      at[depth] = 0;
      continue;
    }
    if (depth + 1 == height && has_second_) {
      delete static_cast<WideNode*>(path[depth]);
    } else {
      delete path[depth];
    }
    if (depth-- == 0) return;
  }
}

}  // namespace umk::mm

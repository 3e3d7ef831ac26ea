// ChunkTree: finds what belongs to a chunk of a file: a radix tree of words, indexed by the chunk's number in the file.
//
// Slot 0 lies in the tree itself: all that a small file needs. Readers walk it without a lock; slots never move, and nodes live until clear().
// A tree of two words a slot keeps the second one apart, so that the first words lie as densely as in a tree of one.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "core/base/result.h"

namespace umk::mm {

class ChunkTree {
 public:
  using Slot = std::atomic<uint64_t>;

  enum class Words { One, Two };
  explicit ChunkTree(Words words) : has_second_(words == Words::Two) {}
  ~ChunkTree() { clear(); }
  ChunkTree(const ChunkTree&) = delete;
  ChunkTree& operator=(const ChunkTree&) = delete;

  /// Null where no node is.
  Slot* find(uint64_t index) const {
    if (index == 0) return const_cast<Slot*>(&first_);
    const uintptr_t root = root_.load(std::memory_order_acquire);
    unsigned height = root & kHeightMask;
    if (height == 0 || (index >> (kFanOutShift * height)) != 0) return nullptr;
    Node* node = reinterpret_cast<Node*>(root & ~kHeightMask);
    while (--height > 0) {
      node = reinterpret_cast<Node*>(node->slots[(index >> (kFanOutShift * height)) % kFanOut].load(std::memory_order_acquire));
      if (!node) return nullptr;
    }
    return &node->slots[index % kFanOut];
  }
  /// The second word that goes with `slot`, which find(index) gave.
  Slot* second(uint64_t index, Slot* slot) const { return index == 0 ? const_cast<Slot*>(&first_second_) : slot + kFanOut; }

  bool has_second() const { return has_second_; }

  /// The same, made when absent. ENOMEM. Makers exclude each other.
  Result<Slot*> make(uint64_t index);
  /// The first index >= `from` whose slot is not empty.
  std::optional<uint64_t> next_used(uint64_t from) const;
  /// Frees all nodes; nobody looks any more.
  void clear();

 private:
  static constexpr unsigned kFanOutShift = 6;
  static constexpr unsigned kFanOut = 1u << kFanOutShift;
  static constexpr uintptr_t kHeightMask = 15;  // nodes are aligned to 16 bytes; eight levels hold any offset

  // Of the lowest level: entries; above: pointers to nodes.
  struct Node {
    Slot slots[kFanOut] = {};
  };
  struct WideNode : Node {
    Slot second[kFanOut] = {};
  };
  Result<Node*> make_leaf();

  const bool has_second_;
  Slot first_{0};
  Slot first_second_{0};
  std::atomic<uintptr_t> root_{0};  // a Node, with the height of its tree in the low bits
};

}  // namespace umk::mm

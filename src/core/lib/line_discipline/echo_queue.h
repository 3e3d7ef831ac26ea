// Echo that waits to be shown: what was typed is echoed when the terminal has room and is not stopped.
//
// An item is not yet output, since what it looks like depends on the column where it will start. When so much waits that
// the queue is full, the oldest is forgotten, as Linux does: a terminal that shows nothing loses echo, not input.
#pragma once

#include <cstddef>
#include <cstdint>

namespace umk {

struct EchoItem {
  enum class Kind : uint8_t {
    Character,    // a byte that takes part in output processing
    Verbatim,     // a byte that does not
    Control,      // a control character, shown as ^X
    MarkColumn,   // an editable line starts here
    StepBack,     // the last byte did not move the cursor
    EraseTab,     // goes back over a tab; `value` columns (modulo 8) lie before it, counted from the start of the line
    EraseTabTab,  // likewise, counted from an earlier tab
  };
  Kind kind;
  uint8_t value = 0;
};

class EchoQueue {
 public:
  static constexpr size_t kCapacity = 4096;

  size_t size() const { return head_ - tail_; }
  bool empty() const { return head_ == tail_; }
  const EchoItem& front() const { return items_[tail_ % kCapacity]; }
  void pop() { ++tail_; }
  void clear() { head_ = tail_ = 0; }
  void push(EchoItem item) {
    if (size() == kCapacity) ++tail_;
    items_[head_++ % kCapacity] = item;
  }

 private:
  EchoItem items_[kCapacity] = {};
  size_t head_ = 0;
  size_t tail_ = 0;
};

}  // namespace umk

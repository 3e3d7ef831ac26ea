// MemorySampler: holds the machine to `mem=`.
//
// Kernel objects and page cache are charged exactly. Private memory of guest processes belongs to the host, which alone knows how much of it is in use:
// while guests were promised more than there is, their resident sizes are looked at every few milliseconds, and when all together is beyond the
// limit, the kernel kills the one that has most by its oom_score_adj, as Linux does when it is out of memory. The overshoot is what a guest touches between two looks. While promises fit, the sampler sleeps.
#pragma once

#include "engine/image/boot_protocol.h"

namespace umk::monitor {

class MemorySampler {
 public:
  explicit MemorySampler(const engine::ImageHeader& image) : image_(image) {}

  /// Looks after memory for ever; on an attached thread.
  void run();

 private:
  /// One look; true when a process was killed.
  bool look();

  const engine::ImageHeader& image_;
};

}  // namespace umk::monitor

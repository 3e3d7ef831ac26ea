// PatchWorker: the monitor's thread that turns call sites that trapped into jumps.
//
// A site that traps is patched at once. If it is the first of its text, the rest of that text is looked through then, piece by piece and whenever
// no other site waits: whatever must be a call site, because the code before it loads a call's number, is patched before it can trap, and so are
// `cpuid` instructions whose answers never change (engine/patcher/identity_tail.h). A text is read once for that, and a large one not at all.
// The pauses that windows need to settle are spent on the next site (window_writer.h).
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "engine/image/boot_protocol.h"
#include "monitor/machine/patched_text.h"
#include "monitor/machine/window_writer.h"

namespace umk::monitor {

class PatchWorker {
 public:
  explicit PatchWorker(const engine::ImageHeader& image) : image_(image) {}

  /// Serves jobs for ever; on an attached thread.
  void run();

 private:
  void serve(const engine::PatchJob& job);
  /// Looks further through the oldest text that is not done.
  void look_further();
  /// Nothing is left to do: lets the kernel have its texts back, and forgets those that are gone.
  void rest();
  uint64_t patience_ns() const;

  const engine::ImageHeader& image_;
  std::map<uint64_t, PatchedText> texts_;
  std::deque<PatchedText*> looking_;
  WindowWriter writer_;
  std::optional<std::vector<patcher::IdentityAnswer>> answers_;
  bool is_resting_ = true;
  bool has_garbage_ = false;
};

}  // namespace umk::monitor

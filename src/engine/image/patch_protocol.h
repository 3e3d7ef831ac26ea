// Call-site patching between kernel and monitor: plain data. The kernel knows sites and texts, the monitor decodes and plans. With the first
// site of a text the monitor patches what else it is sure of there, when no other site waits.
#pragma once

#include <cstddef>
#include <cstdint>

namespace umk::engine {

/// A call site that trapped and may be patched.
struct PatchJob {
  /// Number of the text copy: the same for all its jobs, never used again.
  uint64_t text_id = 0;
  uint64_t trapped_rax = 0;
  uint64_t text_file_offset = 0;   // of text[0]
  uint64_t site_file_offset = 0;   // of the syscall instruction
  std::byte* text = nullptr;       // the shared copy, writable here
  uint64_t text_bytes = 0;
  std::byte* trampolines = nullptr;
  uint64_t trampoline_bytes = 0;
  uint64_t trampoline_distance = 0;  // text address - trampolines address, in every mapping
  uint64_t gate_address = 0;
};

/// Where a patch was made, as PatchedSite says it: offsets from the start of the text (the trampoline's is negative).
struct PatchOutcome {
  int64_t window_start = 0, window_end = 0, moved_start = 0, site = 0, trampoline = 0, branch_target = 0;
  uint64_t identity_tail = 0;  // bytes
};

/// Called on an attached thread of the monitor, the patcher. The texts of its jobs, and their files, stay until it rests.
struct PatchFunctions {
  /// Waits for a job for so many nanoseconds, UINT64_MAX for ever. False when there is none.
  bool (*next)(PatchJob* job, uint64_t patience_ns);
  /// Reads the file of a text; the bytes read.
  size_t (*read_file)(uint64_t text_id, uint64_t offset, void* into, size_t bytes);
  /// Before the window is written: threads may stand in it from now on, and are sent on.
  void (*announce)(uint64_t text_id, const PatchOutcome* outcome);
  /// How many sites were patched, and how many that trapped cannot be.
  void (*count)(uint64_t patched, uint64_t refused);
  /// All windows are written: lets go of the texts, and wakes whoever waited for their patches.
  void (*rest)();
  /// The text is there still; else nothing more will be heard of it.
  bool (*is_alive)(uint64_t text_id);
};

}  // namespace umk::engine

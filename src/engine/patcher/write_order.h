// The order in which a window is written while threads may run through it.
//
// Before the first step the trampoline and its literal are complete, and the kernel knows the PatchedSite, for from now on
// threads may trap in the window and have to be sent on (patched_site.h).
//
// A window in one aligned word of 8 bytes is replaced by one store: a processor fetches either the old or the new word (AMD64
// Architecture Programmer's Manual volume 2, 7.6.1; Intel promises nothing, and no processor is known to do otherwise).
// Any other is written in steps, none of which lets a thread run a mixture of old and new bytes:
//   1. int3 at every instruction boundary, so that nobody gets in, or on;
//   2. the bytes between;
//   3. the final bytes at the boundaries inside, from the last one back;
//   4. the first byte: the jump.
// A step with `settle` must be seen by all processors before the next one is written: each has to pass a serialising event,
// lest it execute a first byte that it fetched before the step together with others that it fetches after the next one.
// Stores alone do not do that. membarrier(2) SYNC_CORE does it for one process. An instruction that has been fetched
// retires, or is dropped by an interrupt, within microseconds, so that a pause of a millisecond does as well.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/patcher/patch_plan.h"

namespace umk::patcher {

struct WriteStep {
  uint64_t address = 0;
  std::vector<uint8_t> bytes;
  /// Wait for every processor before the next step.
  bool settle = false;
  /// Write these bytes by one store of the aligned word that holds them (under the patch lock: its other bytes are kept).
  bool one_store = false;
};

/// The steps that write `plan.window`. Those without `one_store` may be written byte by byte.
std::vector<WriteStep> write_order(const PatchPlan& plan);

}  // namespace umk::patcher

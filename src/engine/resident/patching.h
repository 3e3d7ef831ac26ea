// Call sites that trap: counted, offered to the monitor's patcher once each, and known afterwards by their addresses.
#pragma once

#include <cstdint>

#include "core/kernel/guest/registers.h"
#include "engine/image/patch_protocol.h"

namespace umk {
class Task;
}

namespace umk::engine {

/// The syscall instruction at `site` of the current task's address space trapped with `number` in rax.
void note_trapped_call(Task& task, uint64_t site, uint64_t number);

/// A fault in guest code: true when it came from a thread that stood in a window while that was patched (or was sent there), and
/// `registers` now continue at the same instruction in the trampoline.
bool resume_in_trampoline(Task& task, Registers& registers, const Trap& trap);
/// A guest was interrupted: an instruction pointer in a trampoline becomes the one that the guest's own code would have.
void leave_trampoline(Task& task, Registers& registers);
/// The same for a guest that single-steps. False when it has only come from a window to its trampoline, which is no step of its own code: then
/// it goes on there.
bool leave_trampoline_by_step(Task& task, Registers& registers);

/// Waits for the patches of all sites that were noted before.
void wait_for_patches();

// PatchFunctions (image/patch_protocol.h), for the monitor's patcher thread.
bool next_patch_job(PatchJob* job, uint64_t patience_ns);
size_t read_patch_file(uint64_t text_id, uint64_t offset, void* into, size_t bytes);
void announce_patch(uint64_t text_id, const PatchOutcome* outcome);
void count_patches(uint64_t patched, uint64_t refused);
void rest_from_patches();
bool is_patched_text_alive(uint64_t text_id);

}  // namespace umk::engine

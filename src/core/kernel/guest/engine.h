// Engine: how guest code runs. The kernel creates tasks; the engine gives them a host thread, an address space and a way in and out.
//
// Two engines can stand behind this interface: the resident one (src/engine), where the kernel is mapped in every guest process, and
// one with separate user contexts. So nothing here hands out pointers to guest memory. In the resident engine every function that works on "the
// current task" runs on that task's kernel stack.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/result.h"
#include "core/kernel/guest/registers.h"

namespace umk {
class Task;
struct KernelStackHead;
namespace mm {
class AddressSpace;
}
}  // namespace umk

namespace umk::guest {

/// Protection of a guest mapping: bits of mmap(2).
inline constexpr int kProtRead = 1, kProtWrite = 2, kProtExec = 4;

/// Time that a task has used, nanoseconds, and its page faults.
struct Usage {
  uint64_t user_ns = 0;
  uint64_t system_ns = 0;
  uint64_t minor_faults = 0;
  uint64_t major_faults = 0;
  uint64_t voluntary_switches = 0;
  uint64_t involuntary_switches = 0;
};

/// Bytes that task_storage() offers: the task and what a new process touches first.
inline constexpr size_t kTaskStorageBytes = 8192;

/// The vDSO that programs get: the bytes of its file (whole pages), and where in it the restorer of signal frames lies.
struct Vdso {
  std::span<const std::byte> contents;  // empty: there is none
  uint64_t restorer_offset = 0;
};

class Engine {
 public:
  // --- bundles: task, kernel stack and vector save area in one piece
  /// Memory for a new task context, with its KernelStackHead initialised; ENOMEM. kTaskStorageBytes of room for the Task object and its companions start at task_storage().
  virtual Result<KernelStackHead*> allocate_stack() = 0;
  virtual void free_stack(KernelStackHead* stack) = 0;
  virtual void* task_storage(KernelStackHead* stack) = 0;
  /// The guest registers of a task that is in the kernel: at the top of its kernel stack.
  virtual Registers& registers(Task& task) = 0;

  // --- starting
  /// fork: a new host process with a copy of the current address space; `child` starts in user mode with its registers(). EAGAIN.
  virtual Result<void> start_forked(Task& child) = 0;
  /// A thread of the current address space (CLONE_VM).
  virtual Result<void> start_thread(Task& child) = 0;
  /// vfork: runs `child` on this host thread in this address space; returns when it has moved to an address space of its own (exec) or exited.
  virtual void run_borrowed(Task& child) = 0;
  /// The first process: `task` starts in an empty address space and calls `entry(task)` there, which execs.
  virtual Result<void> start_in_new_vessel(Task& task, void (*entry)(Task&)) = 0;

  // --- exec and exit, for the current task
  /// Before enter_empty_address_space(), which cannot fail: gets what that needs. EAGAIN where the host has no process left.
  virtual Result<void> prepare_empty_address_space(Task& task) {
    (void)task;
    return {};
  }
  /// exec's point of no return: leaves the address space (a borrowed one goes back to its owner, a forked one is emptied) and comes back in an
  /// empty one, on the same kernel stack. All other threads of the process are gone.
  virtual void enter_empty_address_space(Task& task) = 0;
  /// Ends the current task's host context. The task was unlinked from everything; `task_released` runs when its kernel stack is no longer in use
  /// and may free it. Does not return.
  [[noreturn]] virtual void exit_current(Task& task, void (*task_released)(Task&)) = 0;

  // --- the current address space's mappings. Addresses and lengths are whole pages inside the guest's part; every mapping replaces what was
  // there. Protection is what the host shall enforce now, which may be less than what the guest asked for (mm keeps both). A mapping is never
  // writable and executable at once. ENOMEM and EAGAIN are the host's.
  virtual Result<void> map_anonymous(uint64_t address, uint64_t length, int protection, bool reserve) = 0;
  /// Maps bytes of the page cache's file: shared with all who map them, or a private copy-on-write view.
  virtual Result<void> map_cache(uint64_t address, uint64_t length, int protection, uint64_t cache_offset, bool shared) = 0;
  /// Maps a file of the host (hostfs data); never executable.
  virtual Result<void> map_host_file(uint64_t address, uint64_t length, int protection, int host_fd, uint64_t offset, bool shared) = 0;
  /// map_cache may show pages executable that other mappings, of other processes too, show writable.
  virtual bool shows_shared_code() const { return false; }
  virtual Result<void> unmap(uint64_t address, uint64_t length) = 0;
  virtual Result<void> protect(uint64_t address, uint64_t length, int protection) = 0;
  /// madvise(2) values that the host may be told: DONTNEED 4, FREE 8, WILLNEED 3, HUGEPAGE 14, NOHUGEPAGE 15, POPULATE_READ 22, POPULATE_WRITE 23.
  virtual Result<void> advise(uint64_t address, uint64_t length, int advice) = 0;
  /// Moves private anonymous pages to another place, same length.
  virtual Result<void> move(uint64_t from, uint64_t length, uint64_t to) = 0;
  /// mincore(2) of the host for one range: one byte a page into `resident`.
  virtual Result<void> residency(uint64_t address, uint64_t length, uint8_t* resident) = 0;
  /// Copies between kernel memory and guest memory, as far as the host's mappings allow; returns how many bytes.
  virtual size_t copy_memory(uint64_t address, std::byte* bytes, size_t length, bool to_guest) = 0;

  // --- other address spaces
  /// The current address space, which is empty or as fork left it, is what `space` describes from now on.
  virtual void carry(mm::AddressSpace& space) { (void)space; }
  /// `carrier` is not needed any more: its address space's description goes.
  virtual void drop_carrier(void* carrier) { (void)carrier; }
  /// Calls `work(argument)`, in the caller's own context, with the functions above working on `space` instead of the caller's address space. Calls for
  /// another process are made by it at once, whatever its threads are doing, and without any lock of theirs; so the caller may hold locks that they wait for.
  /// `space` does not change its process meanwhile. Kernel threads may call it; nobody does who holds the lock of `space`. ESRCH when nothing carries `space` any more.
  virtual Result<void> run_in(mm::AddressSpace& space, void (*work)(void*), void* argument) = 0;

  /// Waits until the engine has let go of the files that it was reading, programs that have ended among them. Not for holders of filesystem locks.
  virtual void finish_reading_programs() {}

  /// Made at boot; the same for all programs.
  virtual Vdso vdso() { return {}; }

  // --- while it runs
  /// Makes `task` enter the kernel soon if it is in user mode; called after its interrupts were set from none to some.
  virtual void kick(Task& task) = 0;
  virtual uint64_t fs_base(Task& task) = 0;
  virtual void set_fs_base(Task& task, uint64_t base) = 0;
  virtual Result<void> set_gs_base(Task& task, uint64_t base) = 0;
  virtual uint64_t gs_base(Task& task) = 0;
  /// Bytes of the XSAVE image that a signal frame carries, and its feature mask.
  virtual size_t vector_image_bytes() = 0;
  virtual uint64_t vector_feature_mask() = 0;
  /// Copies the current task's live vector registers to guest memory as a standard XSAVE image (64-byte aligned address). EFAULT.
  virtual Result<void> save_vectors(uint64_t user_address) = 0;
  /// Loads them from guest memory; only guest features, reserved bits refused: EFAULT or EINVAL. Address 0 loads the initial state.
  virtual Result<void> load_vectors(uint64_t user_address) = 0;
  /// Host CPU time and faults that `task` used since its start.
  virtual Usage usage(Task& task) = 0;
  /// The task's affinity, nice value or policy has changed: tells the host what it may be told. EINVAL when there is no such processor.
  virtual Result<void> reschedule(Task& task) = 0;

 protected:
  ~Engine() = default;
};

}  // namespace umk::guest

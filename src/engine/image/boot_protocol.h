// What the monitor and the kernel image agree on: plain data and a table of functions. Both sides include this.
#pragma once

#include <cstddef>
#include <cstdint>

#include "engine/image/management_protocol.h"
#include "engine/image/patch_protocol.h"

namespace umk {
class Kernel;
namespace console {
class ConsoleDriver;
}
namespace ubd {
class HostQueue;
}
namespace init {
struct StartRequest;
struct StartOutcome;
}  // namespace init
}  // namespace umk

namespace umk::engine {

/// Given by the monitor at boot.
struct BootParameters {
  struct Range {
    uint64_t start, end;
  };

  uint64_t kernel_data_bytes = 0;   // of layout::kKernelData
  uint64_t kernel_data_used = 0;    // by the image's variables
  int cache_fd = -1;                // the page cache's file
  int wake_fd = -1;                 // eventfd: the kernel has news for the monitor
  int log_fd = -1;                  // where a panic is written
  int monitor_pid = 0;
  int host_nice = 0;                // of the monitor
  uint64_t memory_bytes = 0;        // mem=
  uint32_t cpus = 1;
  uint32_t vessels_at_boot = 2;     // idle ones
  uint32_t vector_image_bytes = 0;  // of XSAVE with the guest's features
  uint64_t vector_features = 0;
  /// The host's [vvar...] and [vdso] mappings in the monitor, which the nursery moves to layout::kHostVdso.
  Range vdso_pieces[4] = {};
  uint32_t vdso_piece_count = 0;
  uint64_t vdso_start = 0, vdso_end = 0;
  /// Where the host's vDSO functions are once moved.
  uint64_t vdso_clock_gettime = 0, vdso_gettimeofday = 0, vdso_time = 0, vdso_getcpu = 0;
  /// The kernel's memory is closed to guests: the monitor gave it its protection keys.
  bool shield = false;
  bool filters_calls = false;       // guests' system calls are caught by seccomp instead of Syscall User Dispatch
  /// With the shield: bytes from the end of an alternate stack down to the stack pointer with which the host starts a handler.
  uint64_t signal_frame_bytes = 0;
  bool quiet = false;
  bool ends_with_init = false;      // umk run
  char command_line[2048] = {};     // /proc/cmdline
};

/// How a host process of the machine ended.
enum class VesselEnd : uint32_t {
  Expected,
  Survived,  // by surprise: its tasks end, the machine lives
  Fatal,     // by surprise, and what it left cannot be put in order
};

/// What the kernel tells the monitor; in the kernel region, read by both.
struct MachineStatus {
  volatile uint32_t panicked = 0;
  char panic_reason[256] = {};  // set before
};

/// A host process of the machine, and what it has for itself.
struct MemoryUser {
  int host_pid;
  bool stays;  // no guest process ends in it
  uint64_t bytes;
};

/// For the monitor's memory sampler, on an attached thread. Private memory of guests is the host's: only the host knows how much is used.
struct MemoryFunctions {
  /// Sleeps until guests were promised more than `mem=`.
  void (*wait_for_overcommit)();
  bool (*is_overcommitted)();
  uint64_t (*limit_bytes)();
  /// Kernel objects and page cache.
  uint64_t (*charged_bytes)();
  /// Drops clean file pages to make room for `bytes`; returns how many bytes that gave.
  uint64_t (*reclaim)(uint64_t bytes);
  /// Lets the page cache shrink as far as promises to guests ask for it.
  void (*make_way)();
  /// Lists the host processes that carry guests, at most `capacity` of them and with `bytes` unset; returns how many there are.
  uint64_t (*list_users)(MemoryUser* users, uint64_t capacity);
  /// Chooses one of the guest processes that live in these host processes and kills it, with a line in the log; false when none may be killed, or memory comes back
  /// without.
  bool (*kill)(MemoryUser* users, uint64_t count, uint64_t all_bytes);
};

/// The image's functions for the monitor.
struct ImageHeader {
  static constexpr uint64_t kMagic = 0x6567'616d'696b'6d75;
  uint64_t magic;
  /// Makes heap, engine and kernel object. The first call.
  void (*boot)(const BootParameters* parameters);
  /// The nursery's life: never returns. Called in a fork of the monitor that has no other threads.
  void (*run_nursery)();
  /// Runs `body(argument)` on a kernel stack, as a kernel thread of the monitor. `body` may call the core's functions.
  void (*run_attached)(void (*body)(void*), void* argument);
  /// Attached: see init/machine_start.h.
  void (*start_machine)(const init::StartRequest* request, init::StartOutcome* outcome);
  void (*run_timers)();
  void (*run_write_back)();
  void (*run_disk_queue)(ubd::HostQueue* queue);
  void (*run_console)(console::ConsoleDriver* console);
  uint32_t (*wait_for_end)(int* exit_code);
  void (*signal_init)(int signal);
  Kernel* (*kernel)();
  /// The selector lines, whole pages: with the shield they have a key of their own.
  void* selector_lines;
  uint64_t selector_line_bytes;
  MachineStatus* (*status)();
  PatchFunctions patch;
  MemoryFunctions memory;
  const ManagementFunctions* management;
  /// Attached: a host process of the machine ended, and was waited for.
  VesselEnd (*vessel_ended)(int host_pid);
};

}  // namespace umk::engine

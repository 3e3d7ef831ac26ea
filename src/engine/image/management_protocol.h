// What the monitor asks of the kernel for the management console. All functions are called on attached threads. Plain data, as in boot_protocol.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace umk::ubd {
struct DiskImage;
}

namespace umk::engine {

/// Text that the kernel made, or why there is none. Given back by ManagementFunctions::drop.
struct KernelText {
  const char* data = nullptr;
  uint64_t bytes = 0;
  int32_t error = 0;  // an errno
  bool was_opened = false;
  void* owner = nullptr;
};

struct ManagementFunctions {
  void (*drop)(KernelText* text);
  void (*describe)(KernelText* into);
  void (*log)(const char* text, uint64_t bytes);
  void (*press_ctrl_alt_del)();
  void (*read_proc)(const char* path, uint64_t bytes, KernelText* into);
  void (*sysrq)(char key, KernelText* into);
  void (*show_stack)(int pid, KernelText* into);
  /// Holds all guest tasks; returns how many could not be brought to rest.
  uint32_t (*hold)();
  void (*release)();
  bool (*is_holding)();
  // These return 0 or an errno.
  int (*attach_disk)(const ubd::DiskImage* image);
  int (*detach_disk)(uint32_t number);
  int (*add_line)(uint32_t line);
  int (*remove_line)(uint32_t line);
  uint64_t (*memory_bytes)();
  int (*take_memory)(uint64_t bytes);
  void (*give_memory)(uint64_t bytes);
  /// What a program wrote to /proc/mconsole; false when there is nothing.
  bool (*take_notice)(char* into, uint64_t room, uint64_t* bytes);
  int (*exit_code)();
  // Of /dev/watchdog: watchdog::Order as a number, and what became of it (core/init/machine_start.h).
  int (*take_watchdog_order)();
  void (*note_watchdog_started)(int fd);
  void (*note_watchdog_stopped)();
};

extern const ManagementFunctions kManagementFunctions;

}  // namespace umk::engine

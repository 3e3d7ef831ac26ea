// What the management console does inside the kernel, on a kernel thread of the monitor.
#pragma once

#include <optional>
#include <string_view>

#include "core/base/string.h"
#include "core/drivers/ubd/disk_image.h"

namespace umk {
class Kernel;
}

namespace umk::init {

/// As uname(1) -a without the last words: system, node, release, version, machine.
Result<String> describe_kernel(Kernel& kernel);
/// Puts a text of any number of lines into the kernel's log, as warnings.
void log_text(std::string_view text);

/// Reads a file of proc, whatever is mounted in the machine. `was_opened` tells at what it failed.
Result<String> read_proc_file(Kernel& kernel, std::string_view path, bool& was_opened);
/// Does what a SysRq key stands for; returns what it printed.
Result<String> give_sysrq(Kernel& kernel, char key);
/// Words and trace of the kernel stack of a task. ESRCH.
Result<String> show_kernel_stack(Kernel& kernel, int pid);

/// Takes the image's descriptors over, also when it fails. EBUSY: there is such a disk.
Result<void> attach_disk(Kernel& kernel, const ubd::DiskImage& image);
/// ENODEV; EBUSY: it is in use.
Result<void> detach_disk(Kernel& kernel, uint32_t number);

/// Consoles and serial lines by their numbers on the console board. EEXIST; ENODEV; EBUSY: it is in use.
Result<void> add_line(Kernel& kernel, unsigned line);
Result<void> remove_line(Kernel& kernel, unsigned line);

/// Takes memory out of the machine, as far as it is free; returns how much, which may be less. ENOMEM: none.
Result<uint64_t> take_memory(Kernel& kernel, uint64_t bytes);
/// Gives back what was taken, and no more.
void give_memory(Kernel& kernel, uint64_t bytes);

}  // namespace umk::init

#include "core/fs/proc/root_directory.h"

#include "core/fs/proc/log_file.h"
#include "core/fs/proc/machine_files.h"
#include "core/fs/proc/process_files.h"
#include "core/fs/proc/system_files.h"
#include "core/fs/proc/terminal_files.h"

namespace umk::proc {

namespace {

Result<RefPtr<Task>> reader_task() {
  Task* current = Task::current_or_null();
  if (!current) return error(ENOENT);
  return RefPtr<Task>(current);
}

Result<String> read_self(const Context&) {
  const RefPtr<Task> task = TRY(reader_task());
  return format_string("{}", task->process().pid());
}

Result<String> read_thread_self(const Context&) {
  const RefPtr<Task> task = TRY(reader_task());
  return format_string("{}/task/{}", task->process().pid(), task->tid());
}

Result<String> read_mounts(const Context&) { return String::from("self/mounts"); }

constexpr Entry kEntries[] = {
    file_entry("cmdline", show_command_line),
    file_entry("consoles", show_consoles),
    file_entry("cpuinfo", show_processors),
    file_entry("devices", show_devices),
    file_entry("diskstats", show_disk_statistics),
    file_entry("exitcode", show_exit_code, 0600, store_exit_code),
    file_entry("filesystems", show_filesystems),
    {.name = "kmsg", .mode = static_cast<uint32_t>(vfs::FileType::Regular) | 0400, .open = LogFile::open},
    file_entry("loadavg", show_load),
    file_entry("meminfo", show_memory),
    link_entry("mounts", read_mounts),
    file_entry("partitions", show_partitions),
    link_entry("self", read_self),
    file_entry("stat", show_statistics),
    file_entry("swaps", show_swaps),
    directory_entry("sys", kSystemEntries),
    file_entry("sysrq-trigger", refuse_to_show, 0200, store_sysrq),
    link_entry("thread-self", read_thread_self),
    directory_entry("tty", kTerminalEntries),
    directory_entry("umk", kOwnEntries),
    file_entry("uptime", show_uptime),
    file_entry("version", show_version),
    file_entry("vmstat", show_memory_counters),
};
// There while somebody on the host listens: as in User Mode Linux.
constexpr Entry kNoticesEntry = file_entry("mconsole", refuse_to_show, 0200, store_notice);
constexpr Entry kRoot = directory_entry("/", kEntries);

}  // namespace

ThreadId parse_tid(std::string_view name) {
  if (name.empty() || name[0] < '1' || name[0] > '9' || name.size() > 9) return 0;
  const std::optional<uint64_t> number = parse_unsigned(name);
  return number ? static_cast<ThreadId>(*number) : 0;
}

RootDirectory::RootDirectory(Superblock& superblock) : DirectoryNode(superblock, kRootNumber, kRoot, {}) {}

bool RootDirectory::revalidate(std::string_view name, vfs::Inode* child) {
  const ThreadId pid = parse_tid(name);
  if (pid == 0) return true;
  // That a number is not in use is not worth remembering.
  return child && static_cast<Node*>(child)->subject().is_alive(kernel());
}

Result<RefPtr<vfs::Inode>> RootDirectory::lookup(std::string_view name) {
  const ThreadId pid = parse_tid(name);
  if (pid == 0 && name == kNoticesEntry.name && kernel().user_notices.is_connected()) return make_inode(proc(), child_number(number(), name), kNoticesEntry, {});
  if (pid == 0) return DirectoryNode::lookup(name);
  Subject subject;
  {
    MutexLock lock(kernel().tasks.mutex);
    // Threads other than leaders are found by name too, though they are not listed: proc(5), "/proc/tid".
    const RefPtr<Task> task = kernel().tasks.find_task(pid);
    if (!task) return error(ENOENT);
    subject = Subject::of(*task, !task->is_leader());
  }
  return make_inode(proc(), child_number(number(), name), process_directory(), subject);
}

Result<uint64_t> RootDirectory::list(uint64_t position, vfs::InodeNumber parent_number, vfs::DirectorySink& sink) {
  if (!list_table(position, parent_number, sink)) return position;
  const uint64_t first = first_dynamic_position();
  // No process has number 0: its place is free.
  if (position == first) {
    const auto type = static_cast<vfs::FileType>(kNoticesEntry.mode & vfs::kFileTypeMask);
    if (kernel().user_notices.is_connected() && !sink.emit(kNoticesEntry.name, child_number(number(), kNoticesEntry.name), type, first + 1)) return position;
    position = first + 1;
  }
  for (;;) {
    ThreadId pid;
    {
      MutexLock lock(kernel().tasks.mutex);
      const RefPtr<Process> process = kernel().tasks.next_process(static_cast<ProcessId>(position - first));
      if (!process) return position;
      pid = process->pid();
    }
    char text[16];
    BufferSink name(text);
    format(name, "{}", pid);
    const uint64_t next = first + static_cast<uint64_t>(pid) + 1;
    if (!sink.emit(name.view(), child_number(number(), name.view()), vfs::FileType::Directory, next)) return position;
    position = next;
  }
}

}  // namespace umk::proc

// The tables of /proc/PID, /proc/PID/task and /proc/PID/task/TID.
#include "core/fs/proc/memory_file.h"
#include "core/fs/proc/nodes.h"
#include "core/fs/proc/process_files.h"
#include "core/fs/proc/root_directory.h"
#include "core/kernel/task/pidfd.h"

namespace umk::proc {

namespace {

constexpr Entry kMemoryEntry = {.name = "mem", .mode = static_cast<uint32_t>(vfs::FileType::Regular) | 0600, .open = MemoryFile::open};

// One task per thread: the list differs in `task` alone.
#define UMK_PROC_TASK_ENTRIES                                                   \
  inspection_entry("auxv", show_auxiliary_vector, 0400),                        \
      file_entry("cgroup", show_cgroup),                                        \
      file_entry("cmdline", show_arguments),                                    \
      file_entry("comm", show_name, 0644, store_name),                          \
      link_entry("cwd", read_working_directory, follow_working_directory),      \
      inspection_entry("environ", show_environment, 0400),                      \
      link_entry("exe", read_executable, follow_executable),                    \
      made_entry("fd", 0500, make_fd_directory),                                \
      made_entry("fdinfo", 0555, make_fd_details_directory),                    \
      file_entry("gid_map", show_id_map),                                       \
      file_entry("limits", show_limits),                                        \
      inspection_entry("maps", show_maps, 0444),                                \
      kMemoryEntry,                                                             \
      file_entry("mountinfo", show_mount_info),                                 \
      file_entry("mounts", show_mounts),                                        \
      file_entry("oom_score", show_oom_score),                                  \
      file_entry("oom_score_adj", show_oom_adjustment, 0644, store_oom_adjustment), \
      inspection_entry("personality", show_personality, 0400),                  \
      link_entry("root", read_root, follow_root),                               \
      file_entry("setgroups", show_group_setting),                              \
      inspection_entry("smaps", show_detailed_maps, 0444),                      \
      inspection_entry("smaps_rollup", show_maps_sum, 0444),                    \
      file_entry("stat", show_process_stat),                                    \
      file_entry("statm", show_process_statm),                                  \
      file_entry("status", show_process_status),                                \
      file_entry("uid_map", show_id_map),                                       \
      file_entry("wchan", show_wait_channel)

constexpr Entry kThreadEntries[] = {UMK_PROC_TASK_ENTRIES};
constexpr Entry kThreadDirectory = directory_entry("", kThreadEntries);

/// task/: the threads of a process.
class ThreadsDirectory final : public DirectoryNode {
 public:
  ThreadsDirectory(Superblock& superblock, vfs::InodeNumber number, const Entry& entry, const Subject& subject)
      : DirectoryNode(superblock, number, entry, subject) {}

  bool revalidate(std::string_view, vfs::Inode* child) override { return child && static_cast<Node*>(child)->subject().is_alive(kernel()); }

  Result<RefPtr<vfs::Inode>> lookup(std::string_view name) override {
    const ThreadId tid = parse_tid(name);
    const Result<RefPtr<Task>> leader = subject().find(kernel());
    if (tid == 0 || !leader.ok()) return error(ENOENT);
    Subject thread;
    {
      MutexLock lock(kernel().tasks.mutex);
      const RefPtr<Task> task = kernel().tasks.find_task(tid);
      if (!task || &task->process() != &leader.value()->process()) return error(ENOENT);
      thread = Subject::of(*task, true);
    }
    return make_inode(proc(), child_number(number(), name), kThreadDirectory, thread);
  }

  // A leader that has ended stays listed while other threads live, as in Linux: it is the process's number.
  Result<uint64_t> list(uint64_t position, vfs::InodeNumber parent_number, vfs::DirectorySink& sink) override {
    const RefPtr<Task> leader = TRY(subject().find(kernel()));
    if (!list_table(position, parent_number, sink)) return position;
    for (;;) {
      const ThreadId from = static_cast<ThreadId>(position - first_dynamic_position());
      ThreadId tid = 0;
      {
        MutexLock lock(kernel().tasks.mutex);
        if (leader->tid() >= from) tid = leader->tid();
        for (const Task& task : leader->process().tasks)
          if (task.tid() >= from && (tid == 0 || task.tid() < tid)) tid = task.tid();
      }
      if (tid == 0) return position;
      char text[16];
      BufferSink name(text);
      format(name, "{}", tid);
      const uint64_t next = first_dynamic_position() + static_cast<uint64_t>(tid) + 1;
      if (!sink.emit(name.view(), child_number(number(), name.view()), vfs::FileType::Directory, next)) return position;
      position = next;
    }
  }
};

Result<RefPtr<vfs::Inode>> make_threads_directory(Superblock& superblock, vfs::InodeNumber number, const Entry& entry, const Subject& subject) {
  return RefPtr<vfs::Inode>(TRY(make_ref<ThreadsDirectory>(superblock, number, entry, subject)));
}

/// What open(2) of /proc/PID makes.
class OpenProcess final : public ProcessDirectoryFile {
 public:
  OpenProcess(RefPtr<vfs::Inode> inode, uint32_t flags) : ProcessDirectoryFile(std::move(inode), flags, LockRank::ProcFile) {}
  Result<RefPtr<Process>> process() override {
    const Node& node = static_cast<Node&>(inode());
    return RefPtr<Process>(TRY(node.subject().find(node.kernel()))->process());
  }
};

constexpr Entry kProcessEntries[] = {UMK_PROC_TASK_ENTRIES, made_entry("task", 0555, make_threads_directory)};
constexpr Entry kProcessDirectory = directory_entry("", kProcessEntries);

}  // namespace

const Entry& process_directory() { return kProcessDirectory; }

Result<RefPtr<vfs::OpenFile>> open_process_directory(RefPtr<vfs::Inode> inode, uint32_t flags) {
  return RefPtr<vfs::OpenFile>(TRY(make_ref<OpenProcess>(std::move(inode), flags)));
}

}  // namespace umk::proc

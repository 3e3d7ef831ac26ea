// The files of /proc/PID and /proc/PID/task/TID. Each function gives what proc(5) says under the file's name; ESRCH when the task is gone.
#pragma once

#include "core/fs/proc/entry.h"

namespace umk::proc {

/// The directory of a process, or of a thread that is named at the top.
const Entry& process_directory();
/// The open file of a directory that process_directory() describes.
Result<RefPtr<vfs::OpenFile>> open_process_directory(RefPtr<vfs::Inode> inode, uint32_t flags);

// process_status.cpp
Result<void> show_process_stat(const Context&, TextSink&);
Result<void> show_process_statm(const Context&, TextSink&);
Result<void> show_process_status(const Context&, TextSink&);
Result<void> show_limits(const Context&, TextSink&);

// process_settings.cpp
Result<void> show_name(const Context&, TextSink&);
Result<void> store_name(const Context&, std::string_view);
Result<void> show_cgroup(const Context&, TextSink&);
Result<void> show_oom_score(const Context&, TextSink&);
Result<void> show_oom_adjustment(const Context&, TextSink&);
Result<void> store_oom_adjustment(const Context&, std::string_view);
Result<void> show_personality(const Context&, TextSink&);
Result<void> show_wait_channel(const Context&, TextSink&);
Result<void> show_id_map(const Context&, TextSink&);
Result<void> show_group_setting(const Context&, TextSink&);

// process_memory.cpp
Result<void> show_arguments(const Context&, TextSink&);
Result<void> show_environment(const Context&, TextSink&);
Result<void> show_auxiliary_vector(const Context&, TextSink&);
Result<void> show_maps(const Context&, TextSink&);
Result<void> show_detailed_maps(const Context&, TextSink&);
Result<void> show_maps_sum(const Context&, TextSink&);

// process_places.cpp
Result<void> show_mounts(const Context&, TextSink&);
Result<void> show_mount_info(const Context&, TextSink&);
Result<String> read_executable(const Context&);
Result<vfs::Path> follow_executable(const Context&);
Result<String> read_working_directory(const Context&);
Result<vfs::Path> follow_working_directory(const Context&);
Result<String> read_root(const Context&);
Result<vfs::Path> follow_root(const Context&);
/// The text of a path as the current task sees it; with kernel threads from the top of the mount tree.
Result<String> path_text(Kernel& kernel, const vfs::Path& path);

// fd_directory.cpp: fd/ and fdinfo/
Result<RefPtr<vfs::Inode>> make_fd_directory(Superblock&, vfs::InodeNumber, const Entry&, const Subject&);
Result<RefPtr<vfs::Inode>> make_fd_details_directory(Superblock&, vfs::InodeNumber, const Entry&, const Subject&);

}  // namespace umk::proc

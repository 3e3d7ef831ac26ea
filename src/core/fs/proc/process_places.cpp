// Files of /proc/PID that tell where it is: mounts, mountinfo, and the links to its program, directory and root.
#include "core/fs/proc/proc.h"
#include "core/fs/proc/process_files.h"
#include "core/kernel/mm/address_space.h"
#include "core/kernel/vfs/vfs.h"

namespace umk::proc {

namespace {

/// Blanks in fields are written as octal numbers: fstab(5).
void put_escaped(TextSink& sink, std::string_view text) {
  for (const char character : text) {
    if (character == ' ' || character == '\t' || character == '\n' || character == '\\') format(sink, "\\{03o}", static_cast<unsigned char>(character));
    else sink.put({&character, 1});
  }
}

void put_mount_flags(TextSink& sink, uint64_t flags) {
  using namespace vfs::mount_flags;
  constexpr struct {
    uint64_t flag;
    std::string_view name;
  } kNames[] = {{kNoSetUid, ",nosuid"},       {kNoDevices, ",nodev"},      {kNoExec, ",noexec"},         {kNoAccessTime, ",noatime"},
                {kNoDirectoryAccessTime, ",nodiratime"}, {kRelativeTime, ",relatime"}, {kNoSymFollow, ",nosymfollow"}};
  for (const auto& [flag, name] : kNames)
    if (flags & flag) sink.put(name);
}

/// Calls `body` for each mount that the subject sees.
template <typename Body>
Result<void> for_each_mount(const Context& context, Body&& body) {
  const RefPtr<Task> task = TRY(context.subject.find(context.kernel));
  const RefPtr<vfs::FsContext> fs = task->fs_ref();
  if (!fs) return error(EINVAL);
  const vfs::Path root = fs->root();
  Vector<char> scratch;
  TRY(scratch.resize(2 * vfs::kPathLimit));
  context.kernel.vfs->mounts().for_each_visible(root, scratch, body);
  return {};
}

/// The text of a place that only those who may inspect the task are told.
Result<RefPtr<Task>> inspected_task(const Context& context) {
  const RefPtr<Task> task = TRY(context.subject.find(context.kernel));
  TRY(check_inspection(context.reader, *task));
  return task;
}

Result<vfs::Path> executable_of(const Task& task) {
  const RefPtr<mm::AddressSpace> space = task.address_space_ref();
  if (!space || !space->executable) return error(ENOENT);
  return vfs::Path(static_cast<const vfs::OpenFile&>(*space->executable).path());
}

Result<RefPtr<vfs::FsContext>> places_of(const Context& context) {
  const RefPtr<Task> task = TRY(inspected_task(context));
  RefPtr<vfs::FsContext> fs = task->fs_ref();
  if (!fs) return error(ENOENT);
  return fs;
}

}  // namespace

Result<String> path_text(Kernel& kernel, const vfs::Path& path) {
  const Task* current = Task::current_or_null();
  vfs::Path root;
  if (current && current->fs_) {
    root = current->fs().root();
  } else if (RefPtr<vfs::Mount> top = kernel.vfs->mounts().root()) {
    RefPtr<vfs::Dentry> dentry = top->root_ref();
    root = vfs::Path(std::move(top), std::move(dentry));
  }
  Vector<char> buffer;
  TRY(buffer.resize(vfs::kPathLimit));
  return String::from(TRY(kernel.vfs->path_text(path, root, buffer)));
}

// proc_pid_mounts(5): as fstab(5).
Result<void> show_mounts(const Context& context, TextSink& sink) {
  return for_each_mount(context, [&](const vfs::MountDescription& mount) {
    vfs::Superblock& superblock = mount.mount.superblock();
    put_escaped(sink, mount.mount.source().empty() ? std::string_view("none") : mount.mount.source());
    sink.put(" ");
    put_escaped(sink, mount.place);
    format(sink, " {} {}", superblock.type_name(), mount.mount.is_read_only() ? "ro" : "rw");
    put_mount_flags(sink, mount.mount.flags());
    superblock.show_options(sink);
    sink.put(" 0 0\n");
  });
}

// proc_pid_mountinfo(5). No mount is shared with another, so there are no optional fields.
Result<void> show_mount_info(const Context& context, TextSink& sink) {
  return for_each_mount(context, [&](const vfs::MountDescription& mount) {
    vfs::Superblock& superblock = mount.mount.superblock();
    format(sink, "{} {} {}:{} ", mount.id, mount.parent_id, superblock.device().major, superblock.device().minor);
    put_escaped(sink, mount.root);
    sink.put(" ");
    put_escaped(sink, mount.place);
    sink.put(mount.mount.flags() & vfs::mount_flags::kReadOnly ? " ro" : " rw");
    put_mount_flags(sink, mount.mount.flags());
    format(sink, " - {} ", superblock.type_name());
    put_escaped(sink, mount.mount.source().empty() ? std::string_view("none") : mount.mount.source());
    sink.put(superblock.is_read_only() ? " ro" : " rw");
    superblock.show_options(sink);
    sink.put("\n");
  });
}

Result<vfs::Path> follow_executable(const Context& context) {
  const RefPtr<Task> task = TRY(inspected_task(context));
  return executable_of(*task);
}
Result<String> read_executable(const Context& context) { return path_text(context.kernel, TRY(follow_executable(context))); }

Result<vfs::Path> follow_working_directory(const Context& context) {
  const RefPtr<vfs::FsContext> fs = TRY(places_of(context));
  return fs->working_directory();
}
Result<String> read_working_directory(const Context& context) { return path_text(context.kernel, TRY(follow_working_directory(context))); }

Result<vfs::Path> follow_root(const Context& context) {
  const RefPtr<vfs::FsContext> fs = TRY(places_of(context));
  return fs->root();
}
Result<String> read_root(const Context& context) { return path_text(context.kernel, TRY(follow_root(context))); }

}  // namespace umk::proc

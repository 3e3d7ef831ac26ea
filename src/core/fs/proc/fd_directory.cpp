// fd/ and fdinfo/ of a process: proc_pid_fd(5), proc_pid_fdinfo(5).
#include "core/fs/proc/nodes.h"
#include "core/fs/proc/process_files.h"
#include "core/kernel/vfs/vfs.h"

namespace umk::proc {

namespace {

/// The open file that a subject with a descriptor is about. ENOENT when it is closed.
Result<RefPtr<vfs::OpenFile>> file_of(Kernel& kernel, const Subject& subject, bool* close_on_exec = nullptr) {
  const Result<RefPtr<Task>> task = subject.find(kernel);
  if (!task.ok()) return error(ENOENT);
  const RefPtr<vfs::FdTable> fds = task.value()->fds_ref();
  if (!fds) return error(ENOENT);
  Result<RefPtr<vfs::OpenFile>> file = fds->get(vfs::Fd{subject.fd});
  if (!file.ok()) return error(ENOENT);
  if (close_on_exec) *close_on_exec = TRY(fds->get_close_on_exec(vfs::Fd{subject.fd}));
  return file;
}

Result<RefPtr<vfs::OpenFile>> inspected_file(const Context& context) {
  const RefPtr<Task> task = TRY(context.subject.find(context.kernel));
  TRY(check_inspection(context.reader, *task));
  return file_of(context.kernel, context.subject);
}

// Files without a name have a text of their own; those that have one may have one too (a memfd's), which comes first.
Result<String> read_fd(const Context& context) {
  const RefPtr<vfs::OpenFile> file = TRY(inspected_file(context));
  String text = TRY(file->describe());
  if (!text.empty()) return text;
  if (!file->path()) return String::from("anon_inode:");
  return path_text(context.kernel, file->path());
}

Result<vfs::Path> follow_fd(const Context& context) {
  const RefPtr<vfs::OpenFile> file = TRY(inspected_file(context));
  if (file->path()) return vfs::Path(file->path());
  return context.kernel.vfs->anonymous_path(file->inode_ref());
}

Result<void> show_details(const Context& context, TextSink& sink) {
  bool close_on_exec = false;
  const RefPtr<vfs::OpenFile> file = TRY(file_of(context.kernel, context.subject, &close_on_exec));
  const uint32_t flags = file->flags() | (close_on_exec ? vfs::open_flags::kCloseOnExec : 0);
  format(sink, "pos:\t{}\nflags:\t0{o}\nmnt_id:\t{}\nino:\t{}\n", file->position(), flags, file->path().mount ? file->path().mount->id() : 0,
         file->inode().number());
  file->describe_details(sink);
  return {};
}

/// What the mode of a link in fd/ says: how the file may be used.
constexpr Entry fd_link(uint32_t permissions) {
  return {.name = "", .mode = static_cast<uint32_t>(vfs::FileType::Symlink) | permissions, .read_link = read_fd, .follow = follow_fd};
}
constexpr Entry kLinks[] = {fd_link(0000), fd_link(0500), fd_link(0300), fd_link(0700)};
constexpr Entry kDetails = inspection_entry("", show_details, 0400);

int parse_fd(std::string_view name) {
  if (name == "0") return 0;
  if (name.empty() || name[0] < '1' || name[0] > '9' || name.size() > 9) return -1;
  const std::optional<uint64_t> number = parse_unsigned(name);
  return number ? static_cast<int>(*number) : -1;
}

class FdDirectory final : public DirectoryNode {
 public:
  enum class Shows { Links, Details };
  FdDirectory(Superblock& superblock, vfs::InodeNumber number, const Entry& entry, const Subject& subject, Shows shows)
      : DirectoryNode(superblock, number, entry, subject), shows_(shows) {}

  // A process may always look at its own descriptors, also after it has changed its ids.
  Result<void> check_access(const Credentials& who, unsigned want) override {
    const Result<void> allowed = Node::check_access(who, want);
    if (allowed.ok() || (want & 2)) return want & 2 ? Result<void>(error(EACCES)) : Result<void>();
    const Task* current = Task::current_or_null();
    const Result<RefPtr<Task>> task = subject().find(kernel());
    if (current && task.ok() && &task.value()->process() == &current->process()) return {};
    return error(EACCES);
  }

  bool revalidate(std::string_view, vfs::Inode* child) override {
    if (!child) return false;
    const Node& node = *static_cast<Node*>(child);
    const Result<RefPtr<vfs::OpenFile>> file = file_of(kernel(), node.subject());
    return file.ok() && &entry_for(*file.value()) == &node.entry();
  }

  Result<RefPtr<vfs::Inode>> lookup(std::string_view name) override {
    Subject with_fd = subject();
    with_fd.fd = parse_fd(name);
    if (with_fd.fd < 0) return error(ENOENT);
    const RefPtr<vfs::OpenFile> file = TRY(file_of(kernel(), with_fd));
    return make_inode(proc(), child_number(number(), name), entry_for(*file), with_fd);
  }

  Result<uint64_t> list(uint64_t position, vfs::InodeNumber parent_number, vfs::DirectorySink& sink) override {
    const Result<RefPtr<Task>> task = subject().find(kernel());
    if (!task.ok()) return error(ENOENT);
    if (!list_table(position, parent_number, sink)) return position;
    const RefPtr<vfs::FdTable> fds = task.value()->fds_ref();
    if (!fds) return position;
    const auto type = shows_ == Shows::Links ? vfs::FileType::Symlink : vfs::FileType::Regular;
    for (;;) {
      const int fd = fds->next_open(static_cast<int>(position - first_dynamic_position()));
      if (fd < 0) return position;
      char text[16];
      BufferSink name(text);
      format(name, "{}", fd);
      const uint64_t next = first_dynamic_position() + static_cast<uint64_t>(fd) + 1;
      if (!sink.emit(name.view(), child_number(number(), name.view()), type, next)) return position;
      position = next;
    }
  }

 private:
  const Entry& entry_for(const vfs::OpenFile& file) const {
    if (shows_ == Shows::Details) return kDetails;
    return kLinks[(file.is_readable() ? 1 : 0) + (file.is_writable() ? 2 : 0)];
  }

  const Shows shows_;
};

}  // namespace

Result<RefPtr<vfs::Inode>> make_fd_directory(Superblock& superblock, vfs::InodeNumber number, const Entry& entry, const Subject& subject) {
  return RefPtr<vfs::Inode>(TRY(make_ref<FdDirectory>(superblock, number, entry, subject, FdDirectory::Shows::Links)));
}

Result<RefPtr<vfs::Inode>> make_fd_details_directory(Superblock& superblock, vfs::InodeNumber number, const Entry& entry, const Subject& subject) {
  return RefPtr<vfs::Inode>(TRY(make_ref<FdDirectory>(superblock, number, entry, subject, FdDirectory::Shows::Details)));
}

}  // namespace umk::proc

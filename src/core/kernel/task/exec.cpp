#include "core/kernel/task/exec.h"

#include <cstring>

#include "core/abi/elf.h"
#include "core/host/calls.h"
#include "core/kernel/mm/address_space.h"
#include "core/kernel/security/identity.h"
#include "core/kernel/task/exec_layout.h"
#include "core/kernel/task/exec_support.h"
#include "core/kernel/task/exit.h"
#include "core/kernel/task/kernel.h"
#include "core/kernel/task/task.h"
#include "core/kernel/task/tty_recorder.h"
#include "core/kernel/time/log_limit.h"
#include "core/kernel/vfs/execution_hold.h"
#include "core/kernel/vfs/mount.h"
#include "core/kernel/vfs/vfs.h"
#include "core/lib/elf/script.h"

namespace umk {

namespace {
// A program that cannot be laid out can be started in a loop.
constinit LogLimit log_limit;
}  // namespace

// --- StringList

Result<void> StringList::add(std::string_view text) {
  TRY(offsets_.push_back(static_cast<uint32_t>(bytes_.size())));
  TRY(bytes_.append(std::span(text.data(), text.size())));
  return bytes_.push_back('\0');
}

Result<void> StringList::add_from_user(uint64_t array, size_t limit_bytes) {
  if (array == 0) return {};
  for (size_t index = 0;; ++index) {
    const uint64_t address = TRY((UserPtr<uint64_t>(array) + index).read());
    if (address == 0) return {};
    TRY(offsets_.push_back(static_cast<uint32_t>(bytes_.size())));
    // Room for a common string first, for the longest allowed one only when it turns out longer.
    size_t room = 256;
    for (;;) {
      const size_t start = bytes_.size();
      TRY(bytes_.resize(start + room));
      Result<size_t> length = copy_string_from_user(bytes_.data() + start, address, room);
      if (length.ok()) {
        TRY(bytes_.resize(start + length.value() + 1));
        break;
      }
      TRY(bytes_.resize(start));
      if (length.code() != ENAMETOOLONG) return length.failure();
      if (room >= elf::kMaximumArgumentBytes) return error(E2BIG);
      room = room * 16 > elf::kMaximumArgumentBytes ? elf::kMaximumArgumentBytes : room * 16;
    }
    if (bytes_.size() + offsets_.size() * sizeof(uint64_t) > limit_bytes) return error(E2BIG);
  }
}

Result<void> StringList::insert_front(std::string_view text) {
  TRY(add(text));
  const uint32_t added = offsets_.back();
  for (size_t i = offsets_.size() - 1; i > 0; --i) offsets_[i] = offsets_[i - 1];
  offsets_[0] = added;
  return {};
}

void StringList::remove_front() {
  if (!offsets_.empty()) offsets_.erase(0);
}

std::string_view StringList::at(size_t index) const { return std::string_view(bytes_.data() + offsets_[index]); }

Result<Vector<std::string_view>> StringList::views() const {
  Vector<std::string_view> views;
  TRY(views.reserve(count()));
  for (size_t i = 0; i < count(); ++i) TRY(views.push_back(at(i)));
  return views;
}

// --- opening and recognising

Result<RefPtr<vfs::OpenFile>> open_executable(Task& task, const vfs::Path* base, std::string_view path, unsigned walk_flags) {
  vfs::Vfs& vfs = *task.kernel().vfs;
  const vfs::Caller caller = task.caller();
  vfs::Path place = TRY(vfs.lookup(caller, {base, path}, walk_flags));
  vfs::Inode& inode = *place.dentry->inode();
  if (inode.is_symlink()) return error(ELOOP);
  if (!inode.is_regular() || (place.mount->flags() & vfs::mount_flags::kNoExec)) return error(EACCES);
  constexpr unsigned kExecute = 1;
  TRY(inode.check_access(caller.credentials, kExecute));
  Result<RefPtr<vfs::OpenFile>> opened = vfs.open_place(caller, place, vfs::open_flags::kReadOnly);
  if (opened.code() != EACCES) return opened;
  // Running a file needs no permission to read it: the kernel reads it.
  const RefPtr<Credentials> kernel_credentials = TRY(Credentials::root());
  const vfs::Caller kernel_caller{*kernel_credentials, caller.fs};
  return vfs.open_place(kernel_caller, std::move(place), vfs::open_flags::kReadOnly);
}

namespace {

using elf::ElfImage;

constexpr size_t kHeadBytes = 256;
static_assert(kHeadBytes >= elf::kScriptLineBytes);

/// A program file whose headers were read and checked.
struct Program {
  RefPtr<vfs::OpenFile> file;
  RefPtr<vfs::ExecutionHold> hold;
  std::optional<ElfImage> image;
};

Result<size_t> read_kernel(vfs::OpenFile& file, uint64_t offset, std::span<std::byte> into) {
  size_t done = 0;
  while (done < into.size()) {
    UserOutBuffer buffer = UserOutBuffer::kernel(into.subspan(done));
    const size_t got = TRY(file.read_at(offset + done, buffer));
    if (got == 0) break;
    done += got;
  }
  return done;
}

Result<Program> load_headers(RefPtr<vfs::OpenFile> file, std::span<const std::byte> head, elf::Role role) {
  Program program;
  const elf::FileSummary summary = TRY(elf::parse_file_header(head, role));
  Vector<std::byte> headers;
  TRY(headers.resize(summary.program_headers.size));
  if (TRY(read_kernel(*file, summary.program_headers.offset, headers)) != headers.size())
    return error(role == elf::Role::Program ? ENOEXEC : ELIBBAD);
  program.image.emplace(TRY(ElfImage::create(summary, headers, layout::kUserEnd)));
  program.file = std::move(file);
  return program;
}

Result<RefPtr<vfs::OpenFile>> open_from_cwd(Task& task, std::string_view path) { return open_executable(task, nullptr, path, vfs::walk::kFollow); }

/// Follows "#!" lines until a program is found; the arguments change as execve(2) describes.
Result<Program> resolve_program(Task& task, ExecRequest& request) {
  constexpr int kMaximumScripts = 4;
  for (int depth = 0;; ++depth) {
    RefPtr<vfs::ExecutionHold> hold = TRY(vfs::ExecutionHold::take(request.file->inode()));
    std::byte head[kHeadBytes];
    const size_t size = TRY(read_kernel(*request.file, 0, head));
    const std::span<const std::byte> start(head, size);
    const bool is_script = size >= 2 && head[0] == std::byte{'#'} && head[1] == std::byte{'!'};
    if (!is_script) {
      Program program = TRY(load_headers(std::move(request.file), start, elf::Role::Program));
      program.hold = std::move(hold);
      return program;
    }
    if (depth > kMaximumScripts) return error(ELOOP);
    const elf::Script script = TRY(elf::parse_script(start));
    if (request.name_is_unreachable) return error(ENOENT);
    // argv[0] gives way to: interpreter, its argument, the script's name.
    request.arguments.remove_front();
    TRY(request.arguments.insert_front(request.name));
    if (script.argument) TRY(request.arguments.insert_front(*script.argument));
    TRY(request.arguments.insert_front(script.interpreter));
    String name = TRY(String::from(script.interpreter));
    request.file = TRY(open_from_cwd(task, name));
    request.name = std::move(name);
  }
}

Result<Program> open_interpreter(Task& task, const Program& program) {
  const elf::FileRange range = *program.image->interpreter();
  Vector<std::byte> content;
  TRY(content.resize(range.size));
  if (TRY(read_kernel(*program.file, range.offset, content)) != range.size) return error(EIO);
  const std::string_view path = TRY(elf::interpreter_path(content));
  RefPtr<vfs::OpenFile> file = TRY(open_from_cwd(task, path));
  RefPtr<vfs::ExecutionHold> hold = TRY(vfs::ExecutionHold::take(file->inode()));
  std::byte head[kHeadBytes];
  const size_t size = TRY(read_kernel(*file, 0, head));
  Program interpreter = TRY(load_headers(std::move(file), std::span(head, size), elf::Role::Interpreter));
  interpreter.hold = std::move(hold);
  return interpreter;
}

/// Set-user-ID and set-group-ID bits count unless the mount or the task forbids them.
Result<RefPtr<Credentials>> credentials_after_exec(const Task& task, const vfs::OpenFile& file) {
  const vfs::Inode& inode = file.inode();
  const bool honoured = !task.no_new_privileges && !(file.path().mount && (file.path().mount->flags() & vfs::mount_flags::kNoSetUid));
  // A set-group-ID bit without group execution means mandatory locking, not a change of identity.
  constexpr uint32_t kSetGidAndExecute = vfs::mode::kSetGid | 010;
  const bool set_uid = honoured && (inode.mode() & vfs::mode::kSetUid);
  const bool set_gid = honoured && (inode.mode() & kSetGidAndExecute) == kSetGidAndExecute;
  return identity::after_exec(task.credentials(), set_uid ? inode.uid() : identity::kUnchangedId, set_gid ? inode.gid() : identity::kUnchangedId);
}

void set_task_name(Task& task, std::string_view path) {
  const size_t slash = path.rfind('/');
  const std::string_view base = slash == std::string_view::npos ? path : path.substr(slash + 1);
  const size_t length = std::min(base.size(), sizeof task.name - 1);
  std::memset(task.name, 0, sizeof task.name);
  std::memcpy(task.name, base.data(), length);
}

}  // namespace

Result<void> exec(Task& task, ExecRequest request) {
  Kernel& kernel = task.kernel();
  // As who calls has it, before a script's interpreter comes to stand in front.
  if (kernel.tty_recorder) [[unlikely]] kernel.tty_recorder->record_exec(controlling_terminal_of(task), request.arguments);
  // The name shown for a script is the script's.
  String shown_name = TRY(request.name.clone());
  RefPtr<vfs::OpenFile> executable = request.file;
  Program program = TRY(resolve_program(task, request));
  executable = program.file;
  std::optional<Program> interpreter;
  if (program.image->interpreter()) interpreter.emplace(TRY(open_interpreter(task, program)));

  RefPtr<const Credentials> credentials = TRY(credentials_after_exec(task, *program.file));
  RefPtr<mm::AddressSpace> space = TRY(mm::AddressSpace::create(kernel.engine, *kernel.cache_window));
  TRY(kill_other_threads_for_exec(task));
  TRY(kernel.engine.prepare_empty_address_space(task));

  // The point of no return.
  release_user_words(task);
  kernel.engine.enter_empty_address_space(task);
  kernel.engine.carry(*space);
  space = task.exchange_address_space(std::move(space));
  space = nullptr;
  task.is_borrowing = false;
  task.set_credentials(std::move(credentials));
  Result<void> outcome = reset_task_for_exec(task);
  ProgramLayout layout;
  if (outcome.ok()) outcome = layout.build(task, *program.image, program.file, interpreter ? &*interpreter->image : nullptr,
                                           interpreter ? interpreter->file : nullptr, request.name, request.arguments, request.environment);
  if (!outcome.ok()) {
    log_limited(log_limit, "exec", LogLevel::Info, "{}[{}]: the new program could not be laid out: errno {}", task.name, task.tid(), outcome.failure().code);
    // exit_group does not return to let go of these.
    program = Program{};
    interpreter.reset();
    executable = nullptr;
    request = ExecRequest{};
    exit_group(task, exit_status_of_signal(signals::kSegv));
  }
  task.address_space().executable = std::move(executable);
  task.address_space().executable_hold = std::move(program.hold);
  set_task_name(task, shown_name);
  task.process().has_execed = true;
  layout.start(task);
  return {};
}

DeviceNumber controlling_terminal_of(Task& task) {
  const Process& process = task.process();
  MutexLock lock(task.kernel().tasks.mutex);
  if (!process.session || process.has_left_terminal || !process.session->controlling_tty) return {};
  return process.session->controlling_tty->device_number();
}

}  // namespace umk

#include "core/init/first_program.h"

#include "core/abi/termios.h"
#include "core/kernel/mm/address_space.h"
#include "core/kernel/task/exec.h"
#include "core/kernel/task/exit.h"
#include "core/kernel/vfs/path_walk.h"

namespace umk::init {

namespace {

/// The request in memory of its own: the program starts when start() has long returned.
struct FirstProgram {
  Vector<String> candidates;
  StringList arguments;
  StringList environment;
  String search_path;
  bool is_command = false;
};

/// Handed to process 1; there is only one.
constinit FirstProgram* first_program = nullptr;

constexpr std::string_view kDefaultSearchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

Result<void> add_candidates(FirstProgram& program, const StartRequest& request) {
  auto add = [&](std::string_view path) -> Result<void> { return program.candidates.push_back(TRY(String::from(path))); };
  if (!request.program.empty()) return add(request.program);
  if (request.root_type.empty()) TRY(add("/init"));
  constexpr std::string_view kUsual[] = {"/sbin/init", "/etc/init", "/bin/init", "/bin/sh"};
  for (const std::string_view path : kUsual) TRY(add(path));
  return {};
}

Result<void> exec_path(Task& task, const FirstProgram& program, std::string_view path, std::string_view shown_name) {
  ExecRequest request;
  request.file = TRY(open_executable(task, nullptr, path, vfs::walk::kFollow));
  request.name = TRY(String::from(path));
  TRY(request.arguments.add(shown_name));
  for (size_t i = 0; i < program.arguments.count(); ++i) TRY(request.arguments.add(program.arguments.at(i)));
  for (size_t i = 0; i < program.environment.count(); ++i) TRY(request.environment.add(program.environment.at(i)));
  return exec(task, std::move(request));
}

/// As execvp(3): a name without a slash is looked for in the search path; a file that may not be executed is remembered.
Result<void> exec_searched(Task& task, const FirstProgram& program, std::string_view name) {
  if (name.find('/') != std::string_view::npos) return exec_path(task, program, name, name);
  std::string_view rest = program.search_path;
  int outcome = ENOENT;
  while (!rest.empty()) {
    const std::string_view directory = split_first(rest, ':');
    const String path = TRY(format_string("{}/{}", directory, name));
    const Result<void> executed = exec_path(task, program, path, name);
    if (executed.ok()) return {};
    if (executed.code() != ENOENT && executed.code() != ENOTDIR) outcome = executed.code();
  }
  return error(outcome);
}

void write_message(Task& task, std::string_view text) {
  Result<RefPtr<vfs::OpenFile>> stream = task.fds().get(Fd{2});
  if (!stream.ok()) return;
  UserInBuffer buffer = UserInBuffer::kernel(std::as_bytes(std::span(text.data(), text.size())));
  (void)stream.value()->write(buffer);
}

const char* reason(int code) {
  switch (code) {
    case ENOENT: return "there is no such file";
    case EACCES: return "it may not be executed";
    case ENOEXEC: return "it is no program for this machine";
    case ENOTDIR: return "a part of its path is no directory";
    case ELIBBAD: return "its interpreter is damaged";
    default: return "it cannot be executed";
  }
}

/// The terminal among the standard streams, if one is, becomes the command's controlling terminal: for its signals and /dev/tty.
void take_terminal(Task& task) {
  for (int number = 0; number < 3; ++number) {
    const Result<RefPtr<vfs::OpenFile>> stream = task.fds().get(Fd{number});
    if (stream.ok() && stream.value()->ioctl(task, termios::kTiocsctty, 0).ok()) return;
  }
}

/// First code of process 1, in its own, empty address space.
void become_first_program(Task& task) {
  const FirstProgram& program = *first_program;
  if (program.is_command) take_terminal(task);
  int outcome = ENOENT;
  for (const String& candidate : program.candidates) {
    if (!program.is_command) log(LogLevel::Info, "Run {} as init process", candidate);
    const Result<void> executed = program.is_command ? exec_searched(task, program, candidate) : exec_path(task, program, candidate, candidate);
    if (executed.ok()) return;
    outcome = executed.code();
    if (outcome != ENOENT) break;
  }
  char text[512];
  BufferSink sink(text);
  if (program.is_command) {
    format(sink, "umk: cannot run '{}': {} (errno {})\n", program.candidates[0], reason(outcome), outcome);
    write_message(task, sink.view());
    exit_group(task, exit_status_of_code(outcome == ENOENT ? 127 : 126));
  }
  format(sink, "no working init found: '{}': {} (errno {}). Name one with init=", program.candidates.back(), reason(outcome), outcome);
  sink.put(std::string_view("\0", 1));
  panic(text);
}

}  // namespace

Result<void> start_first_program(Kernel& kernel, InitContext context, const StartRequest& request) {
  auto program = TRY(make_unique<FirstProgram>());
  TRY(add_candidates(*program, request));
  program->is_command = request.is_command;
  program->search_path = TRY(String::from(kDefaultSearchPath));
  for (const std::string_view argument : request.arguments) TRY(program->arguments.add(argument));
  for (const std::string_view variable : request.environment) {
    TRY(program->environment.add(variable));
    if (variable.starts_with("PATH=")) program->search_path = TRY(String::from(variable.substr(5)));
  }
  context.address_space = TRY(mm::AddressSpace::create(kernel.engine, *kernel.cache_window));
  const RefPtr<Task> task = TRY(create_init_task(kernel, std::move(context)));
  first_program = program.release();
  return kernel.engine.start_in_new_vessel(*task, become_first_program);
}

}  // namespace umk::init

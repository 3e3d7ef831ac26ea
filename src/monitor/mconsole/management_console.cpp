#include "monitor/mconsole/management_console.h"

#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "monitor/machine/embedded.h"
#include "monitor/mconsole/console_device.h"
#include "monitor/mconsole/disk_device.h"
#include "monitor/mconsole/memory_device.h"
#include "monitor/switches.h"

namespace umk::monitor {

namespace {

constexpr size_t kMostRequests = 64;
constexpr std::chrono::milliseconds kLastWords{500};

}  // namespace

ManagementConsole::ManagementConsole(EventLoop& loop, const Configuration& configuration, std::vector<std::string>& notes)
    : configuration_(configuration),
      loop_(loop),
      directory_(configuration.name_directory, configuration.name, notes),
      notifier_(configuration.notify_socket.empty() ? nullptr : std::make_unique<Notifier>(configuration.notify_socket)),
      socket_(loop, directory_.socket_path(), [this](const MconsoleClient& client, std::string_view text) { serve(client, text); }),
      symbols_(umk_kernel_image_begin) {
  // With its NUL, as User Mode Linux sends it.
  const std::string path = directory_.socket_path();
  if (notifier_)
    if (const int error = notifier_->send(mconsole_format::Notice::Socket, std::string_view(path.c_str(), path.size() + 1)))
      notes.push_back(fmt::format("mconsole_notify - sendto failed, errno = {}", error));
  notes.push_back(fmt::format("mconsole (version 2) initialized on {}", path));
}

void ManagementConsole::start(Machine& machine, Lines& lines, Commands::End end) {
  kernel_ = std::make_unique<KernelCalls>(machine);
  devices_.add(std::make_unique<DiskDevice>(*kernel_, configuration_));
  devices_.add(std::make_unique<ConsoleDevice>("con", console::line_of_console(0), console::kConsoles, loop_, lines, *kernel_));
  devices_.add(std::make_unique<ConsoleDevice>("ssl", console::line_of_serial(0), console::kSerialLines, loop_, lines, *kernel_));
  devices_.add(std::make_unique<MemoryDevice>(*kernel_));
  commands_ = std::make_unique<Commands>(*kernel_, devices_, symbols_, std::move(end));

  // Host signals are the main thread's matter.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread([this] { run_commands(); });
  pthread_setname_np(thread.native_handle(), "umk-mconsole");
  thread.detach();
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void ManagementConsole::serve(const MconsoleClient& client, std::string_view text) {
  if (!commands_) return;
  if (Commands::is_urgent(text)) {
    socket_.answer(client, commands_->run(text));
    return commands_->finish();
  }
  {
    const std::lock_guard lock(mutex_);
    requests_.emplace_back(client, text);
    // Who floods the console waits with the others.
    if (requests_.size() >= kMostRequests) socket_.pause(true);
  }
  arrivals_.notify_one();
}

void ManagementConsole::run_commands() {
  for (;;) {
    Request request;
    {
      std::unique_lock lock(mutex_);
      arrivals_.wait(lock, [this] { return !requests_.empty(); });
      request = std::move(requests_.front());
      requests_.pop_front();
      is_at_work_ = true;
    }
    Answer answer = commands_->run(request.second);
    {
      const std::lock_guard lock(mutex_);
      answers_.emplace_back(request.first, std::move(answer));
      is_at_work_ = false;
    }
    rest_.notify_one();
    const uint64_t one = 1;
    (void)!write(loop_.wake_fd(), &one, sizeof one);
  }
}

void ManagementConsole::send_answers() {
  std::vector<std::pair<MconsoleClient, Answer>> answers;
  {
    const std::lock_guard lock(mutex_);
    answers.swap(answers_);
    if (requests_.size() < kMostRequests / 2) socket_.pause(false);
  }
  for (const auto& [client, answer] : answers) socket_.answer(client, answer);
}

void ManagementConsole::look() {
  send_answers();
  if (!notifier_ || !kernel_) return;
  while (const auto notice = kernel_->take_notice())
    if (const int error = notifier_->send(mconsole_format::Notice::User, *notice))
      kernel_->log(fmt::format("mconsole_notify - sendto failed, errno = {}", error));
}

void ManagementConsole::notify_panic(std::string_view reason) {
  const std::string text(reason);
  if (notifier_) (void)notifier_->send(mconsole_format::Notice::Panic, std::string_view(text.c_str(), text.size() + 1));
}

void ManagementConsole::end() {
  {
    // A command that ends the machine ("sysrq o") is answered, too.
    std::unique_lock lock(mutex_);
    rest_.wait_for(lock, kLastWords, [this] { return !is_at_work_; });
  }
  send_answers();
  socket_.drain(kLastWords);
  directory_.remove();
}

}  // namespace umk::monitor

#include "monitor/channels/helper_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <iterator>
#include <utility>

namespace umk::monitor {

namespace {

[[noreturn]] void become(const char* path, char* const* words, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(127);
  setsid();
  for (int number = 1; number < NSIG; ++number) ::signal(number, SIG_DFL);
  const int null = open("/dev/null", O_RDWR);
  dup2(null, STDIN_FILENO);
  dup2(null, STDOUT_FILENO);
  syscall(SYS_close_range, 3u, ~0u, 0);
  sigset_t none;
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, nullptr);
  execv(path, words);
  _exit(127);
}

}  // namespace

std::string find_program(const std::string& name) {
  if (name.empty()) return {};
  if (name.find('/') != std::string::npos) return access(name.c_str(), X_OK) == 0 ? name : std::string();
  const char* const variable = std::getenv("PATH");
  std::string path = variable ? variable : "/usr/local/bin:/usr/bin:/bin";
  path += ':';
  for (size_t begin = 0, end; (end = path.find(':', begin)) != std::string::npos; begin = end + 1) {
    const std::string folder = path.substr(begin, end - begin);
    const std::string file = (folder.empty() ? "." : folder) + "/" + name;
    if (access(file.c_str(), X_OK) == 0) return file;
  }
  return {};
}

std::unique_ptr<HelperProcess> HelperProcess::start(const std::vector<std::string>& words) {
  const std::string path = find_program(words.front());
  if (path.empty()) {
    errno = ENOENT;
    return nullptr;
  }
  std::vector<char*> pointers;
  for (const std::string& word : words) pointers.push_back(const_cast<char*>(word.c_str()));
  pointers.push_back(nullptr);
  // No signal is taken by the child before it is itself.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) become(path.c_str(), pointers.data(), parent);
  const int error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  if (pid < 0) return nullptr;
  return adopt(pid);
}

std::unique_ptr<HelperProcess> HelperProcess::adopt(pid_t pid) {
  if (pid <= 1) return nullptr;
  const int pidfd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
  if (pidfd < 0) return nullptr;
  return std::unique_ptr<HelperProcess>(new HelperProcess(pid, pidfd));
}

HelperProcess::~HelperProcess() { close(pidfd_); }

void HelperProcess::signal(int number) { syscall(SYS_pidfd_send_signal, pidfd_, number, nullptr, 0); }

EndingHelpers::Ending::Ending(EventLoop& loop, std::unique_ptr<HelperProcess> process)
    : helper(std::move(process)), patience(loop, [this] { helper->signal(SIGKILL); }) {}

void EndingHelpers::end(std::unique_ptr<HelperProcess> helper, std::chrono::milliseconds patience) {
  helper->signal(SIGTERM);
  endings_.emplace_back(loop_, std::move(helper));
  const auto place = std::prev(endings_.end());
  place->patience.start(patience);
  loop_.watch(place->helper->end_fd(), EPOLLIN, [this, place](uint32_t) {
    loop_.forget(place->helper->end_fd());
    endings_.erase(place);
  });
}

EndingHelpers::~EndingHelpers() {
  constexpr int kLastMomentMs = 200;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(kLastMomentMs);
  for (Ending& ending : endings_) {
    loop_.forget(ending.helper->end_fd());
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd entry{ending.helper->end_fd(), POLLIN, 0};
    if (poll(&entry, 1, std::max(0, static_cast<int>(left.count()))) == 0) ending.helper->signal(SIGKILL);
  }
}

}  // namespace umk::monitor

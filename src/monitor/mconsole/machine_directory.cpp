#include "monitor/mconsole/machine_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <stdexcept>

namespace umk::monitor {

namespace {

constexpr size_t kRandomCharacters = 6;

[[noreturn]] void fail(const std::string& what, int error) { throw std::runtime_error(fmt::format("{}: {}", what, std::strerror(error))); }

/// With a slash at its end.
std::string expand(std::string base) {
  if (base.empty()) base = "~/.uml";
  if (base[0] == '~') {
    const char* home = std::getenv("HOME");
    if (!home) throw std::runtime_error("make_uml_dir: no value in environment for $HOME");
    base = home + base.substr(1);
  }
  if (base[0] != '/') {
    // The management console's path is told to others, who are elsewhere.
    char here[PATH_MAX];
    if (getcwd(here, sizeof here)) base = std::string(here) + "/" + base;
  }
  if (base.back() != '/') base += '/';
  return base;
}

/// Holds off other machines that look for a name in the same place.
class Turn {
 public:
  explicit Turn(const std::string& directory) : fd_(open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    while (fd_ >= 0 && flock(fd_, LOCK_EX) < 0 && errno == EINTR) {
    }
  }
  ~Turn() {
    if (fd_ >= 0) close(fd_);
  }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  int fd_;
};

/// Whether somebody reads from the socket; not known when it cannot be asked.
std::optional<bool> is_served(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) return {};
  path.copy(address.sun_path, path.size());
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return {};
  const int result = connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
  const int error = errno;
  close(fd);
  if (result == 0) return true;
  return error == ECONNREFUSED ? std::optional(false) : std::nullopt;
}

/// Whose a directory is: nobody's as far as can be seen, that of a machine that is gone, or that of a living process.
struct Owner {
  enum class State { Unknown, Gone, Alive } state = State::Unknown;
  pid_t pid = 0;
};

Owner owner_of(const std::string& directory) {
  const int fd = open((directory + "/pid").c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  char text[32] = {};
  const ssize_t size = read(fd, text, sizeof text - 1);
  close(fd);
  pid_t pid = 0;
  if (size <= 0 || std::from_chars(text, text + size, pid).ec != std::errc() || pid <= 0) return {};
  if (kill(pid, 0) < 0 && errno == ESRCH) return {Owner::State::Gone, pid};
  // A socket that nobody reads from is of a machine that was killed, whoever has its number now.
  if (const auto served = is_served(directory + "/mconsole"); served && !*served) return {Owner::State::Gone, pid};
  return {Owner::State::Alive, pid};
}

/// Unlinks what is in the directory, which has no directories in it, and the directory. errno tells of a failure.
bool remove_directory(const std::string& path) {
  DIR* directory = opendir(path.c_str());
  if (!directory) return errno == ENOENT;
  bool all_gone = true;
  while (const dirent* entry = readdir(directory)) {
    const std::string_view name = entry->d_name;
    if (name == "." || name == "..") continue;
    all_gone = unlinkat(dirfd(directory), entry->d_name, 0) == 0 && all_gone;
  }
  const int error = errno;
  closedir(directory);
  errno = error;
  return all_gone && rmdir(path.c_str()) == 0;
}

bool is_random_name(std::string_view name) {
  return name.size() == kRandomCharacters && std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c); });
}

/// Nobody will ever ask for a random name again: what killed machines left under such names goes with the next that needs one.
void remove_abandoned(const std::string& base) {
  std::vector<std::string> names;
  DIR* directory = opendir(base.c_str());
  if (!directory) return;
  while (const dirent* entry = readdir(directory))
    if (is_random_name(entry->d_name)) names.emplace_back(entry->d_name);
  closedir(directory);
  for (const std::string& name : names)
    if (owner_of(base + name).state == Owner::State::Gone) remove_directory(base + name);
}

}  // namespace

MachineDirectory::MachineDirectory(const std::string& base_text, const std::string& name, std::vector<std::string>& notes) {
  const std::string base = expand(base_text);
  if (mkdir(base.c_str(), 0777) < 0 && errno != EEXIST) fail(fmt::format("Failed to mkdir '{}'", base), errno);
  const Turn turn(base);
  if (name.empty() || !try_name(base, name, notes)) take_random_name(base);
  owner_ = getpid();
  write_pid();
  if (socket_path().size() >= sizeof sockaddr_un::sun_path) {
    const std::string path = socket_path();
    remove();
    throw std::runtime_error(
        fmt::format("umid_file_name : buffer too short: {} has more than {} bytes", path, sizeof sockaddr_un::sun_path - 1));
  }
}

bool MachineDirectory::try_name(const std::string& base, const std::string& name, std::vector<std::string>& notes) {
  const std::string path = base + name;
  const auto refuse = [&](const std::string& why) {
    notes.push_back(why);
    notes.push_back(fmt::format("Failed to initialize umid \"{}\", trying with a random umid", name));
    return false;
  };
  if (mkdir(path.c_str(), 0777) < 0) {
    if (errno != EEXIST) return refuse(fmt::format("Failed to mkdir '{}': {}", path, std::strerror(errno)));
    if (const Owner owner = owner_of(path); owner.state == Owner::State::Alive)
      return refuse(fmt::format("umid \"{}\" is already in use by pid {}", name, owner.pid));
    if (!remove_directory(path) || mkdir(path.c_str(), 0777) < 0)
      return refuse(fmt::format("{} cannot be taken over: {}", path, std::strerror(errno)));
  }
  name_ = name;
  path_ = path;
  return true;
}

void MachineDirectory::take_random_name(const std::string& base) {
  remove_abandoned(base);
  std::string path = base + std::string(kRandomCharacters, 'X');
  // mkdtemp(3) makes names like those of mkstemp, but nobody else may look in; that is put as the user's mask says.
  if (!mkdtemp(path.data())) fail(fmt::format("Failed to mkdir '{}'", path), errno);
  const mode_t mask = umask(0);
  umask(mask);
  (void)chmod(path.c_str(), 0777 & ~mask);
  path_ = path;
  name_ = path.substr(base.size());
}

void MachineDirectory::write_pid() {
  const std::string path = path_ + "/pid", text = fmt::format("{}\n", owner_);
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
  const bool is_written = fd >= 0 && write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const int error = errno;
  if (fd >= 0) close(fd);
  if (is_written) return;
  remove();
  fail(path, error);
}

void MachineDirectory::remove() {
  if (path_.empty()) return;
  remove_directory(path_);
  path_.clear();
}

}  // namespace umk::monitor

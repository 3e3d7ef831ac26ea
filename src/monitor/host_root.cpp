#include "monitor/host_root.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string_view>

namespace umk::monitor {

namespace {

namespace fs = std::filesystem;

bool is_host_root(const Configuration& configuration) { return configuration.root_type == "hostfs"; }

/// Options of hostfs stand between commas; what is no other option is the directory.
template <typename Function>
void for_each_option(std::string_view options, Function function) {
  while (!options.empty()) {
    const size_t comma = options.find(',');
    const std::string_view option = options.substr(0, comma);
    options = comma == std::string_view::npos ? std::string_view() : options.substr(comma + 1);
    if (!option.empty()) function(option, !option.starts_with("owners="));
  }
}

std::string directory_of(const Configuration& configuration) {
  std::string directory = "/";
  for_each_option(configuration.root_flags, [&](std::string_view option, bool is_directory) {
    if (is_directory) directory = option;
  });
  return directory;
}

/// The error's number, 0 for a directory that this user may enter.
int obstacle(const std::string& path) {
  struct stat status {};
  if (stat(path.c_str(), &status) != 0) return errno;
  if (!S_ISDIR(status.st_mode)) return ENOTDIR;
  return access(path.c_str(), X_OK) == 0 ? 0 : errno;
}

}  // namespace

std::optional<std::string> settle_host_root(Configuration& configuration) {
  if (!is_host_root(configuration)) return {};
  std::string settled;
  std::optional<std::string> problem;
  for_each_option(configuration.root_flags, [&](std::string_view option, bool is_directory) {
    std::string text(option);
    if (is_directory) {
      if (const int error = obstacle(text); error != 0 && !problem) problem = fmt::format("umk: the root {}: {}", text, std::strerror(error));
      if (!text.starts_with('/') && !problem) text = fs::canonical(text).string();
      // Options that stood in it would be taken for options of the mount.
      if (text.find(',') != std::string::npos && !problem) problem = fmt::format("umk: the root {}: its name may have no comma", text);
    }
    settled += (settled.empty() ? "" : ",") + text;
  });
  if (!problem) configuration.root_flags = settled;
  return problem;
}

std::string home_of_command(const Configuration& configuration) {
  constexpr const char* kUsual = "/root";
  if (!is_host_root(configuration)) return kUsual;
  const std::string top = directory_of(configuration);
  if (access((top + kUsual).c_str(), R_OK | X_OK) == 0 || errno != EACCES) return kUsual;
  const char* home = std::getenv("HOME");
  return home && home[0] == '/' && access((top + home).c_str(), R_OK | X_OK) == 0 ? home : "/";
}

}  // namespace umk::monitor

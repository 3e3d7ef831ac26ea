// Start of the machine: what the monitor asks for, and what makes it so. Plain data: it crosses from the monitor into the kernel image.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace umk {
class Kernel;
}

namespace umk::init {

struct StartRequest {
  /// A cpio archive (newc, uncompressed) to unpack into the first root; may be empty when another root is given.
  std::span<const std::byte> root_archive;
  /// rootfstype= and rootflags=: empty for the archive alone.
  std::string_view root_type, root_source, root_flags;
  bool root_read_only = false;
  /// What runs first, with arguments and environment.
  std::string_view init_path;  // empty: /sbin/init, /etc/init, /bin/init, /bin/sh in turn (/init for the archive)
  std::span<const std::string_view> arguments;
  std::span<const std::string_view> environment;
  std::string_view working_directory;
  /// The standard streams of the first task: 0 the console, 1 streams of their own (umk run with pipes).
  bool standard_streams_are_pipes = false;
  std::string_view host_name;
};

/// Builds everything above the engine and starts the first task. Returns null, or the text of what failed (static storage).
const char* start(Kernel& kernel, const StartRequest& request);

}  // namespace umk::init

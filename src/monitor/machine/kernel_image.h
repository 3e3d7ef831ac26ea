// KernelImage: the embedded kernel, placed at its fixed addresses in this process.
#pragma once

#include <cstdint>

#include "engine/image/boot_protocol.h"

namespace umk::monitor {

/// Memory files and mappings of the machine, made once in the monitor before anything forks. Throws std::runtime_error with a message for people.
class KernelImage {
 public:
  /// Maps image, kernel data and page-cache window. Every vessel inherits these mappings.
  KernelImage();

  /// Closes the kernel's memory, for all processes that inherit it: to guests by its keys, which the caller allocated. Throws std::runtime_error.
  void close_to_guests();

  const engine::ImageHeader& header() const { return *header_; }
  int cache_fd() const { return cache_fd_; }
  uint64_t data_bytes_used() const { return data_bytes_used_; }

 private:
  void map_segments();
  void map_window();

  const engine::ImageHeader* header_ = nullptr;
  int cache_fd_ = -1;
  uint64_t data_bytes_used_ = 0;
};

}  // namespace umk::monitor

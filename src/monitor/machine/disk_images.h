// DiskImages: the files behind a machine's disks, opened, locked and checked before the machine starts. Copy-on-write files are made here when they are not
// there, in the format of User Mode Linux (core/lib/cow_format).
//
// A file that is written by one machine is used by no other: locks of fcntl(2), which User Mode Linux takes too, refuse the second and name the first. The lock
// proper belongs to the open file (F_OFD_SETLK), as the machine may open and close the same file by way of hostfs, which would give up a lock of the process. One
// byte far behind the end carries a lock of the process, so that others learn its number.
#pragma once

#include <deque>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/drivers/ubd/disk_image.h"
#include "monitor/configuration.h"

namespace umk::monitor {

/// A file that cannot be had. `error` is the errno with which it could not be opened, 0 for all else.
class DiskFileError : public std::runtime_error {
 public:
  DiskFileError(const std::string& text, int error) : std::runtime_error(text), error_(error) {}
  int error() const { return error_; }

 private:
  int error_;
};

class DiskImages {
 public:
  /// Opens the files of all disks. Throws DiskFileError with a text for people. `notes` gets what is worth telling although all is well.
  explicit DiskImages(const std::vector<DiskOption>& disks, std::vector<std::string>& notes);
  /// For the machine, which closes the descriptors. The texts live as long as this.
  const std::vector<ubd::DiskImage>& images() const { return images_; }

 private:
  void open_disk(const DiskOption& disk, std::vector<std::string>& notes);
  std::string_view keep(std::string text) { return texts_.emplace_back(std::move(text)); }

  std::deque<std::string> texts_;
  std::vector<ubd::DiskImage> images_;
};

/// UML's defaults: the file root_fs of the working directory is ubd0, and ubd0 is the root, when nothing else was said.
void choose_default_disks(Configuration& configuration);

}  // namespace umk::monitor

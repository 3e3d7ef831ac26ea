// TtyRecorder: who is told what happens on the terminals, and which programs start: tty_log_fd=, tty_log_dir=.
//
// Kernel::tty_recorder and tty::JobControl::recorder point to it; null when nothing is recorded, which is all that terminals and exec look at then.
//
// A terminal has an opening (its first open file), reads and writes, and a closing (its last file). record_open and record_close never sleep, as they
// are called with the terminal's lock, so that nothing of the next session of a terminal comes before the end of the last one; wait_for_room() is
// called before that. The others may sleep for a while when the host takes records slowly: they are called with no lock.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/abi/device_number.h"

namespace umk {

class StringList;
class Task;

class TtyRecorder {
 public:
  /// What a program did: read what was typed, or wrote what is shown.
  enum class Direction : uint32_t { Read = 1, Write = 2 };

  virtual void wait_for_room() = 0;
  /// `opener` is the controlling terminal of who opens it; 0:0 for none.
  virtual void record_open(DeviceNumber terminal, DeviceNumber opener) = 0;
  virtual void record_close(DeviceNumber terminal) = 0;
  virtual void record_data(DeviceNumber terminal, Direction direction, std::span<const uint8_t> bytes) = 0;
  /// A program is about to start, by what it is called with.
  virtual void record_exec(DeviceNumber terminal, const StringList& arguments) = 0;

 protected:
  ~TtyRecorder() = default;
};

/// The controlling terminal of a task's process, unless it gave it up; 0:0 for none. Takes the TaskList lock.
DeviceNumber controlling_terminal_of(Task& task);

}  // namespace umk

// The line discipline of a terminal: what lies between the bytes of a line and the programs that read and write.
//
//            receive()                              read()
//   keyboard ---------> editing, signals, lines ----------> program
//   screen   <--------- echo, output processing <---------- program
//            LineDevice::output()                   write()
//
// It follows termios(3) and Linux's N_TTY, byte for byte where a program can see it. It is a pure state machine: it has no
// clock, no lock and no sleep. Its owner (a console, a pseudo-terminal's slave) serialises all calls, sleeps for readers and
// writers, sends the signals, checks for background jobs (TOSTOP), and handles packet mode. The device's functions are
// called back from within, under whatever lock the owner holds.
//
// A reader loops over `read()`:
//
//   size_t count = 0;
//   for (;;) {
//     const LineDiscipline::ReadStep step = discipline.read(buffer, count);
//     count = step.count;
//     if (step.finished) return count;
//     // non-blocking: return count, or EAGAIN if that is 0; hang-up: likewise with EIO or 0
//     // sleep for input, at most step.wait_tenths tenths of a second if not 0; the time starts anew when count grows
//     // when the time is over: return count
//   }
//
// Where it differs from Linux on purpose: with VMIN over 64 a Linux read may return 64 bytes, since it copies in pieces of
// that size; ours waits for VMIN bytes as termios(3) says. Echo held back while output was suspended appears when it
// resumes, not with the next byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/abi/termios.h"
#include "core/lib/line_discipline/echo_queue.h"
#include "core/lib/line_discipline/input_queue.h"

namespace umk {

/// Signals that typed characters cause, by number.
enum class TerminalSignal : int { Interrupt = 2, Quit = 3, Stop = 20 };

/// What a line discipline needs of the terminal that it belongs to.
class LineDevice {
 public:
  /// How many bytes `output` takes now.
  virtual size_t output_room() const = 0;
  /// Bytes to show, at most `output_room()`.
  virtual void output(std::span<const uint8_t> bytes) = 0;
  /// A signal to the foreground process group.
  virtual void signal(TerminalSignal signal) = 0;
  /// Output that was not yet shown is to be forgotten, and input with it: a signal was typed (unless NOFLSH).
  virtual void flushed() = 0;
  /// Output was stopped or may go on: wake writers. What was handed to `output` before is not affected.
  virtual void flow_changed(bool is_stopped) = 0;

 protected:
  ~LineDevice() = default;
};

class LineDiscipline {
 public:
  explicit LineDiscipline(LineDevice& device, const KernelTermios& settings = termios::kDefaults);
  LineDiscipline(const LineDiscipline&) = delete;
  LineDiscipline& operator=(const LineDiscipline&) = delete;

  const KernelTermios& settings() const { return settings_; }
  /// Takes new settings. Input that waits stays: seen from canonical mode it is one line, from raw mode plain bytes.
  void set_settings(const KernelTermios& settings);

  /// Bytes from the line. Returns how many were taken: fewer than given when the queue is full, and then the owner keeps
  /// the rest and tries again after a read or a flush.
  size_t receive(std::span<const uint8_t> bytes);
  /// The line was broken (BRKINT, IGNBRK, PARMRK).
  void receive_break();

  /// Bytes from a program. Returns how many were taken; the writer waits for room for the rest.
  size_t write(std::span<const uint8_t> bytes);
  /// Shows echo that waits; to be called when the device has room again.
  void flush_echo();

  struct ReadStep {
    size_t count;             // bytes in the buffer, with those of earlier steps
    bool finished;            // the read is over
    unsigned wait_tenths = 0; // how long to wait for more, in tenths of a second; 0 for ever
  };
  /// One step of a read into `buffer`, whose first `already` bytes earlier steps have filled.
  ReadStep read(std::span<uint8_t> buffer, size_t already = 0);

  /// For poll(2): a read would return something, VMIN considered.
  bool is_readable() const;
  /// FIONREAD: the bytes of finished lines in canonical mode, else all.
  size_t readable_bytes() const;

  /// TCIFLUSH.
  void flush_input();
  /// TCOOFF and TCOON: they hold against VSTART.
  void suspend_output();
  void resume_output();
  bool is_stopped() const { return stopped_; }

 private:
  class Batch;
  enum class Erase { Character, Word, Line };

  bool has(uint32_t KernelTermios::* flags, uint32_t flag) const { return (settings_.*flags & flag) != 0; }
  bool input_flag(uint32_t flag) const { return has(&KernelTermios::input_flags, flag); }
  bool output_flag(uint32_t flag) const { return has(&KernelTermios::output_flags, flag); }
  bool local_flag(uint32_t flag) const { return has(&KernelTermios::local_flags, flag); }
  uint8_t control(size_t index) const { return settings_.control_characters[index]; }
  bool is_canonical() const { return local_flag(termios::kIcanon); }
  /// Lines are made here, and not by the other end of the line (EXTPROC).
  bool makes_lines() const { return is_canonical() && !local_flag(termios::kExtproc); }
  bool is_continuation(uint8_t c) const { return input_flag(termios::kIutf8) && (c & 0xc0) == 0x80; }
  bool is_special(uint8_t c) const { return (special_[c / 64] >> (c % 64)) & 1; }
  void find_special_characters();

  // receive.cpp: what typed characters do
  void receive_some(std::span<const uint8_t> bytes);
  uint8_t fold(uint8_t c) const;
  void receive_ordinary(uint8_t c);
  void receive_special(uint8_t c);
  bool receive_editing(uint8_t c);
  void receive_signal(TerminalSignal signal, uint8_t c);
  void send_signal(TerminalSignal signal);
  void queue_ordinary(uint8_t c);
  void start_literal();
  void reprint(uint8_t c);
  void start();
  void restart_by_any();

  // erase.cpp: taking characters back
  void erase(uint8_t c);
  void erase_visibly(Erase how);
  void echo_erasure(Erase how, uint8_t c, size_t length);
  void echo_tab_erasure();
  void finish_erasing();

  // output.cpp: echo and output processing
  void echo_raw(uint8_t c);
  void echo(uint8_t c);
  void echo_in_line(uint8_t c);
  void echo_in_bulk();
  bool show(const EchoItem& item, Batch& batch);
  bool process_output(uint8_t c, Batch& batch);
  size_t room() const { return stopped_ ? 0 : device_.output_room(); }

  LineDevice& device_;
  KernelTermios settings_;
  uint64_t special_[4] = {};
  InputQueue input_;
  EchoQueue echo_;
  size_t column_ = 0;       // of the cursor
  size_t line_column_ = 0;  // where the editable line starts
  bool literal_ = false;    // VLNEXT was typed
  bool erasing_ = false;    // between the \ and the / of ECHOPRT
  bool stopped_ = false;    // output is held back,
  bool suspended_ = false;  // by TCOOFF
};

}  // namespace umk

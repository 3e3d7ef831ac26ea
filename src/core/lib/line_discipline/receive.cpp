// What typed characters do.
#include <algorithm>

#include "core/lib/line_discipline/characters.h"
#include "core/lib/line_discipline/line_discipline.h"

namespace umk {

using namespace termios;

LineDiscipline::LineDiscipline(LineDevice& device, const KernelTermios& settings) : device_(device), settings_(settings) {
  find_special_characters();
}

void LineDiscipline::set_settings(const KernelTermios& settings) {
  const KernelTermios old = settings_;
  settings_ = settings;
  if ((old.local_flags ^ settings.local_flags) & (kIcanon | kExtproc)) {
    input_.forget_lines(is_canonical());
    erasing_ = false;
    literal_ = false;
  }
  find_special_characters();
  // Without IXON nobody could type the VSTART that a VSTOP waits for.
  if ((old.input_flags & kIxon) && !input_flag(kIxon) && !suspended_) {
    start();
    flush_echo();
  }
}

void LineDiscipline::find_special_characters() {
  std::fill(std::begin(special_), std::end(special_), 0);
  auto add = [this](uint8_t c) { special_[c / 64] |= uint64_t{1} << (c % 64); };
  auto add_controls = [&](std::initializer_list<size_t> indices) {
    for (const size_t index : indices) add(control(index));
  };
  if (input_flag(kIgncr | kIcrnl)) add('\r');
  if (input_flag(kInlcr)) add('\n');
  if (is_canonical()) {
    add('\n');
    add_controls({kVerase, kVkill, kVeof, kVeol});
    if (local_flag(kIexten)) add_controls({kVwerase, kVlnext, kVeol2});
    if (local_flag(kIexten) && local_flag(kEcho)) add_controls({kVreprint});
  }
  if (input_flag(kIxon)) add_controls({kVstart, kVstop});
  if (local_flag(kIsig)) add_controls({kVintr, kVquit, kVsusp});
  special_[0] &= ~(uint64_t{1} << kDisabledCharacter);
}

size_t LineDiscipline::receive(std::span<const uint8_t> bytes) {
  size_t taken = 0;
  while (taken < bytes.size()) {
    // One place stays free for the end of a line. PARMRK may make three bytes of one.
    size_t room = InputQueue::kCapacity - input_.size();
    const bool is_full = room == 0;
    if (input_flag(kParmrk)) room = (room + 2) / 3;
    if (room > 0) --room;
    if (room == 0) {
      // While there is nothing to read an endless line must go on, or its end could never be typed: each further byte
      // takes the place of the one before.
      if (!is_canonical() || input_.has_line()) break;
      if (is_full) input_.cut(input_.head() - 1);
      room = 1;
    }
    const size_t count = std::min(room, bytes.size() - taken);
    receive_some(bytes.subspan(taken, count));
    taken += count;
  }
  return taken;
}

void LineDiscipline::receive_some(std::span<const uint8_t> bytes) {
  const bool folds = input_flag(kIstrip) || (input_flag(kIuclc) && local_flag(kIexten));
  for (uint8_t c : bytes) {
    if (local_flag(kExtproc)) {
      input_.put(folds ? fold(c) : c);
    } else if (literal_) {
      literal_ = false;
      receive_ordinary(fold(c));
    } else if (c = fold(c); is_special(c)) {
      receive_special(c);
    } else {
      receive_ordinary(c);
    }
  }
  flush_echo();
}

uint8_t LineDiscipline::fold(uint8_t c) const {
  if (input_flag(kIstrip)) c &= 0x7f;
  if (input_flag(kIuclc) && local_flag(kIexten)) c = characters::to_lower(c);
  return c;
}

void LineDiscipline::queue_ordinary(uint8_t c) {
  // PARMRK marks bad bytes with 0xff, so a good 0xff is doubled.
  if (c == 0xff && input_flag(kParmrk)) input_.put(c);
  input_.put(c);
}

void LineDiscipline::receive_ordinary(uint8_t c) {
  restart_by_any();
  if (local_flag(kEcho)) {
    finish_erasing();
    echo_in_line(c);
    echo_in_bulk();
  }
  queue_ordinary(c);
}

void LineDiscipline::receive_special(uint8_t c) {
  if (input_flag(kIxon) && c == control(kVstart)) {
    start();
    return flush_echo();
  }
  if (input_flag(kIxon) && c == control(kVstop)) {
    if (!stopped_) {
      stopped_ = true;
      device_.flow_changed(true);
    }
    return;
  }
  if (local_flag(kIsig)) {
    if (c == control(kVintr)) return receive_signal(TerminalSignal::Interrupt, c);
    if (c == control(kVquit)) return receive_signal(TerminalSignal::Quit, c);
    if (c == control(kVsusp)) return receive_signal(TerminalSignal::Stop, c);
  }
  restart_by_any();

  if (c == '\r') {
    if (input_flag(kIgncr)) return;
    if (input_flag(kIcrnl)) c = '\n';
  } else if (c == '\n' && input_flag(kInlcr)) {
    c = '\r';
  }
  if (is_canonical() && receive_editing(c)) return;

  if (local_flag(kEcho)) {
    finish_erasing();
    if (c == '\n') echo_raw(c);
    else echo_in_line(c);
    echo_in_bulk();
  }
  queue_ordinary(c);
}

/// Characters that mean something in canonical mode alone; false when `c` is none.
bool LineDiscipline::receive_editing(uint8_t c) {
  const bool is_extended = local_flag(kIexten);
  if (c == control(kVerase) || c == control(kVkill) || (is_extended && c == control(kVwerase))) {
    erase(c);
  } else if (is_extended && c == control(kVlnext)) {
    start_literal();
  } else if (is_extended && local_flag(kEcho) && c == control(kVreprint)) {
    reprint(c);
  } else if (c == '\n') {
    if (local_flag(kEcho | kEchonl)) echo_raw('\n');
    input_.put_line_end('\n');
  } else if (c == control(kVeof)) {
    input_.put_line_end(kDisabledCharacter);
  } else if (c == control(kVeol) || (is_extended && c == control(kVeol2))) {
    if (local_flag(kEcho)) echo_in_line(c);
    if (c == 0xff && input_flag(kParmrk)) input_.put(c);
    input_.put_line_end(c);
  } else {
    return false;
  }
  echo_in_bulk();
  return true;
}

void LineDiscipline::start_literal() {
  literal_ = true;
  if (!local_flag(kEcho)) return;
  finish_erasing();
  // A caret under the cursor until the character comes.
  if (local_flag(kEchoctl)) {
    echo_raw('^');
    echo_raw('\b');
  }
}

void LineDiscipline::reprint(uint8_t c) {
  finish_erasing();
  echo(c);
  echo_raw('\n');
  for (size_t position = input_.line_head(); position != input_.head(); ++position) echo(input_.at(position));
}

void LineDiscipline::receive_signal(TerminalSignal signal, uint8_t c) {
  send_signal(signal);
  if (input_flag(kIxon)) start();
  if (!local_flag(kEcho)) return flush_echo();
  echo(c);
  echo_in_bulk();
}

void LineDiscipline::send_signal(TerminalSignal signal) {
  device_.signal(signal);
  if (local_flag(kNoflsh)) return;
  echo_.clear();
  flush_input();
  device_.flushed();
}

void LineDiscipline::receive_break() {
  if (input_flag(kIgnbrk)) return;
  if (input_flag(kBrkint)) return send_signal(TerminalSignal::Interrupt);
  // An overrun: nothing says that a break was lost.
  if (InputQueue::kCapacity - input_.size() <= 3) return;
  if (input_flag(kParmrk)) {
    input_.put(0xff);
    input_.put(0);
  }
  input_.put(0);
}

/// Lets output go on; echo that waited is the caller's to flush.
void LineDiscipline::start() {
  if (!stopped_ || suspended_) return;
  stopped_ = false;
  device_.flow_changed(false);
}

/// IXANY: any character starts output again.
void LineDiscipline::restart_by_any() {
  if (!stopped_ || suspended_ || !input_flag(kIxon) || !input_flag(kIxany)) return;
  start();
  flush_echo();
}

void LineDiscipline::suspend_output() {
  if (suspended_) return;
  suspended_ = true;
  if (stopped_) return;
  stopped_ = true;
  device_.flow_changed(true);
}

void LineDiscipline::resume_output() {
  if (!suspended_) return;
  suspended_ = false;
  start();
  flush_echo();
}

}  // namespace umk

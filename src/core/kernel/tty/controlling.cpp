// Whose terminal it is: sessions, the foreground group, hang-up. credentials(7), ioctl_tty(2) "Controlling terminal".
#include "core/kernel/tty/tty.h"

namespace umk::tty {

namespace {

bool is_terminal_of(const Tty& terminal, const JobMember& member) { return member.terminal.get() == &terminal; }

}  // namespace

void Tty::signal(TerminalSignal signal) {
  if (foreground_) jobs_.signal_group(*foreground_, static_cast<int>(signal));
}

void Tty::flow_changed(bool is_stopped) {
  if (!is_stopped) wake_writers();
}

void Tty::flushed() { discard_output(); }

int32_t Tty::foreground_group_id() {
  MutexLock lock(mutex_);
  return foreground_ ? foreground_->id() : -1;
}

Result<void> Tty::check_foreground_locked(int signal) {
  if (!foreground_) return {};
  const JobMember member = jobs_.current();
  if (!member || !is_terminal_of(*this, member) || member.group == foreground_) return {};
  if (jobs_.is_ignored(signal)) {
    // Reading would take input from the foreground; output may go through.
    if (signal == signals::kTerminalIn) return error(EIO);
    return {};
  }
  if (jobs_.is_orphaned(*member.group)) return error(EIO);
  jobs_.signal_group(*member.group, signal);
  return error(ERESTARTSYS);
}

void Tty::set_session_locked(const JobMember& member) {
  session_ = member.session;
  foreground_ = member.group;
  jobs_.set_terminal(*session_, RefPtr<ControllingTerminal>(this));
}

Result<void> Tty::acquire(const JobMember& member, bool steal, bool is_readable) {
  MutexLock lock(mutex_);
  return acquire_locked(member, steal, is_readable);
}

Result<void> Tty::acquire_locked(const JobMember& member, bool steal, bool is_readable) {
  if (!member) return error(EPERM);
  if (member.is_leader && session_ && session_ == member.session) return {};
  if (!member.is_leader || member.terminal) return error(EPERM);
  if (session_) {
    if (!steal || !member.may_administer) return error(EPERM);
    jobs_.set_terminal(*session_, nullptr);
  }
  if (!is_readable && !member.may_administer) return error(EPERM);
  set_session_locked(member);
  return {};
}

Result<void> Tty::give_up() {
  const JobMember member = jobs_.current();
  if (!member || !is_terminal_of(*this, member)) return error(ENOTTY);
  if (!member.is_leader) {
    jobs_.leave_terminal();
    return {};
  }
  MutexLock lock(mutex_);
  if (session_ != member.session) return {};
  if (foreground_) {
    jobs_.signal_group(*foreground_, signals::kHangup);
    jobs_.signal_group(*foreground_, signals::kContinue);
  }
  jobs_.set_terminal(*session_, nullptr);
  session_ = nullptr;
  foreground_ = nullptr;
  return {};
}

void Tty::on_leader_exit(Session& session) {
  MutexLock lock(mutex_);
  if (session_.get() != &session) return;
  if (hangs_up_with_leader()) {
    hang_up_locked(true);
    return;
  }
  if (foreground_) jobs_.signal_group(*foreground_, signals::kHangup);
  jobs_.set_terminal(*session_, nullptr);
  session_ = nullptr;
  foreground_ = nullptr;
}

void Tty::hang_up() {
  MutexLock lock(mutex_);
  hang_up_locked(false);
}

void Tty::start_anew_locked() {
  flush_input_locked();
  discipline_.resume_output();
}

void Tty::hang_up_locked(bool leader_exits) {
  const bool had_users = has_users();
  for (TtyFile& file : files_)
    if (!file.is_console()) {
      file.is_hung_up_ = true;
      file.forget_async();
    }
  told_.clear();
  if (session_) {
    jobs_.set_terminal(*session_, nullptr);
    if (leader_exits) {
      if (foreground_) jobs_.signal_group(*foreground_, signals::kHangup);
    } else {
      jobs_.hang_up_session(*session_, foreground_);
    }
    session_ = nullptr;
    foreground_ = nullptr;
  }
  // Whoever opens it next finds a terminal as new.
  is_exclusive_ = false;
  start_anew_locked();
  restore_settings_locked();
  readers_.wake_all();
  writers_.wake_all();
  if (had_users && !has_users()) on_last_use();
}

Result<ProcessId> Tty::foreground_for(bool from_master) {
  if (!from_master && !is_terminal_of(*this, jobs_.current())) return error(ENOTTY);
  MutexLock lock(mutex_);
  return foreground_ ? foreground_->id() : ProcessId{0};
}

Result<ProcessId> Tty::session_for(bool from_master) {
  if (!from_master && !is_terminal_of(*this, jobs_.current())) return error(ENOTTY);
  MutexLock lock(mutex_);
  if (!session_) return error(ENOTTY);
  return session_->id();
}

Result<void> Tty::set_foreground(ProcessId id) {
  MutexLock lock(mutex_);
  const Result<void> allowed = check_foreground_locked(signals::kTerminalOut);
  if (!allowed.ok()) return allowed.code() == EIO ? error(ENOTTY) : allowed.failure();
  if (id < 0) return error(EINVAL);
  const JobMember member = jobs_.current();
  if (!is_terminal_of(*this, member) || session_ != member.session) return error(ENOTTY);
  RefPtr<ProcessGroup> group = jobs_.find_group(id);
  if (!group) return error(ESRCH);
  if (&group->session() != session_.get()) return error(EPERM);
  foreground_ = std::move(group);
  return {};
}

void Tty::set_window_size(const WindowSize& size) {
  MutexLock lock(mutex_);
  change_window_size_locked(size);
}

void Tty::change_window_size_locked(const WindowSize& size) {
  const bool is_same = size.rows == window_size_.rows && size.columns == window_size_.columns && size.width_pixels == window_size_.width_pixels &&
                       size.height_pixels == window_size_.height_pixels;
  if (is_same) return;
  window_size_ = size;
  if (foreground_) jobs_.signal_group(*foreground_, signals::kWindowChange);
}

WindowSize Tty::window_size() {
  MutexLock lock(mutex_);
  return window_size_;
}

}  // namespace umk::tty

// What ioctl(2) asks of terminals: ioctl_tty(2), tcsetattr(3), tcflow(3).
#include "core/kernel/tty/speeds.h"
#include "core/kernel/tty/tty.h"

namespace umk::tty {

using namespace termios;

namespace {

/// What TCSETA leaves alone is the upper half of each set of flags.
uint32_t with_low_half(uint32_t flags, uint16_t low) { return (flags & 0xffff0000u) | low; }

KernelTermio short_form(const KernelTermios& settings) {
  KernelTermio result{};
  result.input_flags = static_cast<uint16_t>(settings.input_flags);
  result.output_flags = static_cast<uint16_t>(settings.output_flags);
  result.control_flags = static_cast<uint16_t>(settings.control_flags);
  result.local_flags = static_cast<uint16_t>(settings.local_flags);
  result.line = settings.line;
  for (size_t i = 0; i < sizeof result.control_characters; ++i) result.control_characters[i] = settings.control_characters[i];
  return result;
}

KernelTermios2 long_form(const KernelTermios& settings, uint32_t speed) {
  KernelTermios2 result{settings.input_flags, settings.output_flags, settings.control_flags, settings.local_flags, settings.line, {}, speed, speed};
  for (size_t i = 0; i < kControlCharacterCount; ++i) result.control_characters[i] = settings.control_characters[i];
  return result;
}

template <typename T>
Result<void> put(uint64_t argument, const T& value) {
  return UserPtr<T>(argument).write(value);
}

}  // namespace

Result<int64_t> Tty::device_ioctl(TtyFile&, uint32_t, uint64_t) { return error(ENOTTY); }

Result<int64_t> Tty::ioctl(TtyFile& file, uint32_t request, uint64_t argument) {
  {
    MutexLock lock(mutex_);
    if (file.is_hung_up_) return error(request == kTiocspgrp ? ENOTTY : EIO);
    if (is_disconnected()) return error(EIO);
  }
  switch (request) {
    case kTiocnotty:
      TRY(give_up());
      return int64_t{0};
    case kTiocsctty: {
      TRY(acquire(jobs_.current(), argument == 1, file.is_readable()));
      return int64_t{0};
    }
    case kTcflsh: {
      MutexLock lock(mutex_);
      TRY(check_foreground_locked(signals::kTerminalOut));
      if (argument > kTcioflush) return error(EINVAL);
      if (argument != kTcoflush) flush_input_locked();
      if (argument != kTciflush) {
        discard_output();
        wake_writers();
      }
      return int64_t{0};
    }
    case kFionread: case kTiocoutq: {
      int32_t count;
      {
        MutexLock lock(mutex_);
        count = static_cast<int32_t>(request == kFionread ? discipline_.readable_bytes() : output_pending());
      }
      TRY(put(argument, count));
      return int64_t{0};
    }
  }
  const Result<int64_t> common = common_ioctl(file, request, argument, false);
  if (common.code() != ENOTTY) return common.ok() ? Result<int64_t>(common.value()) : common.failure();
  return device_ioctl(file, request, argument);
}

Result<int64_t> Tty::common_ioctl(vfs::OpenFile& file, uint32_t request, uint64_t argument, bool from_master) {
  auto copy_settings = [this](KernelTermios& settings, uint32_t& speed) {
    MutexLock lock(mutex_);
    settings = discipline_.settings();
    speed = speed_;
  };
  KernelTermios settings;
  uint32_t speed = 0;
  switch (request) {
    case kTcgets:
      copy_settings(settings, speed);
      if (copy_to_user(argument, &settings, sizeof settings).faulted) return error(EFAULT);
      break;
    case kTcgets2: {
      copy_settings(settings, speed);
      const KernelTermios2 full = long_form(settings, speed);
      if (copy_to_user(argument, &full, sizeof full).faulted) return error(EFAULT);
      break;
    }
    case kTcgeta: {
      copy_settings(settings, speed);
      const KernelTermio few = short_form(settings);
      if (copy_to_user(argument, &few, sizeof few).faulted) return error(EFAULT);
      break;
    }
    case kTcsets: case kTcsetsw: case kTcsetsf:
    case kTcsets2: case kTcsetsw2: case kTcsetsf2:
    case kTcseta: case kTcsetaw: case kTcsetaf:
      TRY(take_settings(file, request, argument));
      break;

    case kTiocglcktrmios: {
      {
        MutexLock lock(mutex_);
        settings = locks_;
      }
      if (copy_to_user(argument, &settings, sizeof settings).faulted) return error(EFAULT);
      break;
    }
    case kTiocslcktrmios: {
      if (!jobs_.current().may_administer) return error(EPERM);
      settings = TRY(UserPtr<KernelTermios>(argument).read());
      MutexLock lock(mutex_);
      locks_ = settings;
      break;
    }

    case kTiocgwinsz:
      TRY(put(argument, window_size()));
      break;
    case kTiocswinsz:
      set_window_size(TRY(UserPtr<WindowSize>(argument).read()));
      break;

    case kTiocgpgrp:
      TRY(put(argument, TRY(foreground_for(from_master))));
      break;
    case kTiocspgrp: {
      {
        // A background process stops here before its argument is looked at.
        MutexLock lock(mutex_);
        const Result<void> allowed = check_foreground_locked(signals::kTerminalOut);
        if (!allowed.ok()) return allowed.code() == EIO ? error(ENOTTY) : allowed.failure();
      }
      TRY(set_foreground(TRY(UserPtr<int32_t>(argument).read())));
      break;
    }
    case kTiocgsid:
      TRY(put(argument, TRY(session_for(from_master))));
      break;

    case kTcsbrk: case kTcsbrkp:
      // Our lines have no break; what remains is the wait until all is sent, tcdrain(3).
      {
        MutexLock lock(mutex_);
        TRY(check_foreground_locked(signals::kTerminalOut));
        TRY(drain_locked(file));
      }
      break;
    case kTiocsbrk: case kTioccbrk:
      break;
    case kTcxonc:
      TRY(flow_control(file, argument));
      break;

    case kTiocsti:
      TRY(simulate_input(argument));
      break;
    case kTiocexcl: case kTiocnxcl: {
      MutexLock lock(mutex_);
      is_exclusive_ = request == kTiocexcl;
      break;
    }
    case kTiocgexcl:
      TRY(put(argument, int32_t{is_exclusive_}));
      break;
    case kTiocgetd:
      TRY(put(argument, int32_t{0}));
      break;
    case kTiocsetd: {
      const int32_t wanted = TRY(UserPtr<int32_t>(argument).read());
      MutexLock lock(mutex_);
      TRY(check_foreground_locked(signals::kTerminalOut));
      if (wanted != 0) return error(EINVAL);
      break;
    }
    case kTiocgdev:
      TRY(put(argument, static_cast<uint32_t>(device_.encoded())));
      break;
    case kTiocgsoftcar:
      copy_settings(settings, speed);
      TRY(put(argument, int32_t{(settings.control_flags & kClocal) != 0}));
      break;
    case kTiocssoftcar: {
      const bool is_local = TRY(UserPtr<int32_t>(argument).read()) != 0;
      MutexLock lock(mutex_);
      settings = discipline_.settings();
      settings.control_flags = is_local ? settings.control_flags | kClocal : settings.control_flags & ~kClocal;
      set_settings_locked(settings);
      break;
    }
    case kTiocvhangup:
      if (!jobs_.current().may_administer) return error(EPERM);
      hang_up();
      break;
    default:
      return error(ENOTTY);
  }
  return int64_t{0};
}

Result<void> Tty::take_settings(vfs::OpenFile& file, uint32_t request, uint64_t argument) {
  KernelTermios settings;
  uint32_t speed;
  {
    MutexLock lock(mutex_);
    TRY(check_foreground_locked(signals::kTerminalOut));
    settings = discipline_.settings();
    speed = speed_;
  }

  const bool is_short = request == kTcseta || request == kTcsetaw || request == kTcsetaf;
  const bool is_long = request == kTcsets2 || request == kTcsetsw2 || request == kTcsetsf2;
  if (is_short) {
    const KernelTermio few = TRY(UserPtr<KernelTermio>(argument).read());
    settings.input_flags = with_low_half(settings.input_flags, few.input_flags);
    settings.output_flags = with_low_half(settings.output_flags, few.output_flags);
    settings.control_flags = with_low_half(settings.control_flags, few.control_flags);
    settings.local_flags = with_low_half(settings.local_flags, few.local_flags);
    for (size_t i = 0; i < sizeof few.control_characters; ++i) settings.control_characters[i] = few.control_characters[i];
  } else if (is_long) {
    const KernelTermios2 full = TRY(UserPtr<KernelTermios2>(argument).read());
    settings = {full.input_flags, full.output_flags, full.control_flags, full.local_flags, full.line, {}};
    for (size_t i = 0; i < kControlCharacterCount; ++i) settings.control_characters[i] = full.control_characters[i];
    speed = full.output_speed;
  } else {
    settings = TRY(UserPtr<KernelTermios>(argument).read());
  }
  if (const std::optional<uint32_t> named = speed_of(settings.control_flags)) speed = *named;

  const bool flushes = request == kTcsetsf || request == kTcsetsf2 || request == kTcsetaf;
  const bool waits = flushes || request == kTcsetsw || request == kTcsetsw2 || request == kTcsetaw;
  MutexLock lock(mutex_);
  if (flushes) flush_input_locked();
  if (waits) TRY(drain_locked(file));
  settings = with_locks_locked(settings);
  settings.line = 0;
  adjust_settings(settings);
  set_settings_locked(settings);
  speed_ = speed;
  return {};
}

// ioctl_tty(2), TIOCSLCKTRMIOS.
KernelTermios Tty::with_locks_locked(KernelTermios wanted) const {
  const KernelTermios& now = discipline_.settings();
  const auto merged = [](uint32_t after, uint32_t before, uint32_t locked) { return (after & ~locked) | (before & locked); };
  wanted.input_flags = merged(wanted.input_flags, now.input_flags, locks_.input_flags);
  wanted.output_flags = merged(wanted.output_flags, now.output_flags, locks_.output_flags);
  wanted.control_flags = merged(wanted.control_flags, now.control_flags, locks_.control_flags);
  wanted.local_flags = merged(wanted.local_flags, now.local_flags, locks_.local_flags);
  for (size_t i = 0; i < kControlCharacterCount; ++i)
    if (locks_.control_characters[i]) wanted.control_characters[i] = now.control_characters[i];
  return wanted;
}

void Tty::set_settings_locked(const KernelTermios& settings) {
  const KernelTermios before = discipline_.settings();
  discipline_.set_settings(settings);
  on_settings_changed(before);
  if (input_is_held_) {
    // Another mode may take what this one could not.
    input_is_held_ = false;
    on_input_room();
  }
  // What may be read changes with ICANON and VMIN; what may be written with IXON.
  wake_readers();
  wake_writers();
}

void Tty::restore_settings_locked() {
  // Twice, since output that a VSTOP holds goes on when IXON goes.
  set_settings_locked({});
  set_settings_locked(initial_settings_);
}

void Tty::restore_settings() {
  MutexLock lock(mutex_);
  restore_settings_locked();
}

void Tty::flush_input_locked() {
  discipline_.flush_input();
  on_input_flushed();
  if (input_is_held_) {
    input_is_held_ = false;
    on_input_room();
  }
}

Result<void> Tty::flow_control(vfs::OpenFile&, uint64_t action) {
  MutexLock lock(mutex_);
  TRY(check_foreground_locked(signals::kTerminalOut));
  const KernelTermios& settings = discipline_.settings();
  switch (action) {
    case kTcooff:
      discipline_.suspend_output();
      return {};
    case kTcoon:
      discipline_.resume_output();
      return {};
    case kTcioff:
    case kTcion: {
      // Asks the other side to stop or go on: a character out of turn.
      const uint8_t c = settings.control_characters[action == kTcioff ? kVstop : kVstart];
      if (c != kDisabledCharacter && output_room() > 0) output(std::span(&c, 1));
      return {};
    }
    default:
      return error(EINVAL);
  }
}

Result<void> Tty::simulate_input(uint64_t argument) {
  // dev.tty.legacy_tiocsti is off, as Linux ships since 6.2: faking what another user types is for the administrator.
  if (!jobs_.current().may_administer) return error(EIO);
  const uint8_t c = TRY(UserPtr<uint8_t>(argument).read());
  receive(std::span(&c, 1));
  return {};
}

}  // namespace umk::tty

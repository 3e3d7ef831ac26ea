#include "core/kernel/tty/pty.h"

#include "core/kernel/task/task.h"
#include "core/kernel/tty/tty_registry.h"

namespace umk::tty {

using namespace termios;

namespace {

constexpr KernelTermios slave_defaults() {
  KernelTermios settings = kDefaults;
  settings.control_flags = kB38400 | kCs8 | kCread;
  return settings;
}

/// Whether the master may do flow control itself: by the usual characters.
bool uses_usual_flow_control(const KernelTermios& settings) {
  return (settings.input_flags & kIxon) && settings.control_characters[kVstop] == 023 && settings.control_characters[kVstart] == 021;
}

constexpr size_t kChunkBytes = 4096;

}  // namespace

PtySlave::PtySlave(JobControl& jobs, PtyOwner& owner, unsigned number)
    : Tty(jobs, {kSlaveMajor, number}, slave_defaults()), owner_(owner), owner_hold_(owner.hold()) {}

PtySlave::~PtySlave() { owner_.free_number(number()); }

Result<RefPtr<vfs::OpenFile>> PtySlave::open_master(RefPtr<vfs::Inode> inode, uint32_t flags) {
  RefPtr<PtyMasterFile> file = TRY(make_ref<PtyMasterFile>(std::move(inode), flags, RefPtr<PtySlave>(this)));
  MutexLock lock(mutex_);
  master_is_open_ = true;
  return RefPtr<vfs::OpenFile>(std::move(file));
}

void PtySlave::close_master() {
  {
    MutexLock lock(mutex_);
    master_is_open_ = false;
    hang_up_locked(false);
    to_master_.clear();
    held_.clear();
  }
  owner_.on_master_closed(number());
}

// --- the slave's line

void PtySlave::output(std::span<const uint8_t> bytes) {
  to_master_.put(bytes);
  master_events_.wake(vfs::poll_bits::kIn | vfs::poll_bits::kReadNormal);
  master_told_.notify(vfs::AsyncEvent::Input);
}

void PtySlave::discard_output() {
  to_master_.cut(kPassedOnBytes);
  report(kPacketFlushWrite);
}

void PtySlave::on_input_room() {
  while (!held_.empty()) {
    const std::span<const uint8_t> piece = held_.front();
    const size_t taken = receive_locked(piece);
    held_.drop(taken);
    if (taken < piece.size()) break;
  }
  master_events_.wake(vfs::poll_bits::kOut | vfs::poll_bits::kWriteNormal);
}

Result<void> PtySlave::prepare_open(bool) {
  if (!master_is_open_ || is_locked_) return error(EIO);
  slave_has_closed_ = false;
  return {};
}

void PtySlave::on_last_close() {
  slave_has_closed_ = true;
  master_events_.wake_all();
}

void PtySlave::adjust_settings(KernelTermios& settings) const {
  settings.control_flags = (settings.control_flags & ~(kCharacterSizeMask | kParenb)) | kCs8 | kCread;
}

// --- packet mode: what happens at the slave is told to the master, TIOCPKT in ioctl_tty(2)

void PtySlave::report(uint8_t set, uint8_t clear) {
  if (!is_packet_) return;
  packet_status_ = static_cast<uint8_t>((packet_status_ & ~clear) | set);
  master_events_.wake(vfs::poll_bits::kIn | vfs::poll_bits::kReadNormal | vfs::poll_bits::kPriority);
}

void PtySlave::flow_changed(bool is_stopped) {
  if (is_stopped) {
    report(kPacketStop, kPacketStart);
  } else {
    report(kPacketStart, kPacketStop);
  }
  Tty::flow_changed(is_stopped);
}

void PtySlave::flushed() {
  discard_output();
  report(kPacketFlushRead);
}

void PtySlave::on_settings_changed(const KernelTermios& before) {
  const KernelTermios& now = discipline_.settings();
  const bool is_external = (before.local_flags | now.local_flags) & kExtproc;
  const bool is_usual = uses_usual_flow_control(now);
  const bool flow_changes = uses_usual_flow_control(before) != is_usual;
  if (!is_external && !flow_changes) return;
  uint8_t set = is_external ? kPacketIoctl : 0;
  uint8_t clear = 0;
  if (flow_changes) {
    set |= is_usual ? kPacketDoStop : kPacketNoStop;
    clear = is_usual ? kPacketNoStop : kPacketDoStop;
  }
  report(set, clear);
}

// --- the master's end

Result<size_t> PtySlave::read_as_master(UserOutBuffer& buffer, bool nonblocking) {
  if (buffer.remaining() == 0) return size_t{0};
  uint8_t bytes[kChunkBytes];
  size_t count = 0;
  {
    MutexLock lock(mutex_);
    for (;;) {
      if (is_packet_ && packet_status_ != 0) {
        bytes[count++] = std::exchange(packet_status_, uint8_t{0});
        break;
      }
      if (!to_master_.empty()) {
        if (is_packet_) bytes[count++] = kPacketData;
        const size_t wanted = std::min(buffer.remaining(), sizeof bytes) - count;
        count += to_master_.take(std::span(bytes + count, wanted));
        discipline_.flush_echo();
        wake_writers();
        break;
      }
      if (slave_has_closed_) return error(EIO);
      if (nonblocking) return error(EAGAIN);
      TRY(master_events_.wait(mutex_));
    }
  }
  return buffer.put(std::as_bytes(std::span(bytes, count)));
}

size_t PtySlave::type_locked(std::span<const uint8_t> bytes) {
  size_t taken = 0;
  if (held_.empty()) taken = receive_locked(bytes);
  return taken + held_.put(bytes.subspan(taken));
}

Result<size_t> PtySlave::write_as_master(UserInBuffer& buffer, bool nonblocking) {
  uint8_t bytes[kChunkBytes];
  size_t done = 0;
  Result<void> outcome;
  while (outcome.ok() && buffer.remaining() > 0) {
    const Result<size_t> chunk = buffer.get(std::as_writable_bytes(std::span(bytes)));
    if (!chunk.ok()) {
      outcome = chunk.failure();
      break;
    }
    std::span<const uint8_t> rest(bytes, chunk.value());
    MutexLock lock(mutex_);
    for (;;) {
      const size_t taken = type_locked(rest);
      done += taken;
      rest = rest.subspan(taken);
      if (rest.empty()) break;
      outcome = nonblocking ? error(EAGAIN) : master_events_.wait(mutex_);
      if (!outcome.ok()) break;
    }
  }
  if (!outcome.ok() && done == 0) return outcome.failure();
  return done;
}

uint32_t PtySlave::poll_as_master(vfs::PollTable* table) {
  using namespace vfs::poll_bits;
  if (table) table->watch(master_events_);
  MutexLock lock(mutex_);
  uint32_t ready = 0;
  if (!to_master_.empty()) ready |= kIn | kReadNormal;
  if (is_packet_ && packet_status_ != 0) ready |= kPriority | kIn | kReadNormal;
  if (slave_has_closed_) ready |= kHangUp;
  if (held_.room() > 0) ready |= kOut | kWriteNormal;
  return ready;
}

Result<int64_t> PtySlave::open_peer(Task& task, uint32_t flags) {
  RefPtr<vfs::Inode> inode = owner_.slave_inode(number());
  if (!inode) return error(EIO);
  RefPtr<vfs::OpenFile> file = TRY(open(std::move(inode), flags & ~vfs::open_flags::kCloseOnExec));
  const Fd fd = TRY(task.fds().add(std::move(file), (flags & vfs::open_flags::kCloseOnExec) != 0, task.process().limits.soft(Resource::OpenFiles)));
  return int64_t{fd.number};
}

Result<int64_t> PtySlave::ioctl_as_master(Task& task, PtyMasterFile& file, uint32_t request, uint64_t argument) {
  switch (request) {
    case kTiocgptn:
      TRY(UserPtr<uint32_t>(argument).write(number()));
      return int64_t{0};
    case kTiocsptlck: {
      const int32_t value = TRY(UserPtr<int32_t>(argument).read());
      MutexLock lock(mutex_);
      is_locked_ = value != 0;
      return int64_t{0};
    }
    case kTiocgptlck: {
      int32_t value;
      {
        MutexLock lock(mutex_);
        value = is_locked_;
      }
      TRY(UserPtr<int32_t>(argument).write(value));
      return int64_t{0};
    }
    case kTiocgptpeer:
      return open_peer(task, static_cast<uint32_t>(argument));
    case kTiocpkt: {
      const int32_t value = TRY(UserPtr<int32_t>(argument).read());
      MutexLock lock(mutex_);
      if (value != 0 && !is_packet_) packet_status_ = 0;
      is_packet_ = value != 0;
      return int64_t{0};
    }
    case kTiocgpkt: {
      int32_t value;
      {
        MutexLock lock(mutex_);
        value = is_packet_;
      }
      TRY(UserPtr<int32_t>(argument).write(value));
      return int64_t{0};
    }
    case kTiocsig: {
      const int signal = static_cast<int>(argument);
      if (signal != signals::kInterrupt && signal != signals::kQuit && signal != signals::kTerminalStop) return error(EINVAL);
      MutexLock lock(mutex_);
      if (foreground_) jobs_.signal_group(*foreground_, signal);
      return int64_t{0};
    }
    case kFionread: case kTiocoutq: {
      int32_t count = 0;
      if (request == kFionread) {
        MutexLock lock(mutex_);
        count = static_cast<int32_t>(to_master_.size());
      }
      TRY(UserPtr<int32_t>(argument).write(count));
      return int64_t{0};
    }
    case kTcflsh: {
      if (argument > kTcioflush) return error(EINVAL);
      MutexLock lock(mutex_);
      if (argument != kTcoflush) {
        to_master_.clear();
        discipline_.flush_echo();
        wake_writers();
      }
      if (argument != kTciflush) {
        held_.clear();
        master_events_.wake(vfs::poll_bits::kOut | vfs::poll_bits::kWriteNormal);
      }
      return int64_t{0};
    }
    case kTcxonc:
    case kTiocsti:
      // Both would act on the master's own line discipline, which it has none of here.
      return error(ENOTTY);
    case kTiocnotty:
      // A master is nobody's controlling terminal.
      return error(ENOTTY);
    default:
      return common_ioctl(file, request, argument, true);
  }
}

}  // namespace umk::tty

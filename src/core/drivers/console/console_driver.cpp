#include "core/drivers/console/console_driver.h"

#include "core/base/make.h"
#include "core/host/calls.h"

namespace umk::console {

Result<std::unique_ptr<ConsoleDriver>> ConsoleDriver::create(tty::JobControl& jobs) {
  std::unique_ptr<ConsoleBoard> board = TRY(umk::make_unique<ConsoleBoard>());
  RefPtr<ConsoleTty> terminal = TRY(make_ref<ConsoleTty>(jobs, *board, line_of_console(0)));
  TRY(terminal->start_open());
  return umk::make_unique<ConsoleDriver>(jobs, std::move(board), std::move(terminal));
}

ConsoleDriver::ConsoleDriver(tty::JobControl& jobs, std::unique_ptr<ConsoleBoard> board, RefPtr<ConsoleTty> terminal)
    : jobs_(jobs),
      board_(std::move(board)),
      terminal_(std::move(terminal)),
      ports_{{*board_, board_->standard[0]}, {*board_, board_->standard[1]}, {*board_, board_->standard[2]}} {
  terminals_[0] = terminal_;
  exists_[0].store(true, std::memory_order_relaxed);
  for (unsigned line = 0; line < kLines; ++line) {
    BufferSink name(names_[line]);
    if (line < kConsoles) format(name, "tty{}", line);
    else format(name, "ttyS{}", line - kConsoles);
    names_[line][name.view().size()] = 0;
  }
}

// --- lines

unsigned ConsoleDriver::line_of(uint32_t minor) const {
  if (minor == 1 && !has_line(1)) return line_of_console(0);
  if (minor < kConsoles) return line_of_console(minor);
  if (minor >= tty::kFirstSerialMinor && minor - tty::kFirstSerialMinor < kSerialLines) return line_of_serial(minor - tty::kFirstSerialMinor);
  return kLines;
}

device::Node ConsoleDriver::node_of(unsigned line) const {
  constexpr uint32_t kTtyGroup = 5, kDialoutGroup = 20;
  const bool is_console = line < kConsoles;
  return {names_[line],           vfs::FileType::CharacterDevice, device_of_line(line), is_console ? 0620u : 0660u, 0, is_console ? kTtyGroup : kDialoutGroup};
}

Result<RefPtr<ConsoleTty>> ConsoleDriver::terminal_of(unsigned line) {
  MutexLock lock(lines_mutex_);
  return terminal_of_locked(line);
}

Result<RefPtr<ConsoleTty>> ConsoleDriver::terminal_of_locked(unsigned line) {
  RefPtr<ConsoleTty>& terminal = terminals_[line];
  if (!terminal) {
    terminal = TRY(make_ref<ConsoleTty>(jobs_, *board_, line));
    if (has_line(line)) terminal->set_exists();
  }
  return terminal;
}

Result<RefPtr<tty::Tty>> ConsoleDriver::find_line(uint32_t minor) {
  MutexLock lock(lines_mutex_);
  const unsigned line = line_of(minor);
  if (line == kLines || !has_line(line)) return error(ENXIO);
  return RefPtr<tty::Tty>(TRY(terminal_of_locked(line)));
}

Result<void> ConsoleDriver::add_line(unsigned line) {
  if (line >= kLines) return error(ENODEV);
  {
    MutexLock lock(lines_mutex_);
    if (has_line(line)) return error(EEXIST);
    if (terminals_[line]) terminals_[line]->set_exists();
    exists_[line].store(true, std::memory_order_relaxed);
  }
  // Console 1's node is always there.
  return registry_ && line != line_of_console(1) ? registry_->announce(node_of(line)) : Result<void>();
}

Result<void> ConsoleDriver::remove_line(unsigned line) {
  if (line >= kLines) return error(ENODEV);
  {
    MutexLock lock(lines_mutex_);
    if (!has_line(line)) return error(ENODEV);
    if (terminals_[line]) TRY(terminals_[line]->remove());
    exists_[line].store(false, std::memory_order_relaxed);
  }
  if (registry_ && line != line_of_console(1)) registry_->withdraw(node_of(line));
  return {};
}

Result<void> ConsoleDriver::attach(device::DeviceRegistry& registry) {
  registry_ = &registry;
  for (unsigned line = 0; line < kLines; ++line)
    if (has_line(line) || line == line_of_console(1)) TRY(registry.announce(node_of(line)));
  return {};
}

// --- streams

Result<RefPtr<vfs::OpenFile>> ConsoleDriver::open_stream(unsigned number, RefPtr<vfs::Inode> inode) {
  CHECK(number < 3, "there are three standard streams");
  const uint32_t flags = number == 0 ? vfs::open_flags::kReadOnly : vfs::open_flags::kWriteOnly;
  return RefPtr<vfs::OpenFile>(TRY(make_ref<StreamFile>(std::move(inode), flags, ports_[number])));
}

Result<RefPtr<vfs::Inode>> ConsoleDriver::make_stream_inode(unsigned number, vfs::AnonymousSuperblock& superblock) {
  CHECK(number < 3, "there are three standard streams");
  return RefPtr<vfs::Inode>(TRY(make_ref<StreamInode>(superblock, ports_[number], number == 0)));
}

void ConsoleDriver::run() {
  while (board_->stop_requested.load(std::memory_order_acquire) == 0) {
    // Cleared before looking: what comes while it looks sets the word again, and the sleep ends at once.
    board_->core_wake.store(0, std::memory_order_seq_cst);
    board_->core_news.take([this](unsigned line) {
      RefPtr<ConsoleTty> terminal;
      {
        MutexLock lock(lines_mutex_);
        terminal = terminals_[line];
      }
      if (terminal) terminal->serve();
    });
    for (StreamPort& port : ports_) port.on_change();
    for (const auto& line : message_lines_) line->serve();
    if (board_->stop_requested.load(std::memory_order_acquire)) return;
    host::futex_wait(&board_->core_wake, 0);
  }
}

void ConsoleDriver::stop() {
  board_->stop_requested.store(1, std::memory_order_seq_cst);
  if (board_->notify_core()) host::futex_wake(&board_->core_wake, 1);
}

Result<void> ConsoleDriver::show_log_on(unsigned line, KernelLog& log) {
  RefPtr<ConsoleTty> terminal = TRY(terminal_of(line));
  terminal->hold();
  return message_lines_.push_back(TRY(umk::make_unique<MessageLine>(std::move(terminal), log)));
}

void ConsoleDriver::notify_log() {
  if (!message_lines_.empty() && board_->notify_core()) host::futex_wake(&board_->core_wake, 1);
}

void ConsoleDriver::show_message(std::string_view text) {
  MutexLock lock(messages_mutex_);
  board_->messages.put(std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
  if (board_->messages.must_wake_consumer()) wake_monitor(*board_);
}

}  // namespace umk::console

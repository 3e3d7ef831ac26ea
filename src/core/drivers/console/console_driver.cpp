#include "core/drivers/console/console_driver.h"

#include "core/base/make.h"
#include "core/host/calls.h"

namespace umk::console {

Result<std::unique_ptr<ConsoleDriver>> ConsoleDriver::create(tty::JobControl& jobs) {
  std::unique_ptr<ConsoleBoard> board = TRY(umk::make_unique<ConsoleBoard>());
  RefPtr<ConsoleTty> terminal = TRY(make_ref<ConsoleTty>(jobs, *board));
  return umk::make_unique<ConsoleDriver>(std::move(board), std::move(terminal));
}

ConsoleDriver::ConsoleDriver(std::unique_ptr<ConsoleBoard> board, RefPtr<ConsoleTty> terminal)
    : board_(std::move(board)),
      tty_(std::move(terminal)),
      ports_{{*board_, board_->standard[0]}, {*board_, board_->standard[1]}, {*board_, board_->standard[2]}} {}

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
    tty_->serve();
    for (StreamPort& port : ports_) port.on_change();
    if (board_->stop_requested.load(std::memory_order_acquire)) return;
    host::futex_wait(&board_->core_wake, 0);
  }
}

void ConsoleDriver::stop() {
  board_->stop_requested.store(1, std::memory_order_seq_cst);
  if (board_->notify_core()) host::futex_wake(&board_->core_wake, 1);
}

void ConsoleDriver::show_message(std::string_view text) {
  MutexLock lock(messages_mutex_);
  board_->messages.put(std::span(reinterpret_cast<const uint8_t*>(text.data()), text.size()));
  if (board_->messages.must_wake_consumer()) wake_monitor(*board_);
}

}  // namespace umk::console

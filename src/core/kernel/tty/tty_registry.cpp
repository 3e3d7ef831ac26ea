#include "core/kernel/tty/tty_registry.h"

namespace umk::tty {

void TtyRegistry::set_console(unsigned number, RefPtr<Tty> terminal) {
  CHECK(number < kConsoles, "no such console");
  consoles_[number] = std::move(terminal);
}

Result<RefPtr<vfs::OpenFile>> TtyRegistry::open(vfs::DeviceNumber device, RefPtr<vfs::Inode> inode, uint32_t flags, const Credentials& who) {
  if (device.major == kConsoleMajor && device.minor < kConsoles && consoles_[device.minor])
    return consoles_[device.minor]->open(std::move(inode), flags);
  if (device.major == kAuxiliaryMajor && device.minor == kTtyMinor) return open_controlling(std::move(inode), flags);
  if (device.major == kAuxiliaryMajor && device.minor == kMultiplexerMinor) return open_multiplexer(std::move(inode), flags, who);
  if (device.major == kAuxiliaryMajor && device.minor == kConsoleMinor && console()) return console()->open(std::move(inode), flags, true);
  return error(ENXIO);
}

Result<RefPtr<vfs::OpenFile>> TtyRegistry::open_controlling(RefPtr<vfs::Inode> inode, uint32_t flags) {
  const JobMember member = jobs_.current();
  if (!member || !member.terminal) return error(ENXIO);
  // All controlling terminals are made here.
  return static_cast<Tty*>(member.terminal.get())->open(std::move(inode), flags | vfs::open_flags::kNoControllingTty);
}

Result<RefPtr<vfs::OpenFile>> TtyRegistry::open_multiplexer(RefPtr<vfs::Inode> inode, uint32_t flags, const Credentials& who) {
  PseudoTerminalSource* found = nullptr;
  {
    MutexLock lock(mutex_);
    for (PseudoTerminalSource* source : sources_) {
      if (!source->try_hold()) continue;
      found = source;
      break;
    }
  }
  // As Linux without a devpts beside the device.
  if (!found) return error(ENODEV);
  Result<RefPtr<vfs::OpenFile>> file = found->open_master(std::move(inode), flags, who);
  found->release();
  return file;
}

void TtyRegistry::add_source(PseudoTerminalSource& source) {
  MutexLock lock(mutex_);
  // Without memory /dev/ptmx does not find the instance; its own ptmx still works.
  (void)sources_.push_back(&source);
}

void TtyRegistry::remove_source(PseudoTerminalSource& source) {
  MutexLock lock(mutex_);
  for (size_t i = 0; i < sources_.size(); ++i) {
    if (sources_[i] != &source) continue;
    sources_.erase(i);
    return;
  }
}

}  // namespace umk::tty

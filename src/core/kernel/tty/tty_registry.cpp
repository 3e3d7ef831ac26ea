#include "core/kernel/tty/tty_registry.h"

#include "core/kernel/vfs/vfs.h"

namespace umk::tty {

Result<RefPtr<vfs::OpenFile>> TtyRegistry::open(vfs::Vfs& vfs, const vfs::Caller& caller, RefPtr<vfs::Inode> inode, vfs::DeviceNumber device,
                                                const vfs::Path& path, uint32_t flags) {
  if (device.major == kConsoleMajor) {
    if (!lines_) return error(ENXIO);
    const RefPtr<Tty> line = TRY(lines_->find_line(device.minor));
    return line->open(std::move(inode), flags);
  }
  if (device.major == kSlaveMajor) {
    PseudoTerminalSource* source = source_of(inode->superblock());
    if (!source) return error(ENXIO);
    return source->open_slave(device.minor, std::move(inode), flags);
  }
  if (device.major != kAuxiliaryMajor) return error(ENXIO);
  switch (device.minor) {
    case kTtyMinor:
      return open_controlling(std::move(inode), flags);
    case kConsoleMinor:
      if (!console()) return error(ENXIO);
      return console()->open(std::move(inode), flags, true);
    case kMultiplexerMinor: {
      // Held until the master holds it.
      const RefPtr<vfs::Superblock> devpts = TRY(devpts_for(vfs, caller, *inode, path));
      PseudoTerminalSource* source = source_of(*devpts);
      if (!source) return error(ENODEV);
      return source->open_master(std::move(inode), flags, caller.credentials);
    }
    default:
      return error(ENXIO);
  }
}

Result<RefPtr<vfs::OpenFile>> TtyRegistry::open_controlling(RefPtr<vfs::Inode> inode, uint32_t flags) {
  const JobMember member = jobs_.current();
  if (!member || !member.terminal) return error(ENXIO);
  // All controlling terminals are made here.
  return static_cast<Tty*>(member.terminal.get())->open(std::move(inode), flags | vfs::open_flags::kNoControllingTty);
}

Result<RefPtr<vfs::Superblock>> TtyRegistry::devpts_for(vfs::Vfs& vfs, const vfs::Caller& caller, const vfs::Inode& inode, const vfs::Path& path) {
  if (source_of(inode.superblock())) return RefPtr<vfs::Superblock>(inode.superblock());
  const vfs::Path directory(path.mount, vfs.dentries().parent_of(*path.dentry));
  const vfs::Path beside = TRY(vfs.lookup(caller, {&directory, "pts"}));
  return RefPtr<vfs::Superblock>(beside.dentry->inode()->superblock());
}

PseudoTerminalSource* TtyRegistry::source_of(const vfs::Superblock& superblock) {
  MutexLock lock(mutex_);
  for (PseudoTerminalSource* source : sources_)
    if (&source->superblock() == &superblock) return source;
  return nullptr;
}

Result<void> TtyRegistry::add_source(PseudoTerminalSource& source) {
  MutexLock lock(mutex_);
  return sources_.push_back(&source);
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

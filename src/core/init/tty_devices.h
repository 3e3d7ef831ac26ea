// The terminals' device numbers, joined to the device registry: /dev/tty, console, ptmx, ttyN.
#pragma once

#include "core/kernel/device/device_registry.h"
#include "core/kernel/tty/tty_registry.h"

namespace umk::init {

class TtyDevices final : public device::Driver {
 public:
  TtyDevices(tty::TtyRegistry& ttys, vfs::Vfs& vfs) : ttys_(ttys), vfs_(vfs) {}
  virtual ~TtyDevices() = default;

  Result<void> attach(device::DeviceRegistry& registry) {
    using vfs::FileType;
    for (const uint32_t major : {tty::kConsoleMajor, tty::kAuxiliaryMajor, tty::kSlaveMajor})
      TRY(registry.add_driver(FileType::CharacterDevice, major, 0, 1 << 20, *this));
    const device::Node nodes[] = {
        {"tty", FileType::CharacterDevice, {tty::kAuxiliaryMajor, tty::kTtyMinor}, 0666, 0, 5},
        {"console", FileType::CharacterDevice, {tty::kAuxiliaryMajor, tty::kConsoleMinor}, 0600, 0, 5},
        {"ptmx", FileType::CharacterDevice, {tty::kAuxiliaryMajor, tty::kMultiplexerMinor}, 0666, 0, 5},
        {"tty0", FileType::CharacterDevice, {tty::kConsoleMajor, 0}, 0620, 0, 5},
        {"tty1", FileType::CharacterDevice, {tty::kConsoleMajor, 1}, 0620, 0, 5},
    };
    for (const device::Node& node : nodes) TRY(registry.announce(node));
    return {};
  }

  std::string_view name() const override { return "tty"; }
  Result<RefPtr<vfs::OpenFile>> open(const vfs::Caller& caller, RefPtr<vfs::Inode> inode, vfs::DeviceNumber number, const vfs::Path& path,
                                     uint32_t flags) override {
    return ttys_.open(vfs_, caller, std::move(inode), number, path, flags);
  }

 private:
  tty::TtyRegistry& ttys_;
  vfs::Vfs& vfs_;
};

}  // namespace umk::init

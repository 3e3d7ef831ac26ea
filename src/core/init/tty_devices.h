// The terminals' device numbers, joined to the device registry, by the names that they have in /proc/devices; and the nodes tty, console, ptmx. Those of lines come
// and go with the lines.
#pragma once

#include "core/kernel/device/device_registry.h"
#include "core/kernel/tty/tty_registry.h"

namespace umk::init {

class TtyDevices {
 public:
  TtyDevices(tty::TtyRegistry& ttys, vfs::Vfs& vfs)
      : drivers_{{"tty", ttys, vfs}, {"ttyS", ttys, vfs}, {"/dev/tty", ttys, vfs}, {"/dev/console", ttys, vfs}, {"/dev/ptmx", ttys, vfs}, {"pts", ttys, vfs}} {}

  Result<void> attach(device::DeviceRegistry& registry) {
    using vfs::FileType;
    constexpr uint32_t kAllMinors = 1 << 20;
    const struct {
      uint32_t major, first, count;
    } numbers[] = {{tty::kConsoleMajor, 0, tty::kFirstSerialMinor},
                   {tty::kConsoleMajor, tty::kFirstSerialMinor, tty::kSerialLines},
                   {tty::kAuxiliaryMajor, tty::kTtyMinor, 1},
                   {tty::kAuxiliaryMajor, tty::kConsoleMinor, 1},
                   {tty::kAuxiliaryMajor, tty::kMultiplexerMinor, 1},
                   {tty::kSlaveMajor, 0, kAllMinors}};
    for (size_t i = 0; i < std::size(numbers); ++i)
      TRY(registry.add_driver(FileType::CharacterDevice, numbers[i].major, numbers[i].first, numbers[i].count, drivers_[i]));
    const device::Node nodes[] = {
        {"tty", FileType::CharacterDevice, {tty::kAuxiliaryMajor, tty::kTtyMinor}, 0666, 0, 5},
        {"console", FileType::CharacterDevice, {tty::kAuxiliaryMajor, tty::kConsoleMinor}, 0600, 0, 5},
        {"ptmx", FileType::CharacterDevice, {tty::kAuxiliaryMajor, tty::kMultiplexerMinor}, 0666, 0, 5},
    };
    for (const device::Node& node : nodes) TRY(registry.announce(node));
    return {};
  }

 private:
  class Driver final : public device::Driver {
   public:
    Driver(std::string_view name, tty::TtyRegistry& ttys, vfs::Vfs& vfs) : name_(name), ttys_(ttys), vfs_(vfs) {}
    virtual ~Driver() = default;

    std::string_view name() const override { return name_; }
    Result<RefPtr<vfs::OpenFile>> open(const vfs::Caller& caller, RefPtr<vfs::Inode> inode, vfs::DeviceNumber number, const vfs::Path& path,
                                       uint32_t flags) override {
      return ttys_.open(vfs_, caller, std::move(inode), number, path, flags);
    }

   private:
    const std::string_view name_;
    tty::TtyRegistry& ttys_;
    vfs::Vfs& vfs_;
  };

  Driver drivers_[6];
};

}  // namespace umk::init

// LogDevice: /dev/kmsg, the kernel's log record by record. Each open file reads by itself from the oldest record on; what is written becomes a record.
// The format is that of the kernel's documentation, ABI/testing/dev-kmsg: "priority,sequence,microseconds,flags;text\n".
#pragma once

#include "core/kernel/device/device_registry.h"
#include "core/kernel/task/kernel_log.h"

namespace umk::kmsg {

class LogDevice final : public device::Driver {
 public:
  static constexpr uint32_t kMajor = 1, kMinor = 11;

  explicit LogDevice(KernelLog& log) : log_(log) {}
  Result<void> attach(device::DeviceRegistry& registry);

  std::string_view name() const override { return "mem"; }
  Result<RefPtr<vfs::OpenFile>> open(const vfs::Caller& caller, RefPtr<vfs::Inode> inode, vfs::DeviceNumber number, const vfs::Path& path,
                                     uint32_t flags) override;

 private:
  KernelLog& log_;
};

}  // namespace umk::kmsg

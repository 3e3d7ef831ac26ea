// Disks for `config` and `remove`: ubd3=FILE, as on the command line.
#pragma once

#include <map>

#include "monitor/configuration.h"
#include "monitor/mconsole/devices.h"
#include "monitor/mconsole/kernel_calls.h"

namespace umk::monitor {

class DiskDevice final : public ManagedDevice {
 public:
  DiskDevice(KernelCalls& kernel, const Configuration& configuration);

  std::string_view prefix() const override { return "ubd"; }
  Answer configure(std::string_view text) override;
  Answer query(std::string_view text) override;
  Answer remove(std::string_view text) override;

 private:
  KernelCalls& kernel_;
  bool is_synchronous_;
  /// What query() answers, by number.
  std::map<unsigned, std::string> files_;
};

}  // namespace umk::monitor

// The machine's memory for `config`: `mem` tells how much there is, `mem=-64M` takes some out, `mem=+64M` puts back what was taken.
#pragma once

#include "monitor/mconsole/devices.h"
#include "monitor/mconsole/kernel_calls.h"

namespace umk::monitor {

class MemoryDevice final : public ManagedDevice {
 public:
  explicit MemoryDevice(KernelCalls& kernel) : kernel_(kernel) {}

  std::string_view prefix() const override { return "mem"; }
  Answer configure(std::string_view text) override;
  Answer query(std::string_view text) override;
  Answer remove(std::string_view text) override;

 private:
  KernelCalls& kernel_;
};

}  // namespace umk::monitor

// Memory devices, major 1: null, zero, full, random, urandom. null(4), full(4), random(4).
#pragma once

#include "core/kernel/device/device_registry.h"
#include "core/kernel/mm/page_source.h"

namespace umk::device {

class MemoryDevices final : public Driver {
 public:
  static constexpr uint32_t kMajor = 1;

  /// Registers the driver and announces its nodes.
  Result<void> attach(DeviceRegistry& registry);

  std::string_view name() const override { return "mem"; }
  Result<RefPtr<vfs::OpenFile>> open(const vfs::Caller& caller, RefPtr<vfs::Inode> inode, vfs::DeviceNumber number, const vfs::Path& path,
                                     uint32_t flags) override;

 private:
  /// What mmap of /dev/zero maps: mm makes private mappings anonymous and shared ones a store of their own.
  class ZeroSource final : public mm::PageSource {
   public:
    Kind source_kind() const override { return Kind::Zero; }
    uint64_t mappable_bytes() const override { return UINT64_MAX; }
    Result<size_t> read_for_text(uint64_t, std::span<std::byte> into) override;
    void add_mapping_reference() override {}
    void drop_mapping_reference() override {}
  };
  ZeroSource zero_source_;
};

}  // namespace umk::device

// VdsoSource: the engine's vDSO as something that can be mapped into programs.
#pragma once

#include <algorithm>

#include "core/kernel/guest/engine.h"
#include "core/kernel/mm/page_source.h"

namespace umk {

class VdsoSource final : public mm::PageSource {
 public:
  explicit VdsoSource(guest::Vdso vdso) : vdso_(vdso) {}

  uint64_t restorer_offset() const { return vdso_.restorer_offset; }

  /// Only its text copy is ever mapped, which is made from what read_for_text gives.
  Kind source_kind() const override { return Kind::HostFile; }
  uint64_t mappable_bytes() const override { return vdso_.contents.size(); }
  Result<size_t> read_for_text(uint64_t offset, std::span<std::byte> into) override {
    if (offset >= vdso_.contents.size()) return size_t{0};
    const size_t count = std::min(into.size(), vdso_.contents.size() - offset);
    std::copy_n(vdso_.contents.data() + offset, count, into.data());
    return count;
  }
  // It lives as long as the kernel.
  void add_mapping_reference() override {}
  void drop_mapping_reference() override {}

 private:
  guest::Vdso vdso_;
};

}  // namespace umk

// PatchWorker: the monitor's thread that turns call sites that trapped into jumps.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "engine/image/boot_protocol.h"
#include "engine/patcher/address_range.h"
#include "engine/patcher/elf_file.h"
#include "engine/patcher/patch_plan.h"

namespace umk::monitor {

class PatchWorker {
 public:
  explicit PatchWorker(const engine::ImageHeader& image) : image_(image) {}

  /// Serves jobs for ever; on an attached thread.
  void run();

 private:
  /// What was written into one text copy so far. Addresses count as the ELF file does.
  struct TextState {
    std::vector<patcher::AddressRange> windows;
    std::vector<patcher::AddressRange> trampolines;
  };

  bool serve(const engine::PatchJob& job);
  bool read_file(uint64_t text_id, uint64_t offset, std::span<uint8_t> bytes);
  void write(const engine::PatchJob& job, const patcher::PatchPlan& plan, uint64_t text_address);

  const engine::ImageHeader& image_;
  std::map<uint64_t, TextState> texts_;
  // Blocks of the file of the last job: unwind tables are read many times.
  uint64_t cached_text_id_ = 0;
  std::map<uint64_t, std::vector<uint8_t>> blocks_;
};

}  // namespace umk::monitor

// ElfFile: the few things about an x86-64 ELF file that the patcher needs: which addresses are code, where the unwind tables
// are, and the bytes at an address. It is told the file's bytes by a reader and checks each number before it uses it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "engine/patcher/address_range.h"
#include "engine/patcher/eh_frame.h"

namespace umk::patcher {

/// Fills the span with the file's bytes from `offset`, or says false when the file is shorter or cannot be read.
using FileReader = std::function<bool(uint64_t offset, std::span<uint8_t> bytes)>;

/// A PT_LOAD segment, as far as the file has bytes for it.
struct Segment {
  AddressRange addresses;
  uint64_t file_offset = 0;
  bool is_executable = false;
};

class ElfFile {
 public:
  /// Nothing when the file is no x86-64 ELF program or library. Keeps `read` for as long as it lives.
  static std::optional<ElfFile> open(FileReader read);

  const std::vector<Segment>& segments() const { return segments_; }
  const UnwindTables& unwind_tables() const { return unwind_tables_; }

  /// The executable segment that has `address`; null when there is none.
  const Segment* code_at(uint64_t address) const;
  /// The address that the byte at `offset` of the file is mapped to as code.
  std::optional<uint64_t> code_address(uint64_t offset) const;

  /// Bytes by virtual address, all from one segment. False when some of them are not in the file.
  bool read(uint64_t address, std::span<uint8_t> bytes) const;

 private:
  explicit ElfFile(FileReader read) : read_(std::move(read)) {}

  FileReader read_;
  std::vector<Segment> segments_;
  UnwindTables unwind_tables_;
};

}  // namespace umk::patcher

// Ranges of addresses. All addresses of the patcher are virtual addresses as the ELF file counts them, before any load bias.
// What lies below a library, whose own addresses begin at 0, therefore has addresses just under 2^64: ranges are modular.
#pragma once

#include <cstdint>

namespace umk::patcher {

/// [begin, end), counted around 2^64. Empty when both are equal.
struct AddressRange {
  uint64_t begin = 0;
  uint64_t end = 0;

  constexpr uint64_t size() const { return end - begin; }
  constexpr bool contains(uint64_t address) const { return address - begin < size(); }
  constexpr bool contains(const AddressRange& other) const {
    return other.size() <= size() && other.begin - begin <= size() - other.size();
  }
  constexpr bool overlaps(const AddressRange& other) const {
    return (other.size() != 0 && contains(other.begin)) || (size() != 0 && other.contains(begin));
  }
  constexpr bool operator==(const AddressRange&) const = default;
};

/// The instructions of one function, or of one part where the compiler has split hot from cold.
struct FunctionRange {
  AddressRange code;
  /// Where the code before it ends, as far as that is known, else code.begin: between the two there is padding.
  uint64_t padding_begin = 0;
  /// The unwind entry says that a signal handler returns here: the code is a signal restorer.
  bool is_signal_frame = false;

  constexpr bool operator==(const FunctionRange&) const = default;
};

}  // namespace umk::patcher

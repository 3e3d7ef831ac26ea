// PacketFilter: a program of the classic Berkeley Packet Filter, which a receiver hands to his socket (SO_ATTACH_FILTER) to be spared what he does not want.
//
// A machine with an accumulator, an index register and sixteen words of memory; jumps go forward only, so that every program ends. It is checked
// when it is made, and then run on each packet. Of Linux's additions, loads from negative offsets, there are none: such programs are refused.
// Source: McCanne, Jacobson, "The BSD Packet Filter", USENIX Winter 1993; Documentation/networking/filter.rst.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/vector.h"

namespace umk::packet_filter {

/// struct sock_filter.
struct Instruction {
  uint16_t code;
  uint8_t jump_if_true, jump_if_false;  // how many instructions are left out
  uint32_t constant;
};
static_assert(sizeof(Instruction) == 8);

class PacketFilter {
 public:
  /// BPF_MAXINSNS.
  static constexpr size_t kMostInstructions = 4096;

  /// EINVAL for a program that could go wrong: an instruction that there is none of, a jump out of it, an end that is no return.
  static Result<PacketFilter> create(Vector<Instruction> program);

  /// How many bytes of the packet are wanted; 0: it is not.
  uint32_t run(std::span<const std::byte> packet) const;

 private:
  explicit PacketFilter(Vector<Instruction> program) : program_(std::move(program)) {}
  Vector<Instruction> program_;
};

}  // namespace umk::packet_filter

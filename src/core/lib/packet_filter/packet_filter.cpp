#include "core/lib/packet_filter/packet_filter.h"

namespace umk::packet_filter {

namespace {

// The parts of a code: its class; for loads a size and a mode; for arithmetic and jumps an operation and where the operand is.
constexpr uint16_t kClass = 0x07, kLoad = 0, kLoadIndex = 1, kStore = 2, kStoreIndex = 3, kArithmetic = 4, kJump = 5,
                   kReturn = 6;  // 7: transfers between the registers
constexpr uint16_t kSize = 0x18, kWord = 0x00, kHalf = 0x08, kByte = 0x10;
constexpr uint16_t kMode = 0xe0, kImmediate = 0x00, kAbsolute = 0x20, kIndirect = 0x40, kMemory = 0x60, kLength = 0x80,
                   kHeaderLength = 0xa0;
constexpr uint16_t kOperation = 0xf0, kAdd = 0x00, kSubtract = 0x10, kMultiply = 0x20, kDivide = 0x30, kOr = 0x40, kAnd = 0x50,
                   kShiftLeft = 0x60, kShiftRight = 0x70, kNegate = 0x80, kRemainder = 0x90, kExclusiveOr = 0xa0;
constexpr uint16_t kAlways = 0x00, kIfEqual = 0x10, kIfGreater = 0x20, kIfNotLess = 0x30, kIfAnyBit = 0x40;
constexpr uint16_t kOperandIndex = 0x08, kReturnAccumulator = 0x10, kToAccumulator = 0x80;
constexpr uint32_t kMemoryWords = 16;
/// Offsets from here on are Linux's own: SKF_LL_OFF.
constexpr uint32_t kFirstSpecialOffset = static_cast<uint32_t>(-0x200000);

bool is_known_load(uint16_t code) {
  const uint16_t size = code & kSize;
  switch (code & kMode) {
    case kAbsolute:
    case kIndirect: return (code & kClass) == kLoad && size != kSize;
    case kImmediate:
    case kMemory:
    case kLength: return size == kWord;
    case kHeaderLength: return (code & kClass) == kLoadIndex && size == kByte;
    default: return false;
  }
}

bool is_known(uint16_t code) {
  if (code > 0xff) return false;
  switch (code & kClass) {
    case kLoad:
    case kLoadIndex: return is_known_load(code);
    case kStore:
    case kStoreIndex: return (code & ~kClass) == 0;
    case kArithmetic:
      return (code & kOperation) < kNegate || (code & ~kClass) == kNegate || (code & kOperation) == kRemainder ||
             (code & kOperation) == kExclusiveOr;
    case kJump: return (code & kOperation) <= kIfAnyBit && ((code & kOperation) != kAlways || !(code & kOperandIndex));
    case kReturn: return (code & ~kClass) == 0 || (code & ~kClass) == kReturnAccumulator;
    default: return (code & ~kClass) == 0 || (code & ~kClass) == kToAccumulator;
  }
}

bool uses_memory(uint16_t code) {
  const uint16_t kind = code & kClass;
  return kind == kStore || kind == kStoreIndex || ((kind == kLoad || kind == kLoadIndex) && (code & kMode) == kMemory);
}

/// What one instruction may not be whatever stands around it.
bool is_sound(const Instruction& it) {
  if (!is_known(it.code)) return false;
  if (uses_memory(it.code)) return it.constant < kMemoryWords;
  const uint16_t kind = it.code & kClass, operation = it.code & kOperation;
  if (kind == kArithmetic && !(it.code & kOperandIndex)) {
    if ((operation == kDivide || operation == kRemainder) && it.constant == 0) return false;
    if ((operation == kShiftLeft || operation == kShiftRight) && it.constant >= 32) return false;
  }
  return !(kind == kLoad && (it.code & kMode) == kAbsolute && it.constant >= kFirstSpecialOffset);
}

/// Jumps stay inside, and no word of memory is read before it was written on every way that leads there.
bool is_well_connected(std::span<const Instruction> program) {
  // Bit n of an entry: word n is written on all ways to the instruction that were seen so far.
  Vector<uint16_t> written;
  if (!written.resize(program.size()).ok()) return false;
  for (uint16_t& words : written) words = 0xffff;
  written[0] = 0;
  for (size_t at = 0; at < program.size(); ++at) {
    const Instruction& it = program[at];
    const size_t left = program.size() - at - 1;
    const uint16_t kind = it.code & kClass;
    uint16_t words = written[at];
    const auto goes_to = [&](size_t distance) {
      if (distance >= left) return false;
      written[at + 1 + distance] &= words;
      return true;
    };
    if (kind == kReturn) continue;
    if (kind == kJump) {
      const bool inside = (it.code & kOperation) == kAlways ? goes_to(it.constant) : goes_to(it.jump_if_true) && goes_to(it.jump_if_false);
      if (!inside) return false;
      continue;
    }
    if (kind == kStore || kind == kStoreIndex) words |= static_cast<uint16_t>(1u << it.constant);
    else if (uses_memory(it.code) && !(words >> it.constant & 1)) return false;
    if (!goes_to(0)) return false;  // the last one is no return
  }
  return true;
}

uint32_t calculate(uint16_t operation, uint32_t a, uint32_t b) {
  switch (operation) {
    case kAdd: return a + b;
    case kSubtract: return a - b;
    case kMultiply: return a * b;
    case kDivide: return a / b;
    case kRemainder: return a % b;
    case kOr: return a | b;
    case kAnd: return a & b;
    case kExclusiveOr: return a ^ b;
    case kShiftLeft: return a << (b & 31);
    case kShiftRight: return a >> (b & 31);
    default: return 0 - a;
  }
}

bool is_true(uint16_t operation, uint32_t a, uint32_t b) {
  switch (operation) {
    case kIfEqual: return a == b;
    case kIfGreater: return a > b;
    case kIfNotLess: return a >= b;
    default: return (a & b) != 0;
  }
}

/// A number of the packet, whose byte order is the network's. False outside of it.
bool load(std::span<const std::byte> packet, uint64_t offset, uint16_t size, uint32_t& value) {
  const size_t bytes = size == kWord ? 4 : size == kHalf ? 2 : 1;
  if (offset + bytes > packet.size()) return false;
  value = 0;
  for (size_t i = 0; i < bytes; ++i) value = value << 8 | std::to_integer<uint32_t>(packet[static_cast<size_t>(offset) + i]);
  return true;
}

}  // namespace

Result<PacketFilter> PacketFilter::create(Vector<Instruction> program) {
  if (program.empty() || program.size() > kMostInstructions) return error(EINVAL);
  for (const Instruction& instruction : program)
    if (!is_sound(instruction)) return error(EINVAL);
  if (!is_well_connected(std::span(program.data(), program.size()))) return error(EINVAL);
  return PacketFilter(std::move(program));
}

uint32_t PacketFilter::run(std::span<const std::byte> packet) const {
  uint32_t a = 0, x = 0, memory[kMemoryWords] = {};
  for (size_t at = 0;; ++at) {
    const Instruction& it = program_[at];
    const uint16_t kind = it.code & kClass;
    switch (kind) {
      case kLoad:
      case kLoadIndex: {
        uint32_t value = it.constant;
        const uint16_t mode = it.code & kMode;
        if (mode == kMemory) value = memory[it.constant];
        else if (mode == kLength) value = static_cast<uint32_t>(packet.size());
        else if (mode != kImmediate && !load(packet, mode == kIndirect ? x + it.constant : it.constant, it.code & kSize, value)) return 0;
        // The length of an IP header, in words, stands in the lower half of its first byte.
        if (mode == kHeaderLength) value = (value & 0xf) * 4;
        (kind == kLoad ? a : x) = value;
        break;
      }
      case kStore: memory[it.constant] = a; break;
      case kStoreIndex: memory[it.constant] = x; break;
      case kArithmetic: {
        const uint32_t operand = it.code & kOperandIndex ? x : it.constant;
        const uint16_t operation = it.code & kOperation;
        if (operand == 0 && (operation == kDivide || operation == kRemainder)) return 0;
        a = calculate(operation, a, operand);
        break;
      }
      case kJump:
        if ((it.code & kOperation) == kAlways) at += it.constant;
        else at += is_true(it.code & kOperation, a, it.code & kOperandIndex ? x : it.constant) ? it.jump_if_true : it.jump_if_false;
        break;
      case kReturn: return it.code & kReturnAccumulator ? a : it.constant;
      default:
        if (it.code & kToAccumulator) a = x;
        else x = a;
        break;
    }
  }
}

}  // namespace umk::packet_filter

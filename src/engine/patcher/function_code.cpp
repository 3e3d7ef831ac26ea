#include "engine/patcher/function_code.h"

#include <Zydis/Zydis.h>

#include <algorithm>
#include <array>

namespace umk::patcher {
namespace {

constexpr uint64_t kSyscallSize = 2;

// Everything that a compiler puts before a call. What is not listed (branches, calls, traps, input and output, keys, state
// saving, the x87 unit, which remembers instruction pointers) stays where it is.
bool is_plain(ZydisInstructionCategory category) {
  switch (category) {
    case ZYDIS_CATEGORY_AVX:
    case ZYDIS_CATEGORY_AVX2:
    case ZYDIS_CATEGORY_AVX512:
    case ZYDIS_CATEGORY_BINARY:
    case ZYDIS_CATEGORY_BITBYTE:
    case ZYDIS_CATEGORY_BLEND:
    case ZYDIS_CATEGORY_BMI1:
    case ZYDIS_CATEGORY_BMI2:
    case ZYDIS_CATEGORY_BROADCAST:
    case ZYDIS_CATEGORY_CET:
    case ZYDIS_CATEGORY_CMOV:
    case ZYDIS_CATEGORY_CONVERT:
    case ZYDIS_CATEGORY_DATAXFER:
    case ZYDIS_CATEGORY_FLAGOP:
    case ZYDIS_CATEGORY_LOGICAL:
    case ZYDIS_CATEGORY_LOGICAL_FP:
    case ZYDIS_CATEGORY_LZCNT:
    case ZYDIS_CATEGORY_MISC:
    case ZYDIS_CATEGORY_NOP:
    case ZYDIS_CATEGORY_POP:
    case ZYDIS_CATEGORY_PREFETCH:
    case ZYDIS_CATEGORY_PUSH:
    case ZYDIS_CATEGORY_ROTATE:
    case ZYDIS_CATEGORY_SEMAPHORE:
    case ZYDIS_CATEGORY_SETCC:
    case ZYDIS_CATEGORY_SHIFT:
    case ZYDIS_CATEGORY_SSE:
    case ZYDIS_CATEGORY_STRINGOP:
    case ZYDIS_CATEGORY_WIDENOP: return true;
    default: return false;
  }
}

// Exceptions to is_plain(): they trap on purpose, or change how the next instruction traps.
bool is_peculiar(ZydisMnemonic mnemonic) {
  switch (mnemonic) {
    case ZYDIS_MNEMONIC_UD0:
    case ZYDIS_MNEMONIC_UD1:
    case ZYDIS_MNEMONIC_UD2:
    case ZYDIS_MNEMONIC_POPF:
    case ZYDIS_MNEMONIC_POPFD:
    case ZYDIS_MNEMONIC_POPFQ:
    case ZYDIS_MNEMONIC_CLI:
    case ZYDIS_MNEMONIC_STI: return true;
    default: return false;
  }
}

bool is_end_branch(const ZydisDecodedInstruction& instruction) {
  return instruction.mnemonic == ZYDIS_MNEMONIC_ENDBR64 || instruction.mnemonic == ZYDIS_MNEMONIC_ENDBR32;
}

bool is_rip_relative(const ZydisDecodedInstruction& instruction) {
  return (instruction.attributes & ZYDIS_ATTRIB_HAS_MODRM) && instruction.raw.modrm.mod == 0 && instruction.raw.modrm.rm == 5 &&
         instruction.raw.disp.size == 32;
}

// Jcc with a displacement of 8 or 32 bits, whose sum is not cut by an operand-size prefix; jrcxz and loop have no long form.
bool is_conditional_jump(const ZydisDecodedInstruction& instruction) {
  if (instruction.meta.category != ZYDIS_CATEGORY_COND_BR || (instruction.attributes & ZYDIS_ATTRIB_HAS_OPERANDSIZE)) return false;
  const auto& immediate = instruction.raw.imm[0];
  if (!immediate.is_relative || (immediate.size != 8 && immediate.size != 32)) return false;
  const bool is_short = instruction.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT && instruction.opcode >= 0x70 && instruction.opcode <= 0x7f;
  const bool is_near = instruction.opcode_map == ZYDIS_OPCODE_MAP_0F && instruction.opcode >= 0x80 && instruction.opcode <= 0x8f;
  return is_short || is_near;
}

// An unconditional jump in one of its two plain forms.
bool is_plain_jump(const ZydisDecodedInstruction& instruction) {
  return instruction.opcode_map == ZYDIS_OPCODE_MAP_DEFAULT &&
         ((instruction.opcode == 0xeb && instruction.length == 2) || (instruction.opcode == 0xe9 && instruction.length == 5));
}

struct RaxEffect {
  bool writes = false;
  std::optional<uint64_t> constant;
};

class Decoder {
 public:
  Decoder() { ZydisDecoderInit(&decoder_, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64); }

  bool decode(std::span<const uint8_t> bytes, ZydisDecodedInstruction& instruction, ZydisDecoderContext& context) const {
    return ZYAN_SUCCESS(ZydisDecoderDecodeInstruction(&decoder_, &context, bytes.data(), bytes.size(), &instruction));
  }

  // Whether the instruction can run elsewhere.
  std::optional<MovableInstruction> movable(uint64_t address, const ZydisDecodedInstruction& instruction,
                                            const ZydisDecoderContext& context) const {
    MovableInstruction result{.address = address, .length = instruction.length};
    if (is_conditional_jump(instruction)) {
      const auto& immediate = instruction.raw.imm[0];
      if (immediate.size == 32) {
        result.displacement_offset = immediate.offset;
      } else {
        result.short_jump_target = result.end() + static_cast<uint64_t>(immediate.value.s);
      }
      return result;
    }

    if (!is_plain(instruction.meta.category) || is_peculiar(instruction.mnemonic)) return std::nullopt;
    if (instruction.attributes & ZYDIS_ATTRIB_IS_PRIVILEGED) return std::nullopt;
    result.is_nop = instruction.mnemonic == ZYDIS_MNEMONIC_NOP;
    if (is_rip_relative(instruction)) {
      // With an address-size prefix the sum wraps at 4 GiB and cannot be corrected.
      if (instruction.address_width != 64) return std::nullopt;
      result.displacement_offset = instruction.raw.disp.offset;
    } else if (instruction.attributes & ZYDIS_ATTRIB_IS_RELATIVE) {
      return std::nullopt;
    }

    for (const ZydisDecodedOperand& operand : operands(instruction, context)) {
      if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER && (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) &&
          ZydisRegisterGetClass(operand.reg.value) == ZYDIS_REGCLASS_SEGMENT) {
        return std::nullopt;
      }
    }
    return result;
  }

  RaxEffect rax_effect(const ZydisDecodedInstruction& instruction, const ZydisDecoderContext& context) const {
    const std::vector<ZydisDecodedOperand> all = operands(instruction, context);
    RaxEffect effect;
    for (const ZydisDecodedOperand& operand : all) {
      if (operand.type == ZYDIS_OPERAND_TYPE_REGISTER && (operand.actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) &&
          ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, operand.reg.value) == ZYDIS_REGISTER_RAX) {
        effect.writes = true;
      }
    }
    if (!effect.writes || all.size() < 2) return effect;

    const auto is_register = [&](size_t index, ZydisRegister wanted) {
      return all[index].type == ZYDIS_OPERAND_TYPE_REGISTER && all[index].reg.value == wanted;
    };
    const bool wide = is_register(0, ZYDIS_REGISTER_RAX);
    const bool narrow = is_register(0, ZYDIS_REGISTER_EAX);
    if (instruction.mnemonic == ZYDIS_MNEMONIC_MOV && (wide || narrow) && all[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
      effect.constant = wide ? all[1].imm.value.u : static_cast<uint32_t>(all[1].imm.value.u);
    } else if (instruction.mnemonic == ZYDIS_MNEMONIC_XOR && (wide || narrow) && is_register(1, all[0].reg.value)) {
      effect.constant = 0;
    }
    return effect;
  }

 private:
  std::vector<ZydisDecodedOperand> operands(const ZydisDecodedInstruction& instruction, const ZydisDecoderContext& context) const {
    std::vector<ZydisDecodedOperand> result(instruction.operand_count);
    if (!ZYAN_SUCCESS(ZydisDecoderDecodeOperands(&decoder_, &context, &instruction, result.data(), instruction.operand_count)))
      result.clear();
    return result;
  }

  ZydisDecoder decoder_;
};

struct Candidate {
  uint64_t address;
  ZydisDecodedInstruction instruction;
  ZydisDecoderContext context;
};

struct Jump {
  uint64_t address;
  uint8_t length;
  uint64_t target;
};

// What one pass over the function leaves: the instructions near the site, the jumps to there, and all places that code refers to.
struct Survey {
  std::vector<Candidate> before;
  std::vector<Jump> jumps;
  std::vector<uint64_t> entries;  // sorted
  bool meets_site = false;
  bool complete = false;

  bool enters(uint64_t address) const { return std::ranges::binary_search(entries, address); }
  bool enters_between(uint64_t first, uint64_t last) const {
    const auto next = std::ranges::upper_bound(entries, first);
    return next != entries.end() && *next < last;
  }
};

Survey survey(const Decoder& decoder, std::span<const uint8_t> code, uint64_t begin, uint64_t site) {
  Survey result;
  const uint64_t near = site - std::min(site - begin, kMaxWindow);

  for (size_t offset = 0; offset < code.size();) {
    const uint64_t address = begin + offset;
    ZydisDecodedInstruction instruction;
    ZydisDecoderContext context;
    if (!decoder.decode(code.subspan(offset), instruction, context)) return result;
    offset += instruction.length;
    const uint64_t next = begin + offset;

    if (address == site) result.meets_site = true;
    if (address >= near && next <= site) result.before.push_back({address, instruction, context});

    const auto note = [&](int64_t displacement) {
      const uint64_t target = next + static_cast<uint64_t>(displacement);
      if (target - begin < code.size()) result.entries.push_back(target);
      return target;
    };
    for (const auto& immediate : instruction.raw.imm) {
      if (immediate.size == 0 || !immediate.is_relative) continue;
      const uint64_t target = note(immediate.value.s);
      if (target >= near && target < site && is_plain_jump(instruction)) result.jumps.push_back({address, instruction.length, target});
    }
    // An address that is taken may be jumped to.
    if (is_rip_relative(instruction)) note(instruction.raw.disp.value);
    if (is_end_branch(instruction)) result.entries.push_back(address);
  }
  std::ranges::sort(result.entries);
  result.complete = true;
  return result;
}

// Appends the instructions of the padding before `function` to `run`, from the last one back, as long as they are nops.
void add_padding(const Decoder& decoder, const Text& text, const FunctionRange& function, uint64_t site,
                 std::vector<MovableInstruction>& run) {
  const AddressRange range = {function.padding_begin, function.code.begin};
  if (range.size() == 0 || range.size() > kMaxPadding) return;
  const auto padding = text.slice(range);
  if (!padding) return;

  std::vector<MovableInstruction> nops;
  for (size_t offset = 0; offset < padding->size();) {
    ZydisDecodedInstruction instruction;
    ZydisDecoderContext context;
    if (!decoder.decode(padding->subspan(offset), instruction, context)) return;
    nops.push_back({.address = range.begin + offset, .length = instruction.length, .is_nop = true});
    if (instruction.mnemonic != ZYDIS_MNEMONIC_NOP) nops.clear();
    offset += instruction.length;
  }
  for (auto nop = nops.rbegin(); nop != nops.rend() && site - nop->address <= kMaxWindow; ++nop) run.push_back(*nop);
}

// The window that a jump to the run makes, or nothing when it has no room.
std::optional<BranchToRun> branch_window(const Decoder& decoder, const Survey& seen, std::span<const uint8_t> code, uint64_t begin,
                                         const Jump& jump) {
  constexpr uint64_t kRoom = 5;
  if (seen.enters_between(jump.address, jump.address + jump.length)) return std::nullopt;
  BranchToRun result{.window = {{.address = jump.address, .length = jump.length}}, .target = jump.target};
  for (uint64_t next = jump.address + jump.length; next - jump.address < kRoom;) {
    ZydisDecodedInstruction instruction;
    ZydisDecoderContext context;
    if (next - begin >= code.size() || !decoder.decode(code.subspan(next - begin), instruction, context)) return std::nullopt;
    const uint64_t end = next + instruction.length;
    if (instruction.mnemonic != ZYDIS_MNEMONIC_NOP || seen.enters(next) || seen.enters_between(next, end)) return std::nullopt;
    result.window.push_back({.address = next, .length = instruction.length, .is_nop = true});
    next = end;
  }
  return result;
}

bool is_prefix_byte(uint8_t byte) {
  constexpr std::array<uint8_t, 11> kLegacy = {0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65, 0x66, 0x67, 0xf0, 0xf2, 0xf3};
  return (byte & 0xf0) == 0x40 || std::ranges::find(kLegacy, byte) != kLegacy.end();
}

}  // namespace

std::optional<std::span<const uint8_t>> Text::slice(AddressRange range) const {
  const uint64_t offset = range.begin - address;
  if (offset > bytes.size() || range.size() > bytes.size() - offset) return std::nullopt;
  return bytes.subspan(offset, range.size());
}

std::variant<CodeBefore, Refusal> read_code_before(const Text& text, const FunctionRange& function, uint64_t site) {
  const AddressRange range = function.code;
  if (!range.contains(site) || range.end - site < kSyscallSize) return Refusal{RefusalReason::OutsideText};
  if (range.size() > kMaxFunction) return Refusal{RefusalReason::FunctionTooLarge};
  const auto code = text.slice(range);
  if (!code) return Refusal{RefusalReason::OutsideText};

  const Decoder decoder;
  const Survey seen = survey(decoder, *code, range.begin, site);
  if (!seen.complete) return Refusal{RefusalReason::Undecodable};
  if (!seen.meets_site) return Refusal{RefusalReason::NotABoundary};

  CodeBefore result;
  result.limit = RefusalReason::TooCloseToStart;
  bool rax_is_certain = !seen.enters(site);
  for (auto it = seen.before.rbegin(); it != seen.before.rend(); ++it) {
    std::optional<MovableInstruction> movable = decoder.movable(it->address, it->instruction, it->context);
    // Hand-written code jumps over a lock prefix, into the middle of an instruction.
    const bool entered_inside = seen.enters_between(it->address, it->address + it->instruction.length);
    if (entered_inside || !movable) {
      result.limit = entered_inside ? RefusalReason::Entered : RefusalReason::NotMovable;
      break;
    }
    movable->is_entered = it->address == range.begin || seen.enters(it->address);

    if (rax_is_certain) {
      const RaxEffect effect = decoder.rax_effect(it->instruction, it->context);
      if (effect.writes) result.rax = effect.constant;
      rax_is_certain = !effect.writes && !movable->is_entered;
    }
    result.run.push_back(*movable);
  }
  for (const Jump& jump : seen.jumps) {
    if (result.branches.size() == kMaxBranches) break;
    const bool meets_run = std::ranges::any_of(result.run, [&](const MovableInstruction& moved) { return moved.address == jump.target; });
    auto branch = meets_run ? branch_window(decoder, seen, *code, range.begin, jump) : std::nullopt;
    if (branch) result.branches.push_back(std::move(*branch));
  }
  if (!result.run.empty() && result.run.back().address == range.begin) add_padding(decoder, text, function, site, result.run);
  std::ranges::reverse(result.run);
  return result;
}

std::variant<CodeBefore, Refusal> read_constant_load_before(const Text& text, uint64_t site, uint64_t rax) {
  struct Form {
    std::array<uint8_t, 3> opcode;
    size_t opcode_size;
    bool sign_extends;
  };
  constexpr std::array<Form, 2> kForms = {{{{0x48, 0xc7, 0xc0}, 3, true}, {{0xb8}, 1, false}}};

  for (const Form& form : kForms) {
    const size_t length = form.opcode_size + 4;
    // One byte more: a prefix before these bytes would make them another instruction.
    const auto bytes = text.slice({site - length - 1, site});
    if (!bytes || is_prefix_byte(bytes->front())) continue;
    const std::span<const uint8_t> load = bytes->subspan(1);
    if (!std::equal(form.opcode.begin(), form.opcode.begin() + form.opcode_size, load.begin())) continue;

    uint32_t constant = 0;
    for (size_t i = 0; i < 4; ++i) constant |= static_cast<uint32_t>(load[form.opcode_size + i]) << (8 * i);
    const uint64_t loaded = form.sign_extends ? static_cast<uint64_t>(static_cast<int64_t>(static_cast<int32_t>(constant))) : constant;
    if (loaded != rax) return Refusal{RefusalReason::UnexpectedRax};

    CodeBefore result;
    result.limit = RefusalReason::NoFunction;
    result.run.push_back({.address = site - length, .length = static_cast<uint8_t>(length)});
    result.rax = loaded;
    return result;
  }
  return Refusal{RefusalReason::NoFunction};
}

}  // namespace umk::patcher

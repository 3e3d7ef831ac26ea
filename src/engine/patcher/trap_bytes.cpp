#include "engine/patcher/trap_bytes.h"

#include <algorithm>
#include <array>

namespace umk::patcher {
namespace {

// Opcodes of one byte. The invalid ones have been so since the first 64-bit processors; 0xd6 is even promised to stay.
constexpr std::array<uint8_t, 35> kTrappingOpcodes = {
    0x06, 0x07, 0x0e, 0x16, 0x17, 0x1e, 0x1f, 0x27, 0x2f, 0x37, 0x3f, 0x60, 0x61,  // #UD: segment pushes, decimal adjustment, pusha
    0x6c, 0x6d, 0x6e, 0x6f,                                                        // #GP: ins, outs
    0x82, 0x9a,                                                                    // #UD: old group 1, far call
    0xcc,                                                                          // #BP
    0xce, 0xd4, 0xd6,                                                              // #UD: into, aam, udb
    0xe4, 0xe5, 0xe6, 0xe7,                                                        // #GP: in, out
    0xea,                                                                          // #UD: far jump
    0xec, 0xed, 0xee, 0xef,                                                        // #GP: in, out
    0xf4, 0xfa, 0xfb,                                                              // #GP: hlt, cli, sti
};

constexpr bool is_prefix(uint8_t byte) {
  switch (byte) {
    case 0x26:
    case 0x2e:
    case 0x36:
    case 0x3e:
    case 0x64:
    case 0x65:
    case 0x66:
    case 0x67:
    case 0xf0:
    case 0xf2:
    case 0xf3: return true;
    default: return byte >= 0x40 && byte <= 0x4f;
  }
}

enum class Kind : uint8_t { Runs, Prefix, Traps };

// Hundreds of thousands of bytes are asked for in the search of places for trampolines.
constexpr std::array<Kind, 256> kKinds = [] {
  std::array<Kind, 256> kinds{};
  for (unsigned byte = 0; byte < kinds.size(); ++byte) {
    const bool traps = std::ranges::find(kTrappingOpcodes, byte) != kTrappingOpcodes.end();
    kinds[byte] = traps ? Kind::Traps : is_prefix(static_cast<uint8_t>(byte)) ? Kind::Prefix : Kind::Runs;
  }
  return kinds;
}();

}  // namespace

bool traps_at_once(std::span<const uint8_t> code, size_t offset) {
  while (offset < code.size() && kKinds[code[offset]] == Kind::Prefix) ++offset;
  if (offset >= code.size()) return false;
  const uint8_t opcode = code[offset];
  if (kKinds[opcode] == Kind::Traps) return true;

  // Groups 4 and 5: fe has only inc and dec, and ff /7 does not exist.
  if ((opcode != 0xfe && opcode != 0xff) || offset + 1 >= code.size()) return false;
  const uint8_t extension = (code[offset + 1] >> 3) & 7;
  return opcode == 0xfe ? extension >= 2 : extension == 7;
}

bool has_protection_key_write(std::span<const uint8_t> code) {
  for (size_t i = 0; i + 2 < code.size(); ++i) {
    if (code[i] != 0x0f) continue;
    const uint8_t modrm = code[i + 2];
    if (code[i + 1] == 0x01 && modrm == 0xef) return true;
    if (code[i + 1] == 0xae && ((modrm >> 3) & 7) == 5 && (modrm >> 6) != 3) return true;
  }
  return false;
}

}  // namespace umk::patcher

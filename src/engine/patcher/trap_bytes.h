// Bytes that are certain to trap. A thread may have been stopped between two instructions of a window when the window was
// overwritten; when it goes on, it executes bytes of the new jump as if they were an instruction. That is harmless only if
// these bytes raise an exception and change nothing.
#pragma once

#include <cstdint>
#include <span>

namespace umk::patcher {

/// True when executing from code[offset] in 64-bit user mode raises #BP, #UD or #GP at once, whatever the registers hold.
///
/// Looks at nothing beyond the end of `code`; what would depend on it does not count as a trap. Encodings that a later
/// processor has given or may give a meaning (REX2, VEX, EVEX, XOP) do not count either.
/// Source: Intel SDM volume 2, appendix A, opcode maps; "IN", "OUT", "HLT", "CLI" for #GP without I/O privilege.
bool traps_at_once(std::span<const uint8_t> code, size_t offset);

/// True when `code` holds, at any offset, WRPKRU (0f 01 ef) or XRSTOR (0f ae /5 with a memory operand): the instructions
/// by which user code could open the kernel's memory.
bool has_protection_key_write(std::span<const uint8_t> code);

}  // namespace umk::patcher

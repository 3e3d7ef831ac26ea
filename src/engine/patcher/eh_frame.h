// Function boundaries from unwind tables: the only thing in a stripped file that says where code surely begins.
//
// Nearly every x86-64 program carries `.eh_frame`, with one entry (FDE) per function part, and a sorted index to it,
// `.eh_frame_hdr`, which PT_GNU_EH_FRAME finds. Where there is no usable index (static programs of some tool chains, linkers
// that met an entry they did not understand) the entries are read one after the other.
//
// The tables come from a guest's file and may say anything. Each read goes through the caller's reader, a fixed number of
// records is looked at, and nothing is allocated. A lie in them can only yield a wrong range, never a crash; a wrong range
// ends, at the worst, in a patch that breaks the very program whose file lied.
// Sources: Linux Standard Base Core, "Exception Frames"; DWARF 5, 6.4.1.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "engine/patcher/address_range.h"

namespace umk::patcher {

/// Fills the span with the file's bytes at a virtual address, or says false when some of them are not in the file.
using AddressReader = std::function<bool(uint64_t address, std::span<uint8_t> bytes)>;

/// Where a file keeps its unwind tables; a range that is unknown is empty.
struct UnwindTables {
  AddressRange index;    // .eh_frame_hdr
  AddressRange entries;  // .eh_frame; its end may be unknown: then it is the highest address
};

/// The function part that covers `address`, or nothing when no entry does.
std::optional<FunctionRange> find_function(const UnwindTables& tables, const AddressReader& read, uint64_t address);

/// Calls `visit` for every entry, in the order of the file, until it answers false. For surveys of whole files.
void for_each_function(const UnwindTables& tables, const AddressReader& read, const std::function<bool(const FunctionRange&)>& visit);

}  // namespace umk::patcher

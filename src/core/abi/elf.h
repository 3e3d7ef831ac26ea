// The file format of programs, elf(5), as far as execve(2) needs it, and the auxiliary vector, getauxval(3).
//
// The names are our own since the usual ones are macros of <elf.h>.
#pragma once

#include <cstddef>
#include <cstdint>

namespace umk::elf {

struct FileHeader {
  uint8_t identity[16];
  uint16_t type;
  uint16_t machine;
  uint32_t version;
  uint64_t entry;
  uint64_t program_headers_offset;
  uint64_t section_headers_offset;
  uint32_t flags;
  uint16_t header_size;
  uint16_t program_header_size;
  uint16_t program_header_count;
  uint16_t section_header_size;
  uint16_t section_header_count;
  uint16_t section_names_index;
};
static_assert(sizeof(FileHeader) == 64);

struct ProgramHeader {
  uint32_t type;
  uint32_t flags;
  uint64_t offset;
  uint64_t address;
  uint64_t physical_address;
  uint64_t file_size;
  uint64_t memory_size;
  uint64_t alignment;
};
static_assert(sizeof(ProgramHeader) == 56);

inline constexpr uint8_t kMagic[4] = {0x7f, 'E', 'L', 'F'};
inline constexpr size_t kIdentityClass = 4;
inline constexpr size_t kIdentityData = 5;
inline constexpr uint8_t kClass64 = 2;
inline constexpr uint8_t kDataLittleEndian = 1;

// FileHeader::type
inline constexpr uint16_t kTypeExecutable = 2;
inline constexpr uint16_t kTypeDynamic = 3;
inline constexpr uint16_t kTypeCore = 4;

inline constexpr uint16_t kMachineX86_64 = 62;

// ProgramHeader::type
inline constexpr uint32_t kSegmentLoad = 1;
inline constexpr uint32_t kSegmentDynamic = 2;
inline constexpr uint32_t kSegmentInterpreter = 3;
inline constexpr uint32_t kSegmentNote = 4;
inline constexpr uint32_t kSegmentProgramHeaders = 6;
inline constexpr uint32_t kSegmentTls = 7;
inline constexpr uint32_t kSegmentGnuStack = 0x6474e551;
inline constexpr uint32_t kSegmentGnuProperty = 0x6474e553;

// ProgramHeader::flags
inline constexpr uint32_t kFlagExecute = 1;
inline constexpr uint32_t kFlagWrite = 2;
inline constexpr uint32_t kFlagRead = 4;

/// One entry of the auxiliary vector.
struct AuxiliaryEntry {
  uint64_t type;
  uint64_t value;
};
static_assert(sizeof(AuxiliaryEntry) == 16);

// AuxiliaryEntry::type
inline constexpr uint64_t kAuxNull = 0;
inline constexpr uint64_t kAuxProgramHeaders = 3;
inline constexpr uint64_t kAuxProgramHeaderSize = 4;
inline constexpr uint64_t kAuxProgramHeaderCount = 5;
inline constexpr uint64_t kAuxPageSize = 6;
inline constexpr uint64_t kAuxBase = 7;
inline constexpr uint64_t kAuxFlags = 8;
inline constexpr uint64_t kAuxEntry = 9;
inline constexpr uint64_t kAuxUid = 11;
inline constexpr uint64_t kAuxEuid = 12;
inline constexpr uint64_t kAuxGid = 13;
inline constexpr uint64_t kAuxEgid = 14;
inline constexpr uint64_t kAuxPlatform = 15;
inline constexpr uint64_t kAuxHardwareCapabilities = 16;
inline constexpr uint64_t kAuxClockTicks = 17;
inline constexpr uint64_t kAuxSecure = 23;
inline constexpr uint64_t kAuxRandom = 25;
inline constexpr uint64_t kAuxHardwareCapabilities2 = 26;
inline constexpr uint64_t kAuxRseqFeatureSize = 27;
inline constexpr uint64_t kAuxRseqAlignment = 28;
inline constexpr uint64_t kAuxExecutableName = 31;
inline constexpr uint64_t kAuxSysinfoHeader = 33;
inline constexpr uint64_t kAuxMinimumSignalStack = 51;

}  // namespace umk::elf

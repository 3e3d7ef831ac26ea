#include "engine/patcher/elf_file.h"

#include <elf.h>

#include <array>
#include <cstring>
#include <string_view>
#include <utility>

namespace umk::patcher {
namespace {

/// elf(5) allows more, Linux does not execute it: all program headers must fit in 64 KiB.
constexpr size_t kMaxProgramHeaders = 65536 / sizeof(Elf64_Phdr);
/// Only files without PT_GNU_EH_FRAME have their sections looked at.
constexpr size_t kMaxSections = 4096;

template <typename T>
bool read_struct(const FileReader& read, uint64_t offset, T& value) {
  std::array<uint8_t, sizeof(T)> bytes;
  if (!read(offset, bytes)) return false;
  std::memcpy(&value, bytes.data(), sizeof(T));
  return true;
}

std::optional<AddressRange> checked_range(uint64_t begin, uint64_t size) {
  if (size == 0 || begin + size < begin) return std::nullopt;
  return AddressRange{begin, begin + size};
}

// Some static programs have unwind entries and no index; then only the section table tells where they are.
AddressRange find_entries_section(const FileReader& read, const Elf64_Ehdr& header) {
  constexpr std::string_view kName = ".eh_frame";
  if (header.e_shentsize != sizeof(Elf64_Shdr) || header.e_shnum > kMaxSections || header.e_shstrndx >= header.e_shnum) return {};
  const auto section = [&](size_t index, Elf64_Shdr& result) {
    return read_struct(read, header.e_shoff + index * sizeof(Elf64_Shdr), result);
  };
  Elf64_Shdr names;
  if (!section(header.e_shstrndx, names)) return {};

  for (size_t index = 0; index < header.e_shnum; ++index) {
    Elf64_Shdr candidate;
    if (!section(index, candidate)) return {};
    if (!(candidate.sh_flags & SHF_ALLOC) || candidate.sh_name >= names.sh_size) continue;
    std::array<uint8_t, kName.size() + 1> name;
    if (!read(names.sh_offset + candidate.sh_name, name)) continue;
    if (std::memcmp(name.data(), kName.data(), name.size()) != 0) continue;
    return checked_range(candidate.sh_addr, candidate.sh_size).value_or(AddressRange{});
  }
  return {};
}

}  // namespace

std::optional<ElfFile> ElfFile::open(FileReader read) {
  ElfFile file(std::move(read));
  Elf64_Ehdr header;
  if (!read_struct(file.read_, 0, header)) return std::nullopt;
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 ||
      header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_machine != EM_X86_64 || header.e_phentsize != sizeof(Elf64_Phdr) ||
      header.e_phnum > kMaxProgramHeaders) {
    return std::nullopt;
  }

  for (size_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr program;
    if (!read_struct(file.read_, header.e_phoff + i * sizeof(Elf64_Phdr), program)) return std::nullopt;
    const auto range = checked_range(program.p_vaddr, program.p_filesz);
    if (!range || !checked_range(program.p_offset, program.p_filesz)) continue;
    if (program.p_type == PT_LOAD) {
      file.segments_.push_back({.addresses = *range, .file_offset = program.p_offset, .is_executable = (program.p_flags & PF_X) != 0});
    } else if (program.p_type == PT_GNU_EH_FRAME) {
      file.unwind_tables_.index = *range;
    }
  }
  if (file.unwind_tables_.index.size() == 0) file.unwind_tables_.entries = find_entries_section(file.read_, header);
  return file;
}

const Segment* ElfFile::code_at(uint64_t address) const {
  for (const Segment& segment : segments_) {
    if (segment.is_executable && segment.addresses.contains(address)) return &segment;
  }
  return nullptr;
}

std::optional<uint64_t> ElfFile::code_address(uint64_t offset) const {
  for (const Segment& segment : segments_) {
    if (segment.is_executable && offset >= segment.file_offset && offset - segment.file_offset < segment.addresses.size()) {
      return segment.addresses.begin + (offset - segment.file_offset);
    }
  }
  return std::nullopt;
}

bool ElfFile::read(uint64_t address, std::span<uint8_t> bytes) const {
  for (const Segment& segment : segments_) {
    if (!segment.addresses.contains(address) || segment.addresses.end - address < bytes.size()) continue;
    return read_(segment.file_offset + (address - segment.addresses.begin), bytes);
  }
  return false;
}

}  // namespace umk::patcher

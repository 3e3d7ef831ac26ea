#include "engine/patcher/elf_file.h"

#include <elf.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

namespace umk::patcher {
namespace {

using Bytes = std::vector<uint8_t>;

template <typename T>
void put(Bytes& bytes, size_t offset, const T& value) {
  if (bytes.size() < offset + sizeof value) bytes.resize(offset + sizeof value);
  std::memcpy(bytes.data() + offset, &value, sizeof value);
}

FileReader reader_of(Bytes bytes) {
  return [bytes = std::move(bytes)](uint64_t offset, std::span<uint8_t> into) {
    if (offset > bytes.size() || into.size() > bytes.size() - offset) return false;
    std::memcpy(into.data(), bytes.data() + offset, into.size());
    return true;
  };
}

constexpr uint64_t kCodeAt = 0x401000;

/// Headers, then code at offset 0x1000; the unwind index by program header or the entries by section.
Bytes make_file(bool with_index) {
  Bytes bytes(0x1800);
  Elf64_Ehdr header{};
  std::memcpy(header.e_ident, ELFMAG, SELFMAG);
  header.e_ident[EI_CLASS] = ELFCLASS64;
  header.e_ident[EI_DATA] = ELFDATA2LSB;
  header.e_type = ET_EXEC;
  header.e_machine = EM_X86_64;
  header.e_phoff = 64;
  header.e_phentsize = sizeof(Elf64_Phdr);
  header.e_phnum = with_index ? 3 : 2;
  header.e_shoff = 0x1400;
  header.e_shentsize = sizeof(Elf64_Shdr);
  header.e_shnum = 3;
  header.e_shstrndx = 2;
  put(bytes, 0, header);
  put(bytes, 64,
      Elf64_Phdr{.p_type = PT_LOAD,
                 .p_flags = PF_R,
                 .p_offset = 0,
                 .p_vaddr = 0x400000,
                 .p_paddr = 0,
                 .p_filesz = 0x1000,
                 .p_memsz = 0x1000,
                 .p_align = 0x1000});
  put(bytes, 64 + 56,
      Elf64_Phdr{.p_type = PT_LOAD,
                 .p_flags = PF_R | PF_X,
                 .p_offset = 0x1000,
                 .p_vaddr = kCodeAt,
                 .p_paddr = 0,
                 .p_filesz = 0x200,
                 .p_memsz = 0x800,
                 .p_align = 0x1000});
  put(bytes, 64 + 112,
      Elf64_Phdr{.p_type = PT_GNU_EH_FRAME,
                 .p_flags = PF_R,
                 .p_offset = 0x800,
                 .p_vaddr = 0x400800,
                 .p_paddr = 0,
                 .p_filesz = 0x40,
                 .p_memsz = 0x40,
                 .p_align = 4});
  Elf64_Shdr frame{};
  frame.sh_name = 1;
  frame.sh_flags = SHF_ALLOC;
  frame.sh_addr = 0x400900;
  frame.sh_size = 0x80;
  put(bytes, 0x1400 + 64, frame);
  Elf64_Shdr names{};
  names.sh_offset = 0x1600;
  names.sh_size = 0x20;
  put(bytes, 0x1400 + 128, names);
  std::memcpy(bytes.data() + 0x1601, ".eh_frame", 10);
  bytes[0x1000] = 0xc3;
  return bytes;
}

TEST(ElfFile, FindsCodeAndUnwindIndex) {
  const auto file = ElfFile::open(reader_of(make_file(true)));
  ASSERT_TRUE(file);
  ASSERT_EQ(file->segments().size(), 2u);
  EXPECT_EQ(file->unwind_tables().index, (AddressRange{0x400800, 0x400840}));
  EXPECT_EQ(file->unwind_tables().entries.size(), 0u);
  ASSERT_TRUE(file->code_at(kCodeAt));
  EXPECT_EQ(file->code_at(kCodeAt)->file_offset, 0x1000u);
  EXPECT_FALSE(file->code_at(0x400000));
  EXPECT_EQ(file->code_address(0x1010), kCodeAt + 0x10);
  EXPECT_FALSE(file->code_address(0x10));
}

TEST(ElfFile, FindsUnwindEntriesBySection) {
  const auto file = ElfFile::open(reader_of(make_file(false)));
  ASSERT_TRUE(file);
  EXPECT_EQ(file->unwind_tables().index.size(), 0u);
  EXPECT_EQ(file->unwind_tables().entries, (AddressRange{0x400900, 0x400980}));
}

TEST(ElfFile, ReadsByAddressOnlyWhatTheFileHas) {
  const auto file = ElfFile::open(reader_of(make_file(true)));
  ASSERT_TRUE(file);
  uint8_t byte = 0;
  EXPECT_TRUE(file->read(kCodeAt, {&byte, 1}));
  EXPECT_EQ(byte, 0xc3);
  EXPECT_FALSE(file->read(kCodeAt + 0x200, {&byte, 1}));
  Bytes two(2);
  EXPECT_FALSE(file->read(kCodeAt + 0x1ff, two));
  EXPECT_FALSE(file->read(~uint64_t{0}, two));
}

TEST(ElfFile, RefusesOtherFiles) {
  EXPECT_FALSE(ElfFile::open(reader_of({})));
  EXPECT_FALSE(ElfFile::open(reader_of(Bytes(64))));
  Bytes other = make_file(true);
  other[18] = EM_386;
  EXPECT_FALSE(ElfFile::open(reader_of(other)));
  Bytes cut = make_file(true);
  cut.resize(100);
  EXPECT_FALSE(ElfFile::open(reader_of(cut)));
}

TEST(ElfFile, SurvivesChangedHeaders) {
  std::mt19937 random(7);
  for (int round = 0; round < 20000; ++round) {
    Bytes bytes = make_file(round % 2 != 0);
    for (int i = 0; i < 4; ++i) {
      const size_t offset = random() % 2 ? random() % 0x100 : 0x1400 + random() % 0x100;
      bytes[offset] = static_cast<uint8_t>(random() % 2 ? random() : 0xff);
    }
    const auto file = ElfFile::open(reader_of(bytes));
    if (!file) continue;
    uint8_t byte = 0;
    file->read(kCodeAt, {&byte, 1});
    find_function(
        file->unwind_tables(), [&](uint64_t address, std::span<uint8_t> into) { return file->read(address, into); }, kCodeAt);
  }
}

}  // namespace
}  // namespace umk::patcher

#include "core/lib/elf/elf_image.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

namespace umk::elf {
namespace {

constexpr uint64_t kUserEnd = 0x7e00'0000'0000;

/// A program file in parts: its headers, and code that ends the process.
struct Program {
  FileHeader header{};
  std::vector<ProgramHeader> segments;
  std::string tail;

  Program() {
    std::memcpy(header.identity, kMagic, sizeof kMagic);
    header.identity[kIdentityClass] = kClass64;
    header.identity[kIdentityData] = kDataLittleEndian;
    header.type = kTypeExecutable;
    header.machine = kMachineX86_64;
    header.entry = 0x400800;
    header.program_headers_offset = sizeof header;
    header.program_header_size = sizeof(ProgramHeader);
    segments.push_back({kSegmentLoad, kFlagRead | kFlagExecute, 0, 0x400000, 0x400000, 0x900, 0x900, 0x1000});
    header.program_header_count = 1;
  }
  void add(const ProgramHeader& segment) {
    segments.push_back(segment);
    ++header.program_header_count;
  }

  std::string bytes() const {
    std::string file(reinterpret_cast<const char*>(&header), sizeof header);
    for (const ProgramHeader& segment : segments) file.append(reinterpret_cast<const char*>(&segment), sizeof segment);
    file.resize(0x800);
    file.append("\xb8\x3c\x00\x00\x00\x31\xff\x0f\x05", 9);  // mov $60, %eax; xor %edi, %edi; syscall
    file.resize(0x3000);
    return file;
  }
};

std::span<const std::byte> as_bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

Result<ElfImage> parse(const std::string& file, Role role = Role::Program) {
  const FileSummary summary = TRY(parse_file_header(as_bytes(file), role));
  if (summary.program_headers.offset > file.size() || summary.program_headers.size > file.size() - summary.program_headers.offset)
    return error(ENOEXEC);
  return ElfImage::create(summary, as_bytes(file).subspan(summary.program_headers.offset, summary.program_headers.size), kUserEnd);
}

TEST(ElfImage, TellsWhereAProgramGoes) {
  Program program;
  program.add({kSegmentLoad, kFlagRead | kFlagWrite, 0x1ff0, 0x402ff0, 0, 0x20, 0x2000, 0x1000});
  program.add({kSegmentGnuStack, kFlagRead | kFlagWrite, 0, 0, 0, 0, 0, 16});
  program.add({kSegmentTls, kFlagRead, 0x2000, 0x403000, 0, 4, 64, 32});
  const auto parsed = parse(program.bytes());
  ASSERT_TRUE(parsed.ok());
  const ElfImage& image = parsed.value();
  EXPECT_FALSE(image.is_position_independent());
  EXPECT_EQ(image.entry(), 0x400800u);
  EXPECT_EQ(image.program_headers_address(), 0x400040u);
  EXPECT_EQ(image.program_header_count(), 4u);
  EXPECT_EQ(image.page_start(), 0x400000u);
  EXPECT_EQ(image.page_end(), 0x405000u);
  EXPECT_EQ(image.alignment(), 0x1000u);
  EXPECT_FALSE(image.wants_executable_stack());
  EXPECT_FALSE(image.interpreter());
  ASSERT_TRUE(image.tls());
  EXPECT_EQ(image.tls()->memory_size, 64u);

  ASSERT_EQ(image.segments().size(), 2u);
  const Segment& data = image.segments()[1];
  EXPECT_TRUE(data.is_readable && data.is_writable && !data.is_executable);
  EXPECT_EQ(data.page_start(), 0x402000u);
  EXPECT_EQ(data.file_pages_offset(), 0x1000u);
  EXPECT_EQ(data.file_pages_end(), 0x404000u);
  EXPECT_EQ(data.page_end(), 0x405000u);
}

TEST(ElfImage, ZeroSegmentsHaveNoFilePages) {
  Program program;
  program.add({kSegmentLoad, kFlagRead | kFlagWrite, 0x123, 0x402ff0, 0, 0, 0x2000, 0x1000});
  const auto parsed = parse(program.bytes());
  const Segment& zeroes = parsed.value().segments()[1];
  EXPECT_EQ(zeroes.file_pages_end(), zeroes.page_start());
  EXPECT_EQ(zeroes.page_end(), 0x405000u);
}

TEST(ElfImage, FindsItsInterpreter) {
  Program program;
  program.add({kSegmentInterpreter, kFlagRead, 0x900, 0, 0, 28, 28, 1});
  program.add({kSegmentInterpreter, kFlagRead, 0xa00, 0, 0, 5, 5, 1});
  const auto parsed = parse(program.bytes());
  ASSERT_TRUE(parsed.value().interpreter());
  EXPECT_EQ(parsed.value().interpreter()->offset, 0x900u);
  EXPECT_EQ(parsed.value().interpreter()->size, 28u);
}

TEST(ElfImage, InterpreterPathsEndWithAZero) {
  EXPECT_EQ(interpreter_path(as_bytes(std::string("/lib/ld\0", 8))).value(), "/lib/ld");
  EXPECT_EQ(interpreter_path(as_bytes(std::string("/lib\0x\0", 7))).value(), "/lib");
  EXPECT_EQ(interpreter_path(as_bytes("/lib/ld")).code(), ENOEXEC);
  EXPECT_EQ(interpreter_path({}).code(), ENOEXEC);
}

TEST(ElfImage, TakesTheLargestAlignment) {
  Program program;
  program.header.type = kTypeDynamic;
  program.segments[0].alignment = 0x200000;
  EXPECT_EQ(parse(program.bytes()).value().alignment(), 0x200000u);
  program.segments[0].alignment = 0x3000;
  EXPECT_EQ(parse(program.bytes()).value().alignment(), 0x1000u);
  program.segments[0].alignment = uint64_t{1} << 63;
  EXPECT_EQ(parse(program.bytes()).code(), EINVAL);
}

TEST(ElfImage, BadInterpretersAreBadLibraries) {
  Program program;
  EXPECT_EQ(parse(program.bytes(), Role::Interpreter).code(), 0);
  program.header.machine = 3;
  EXPECT_EQ(parse(program.bytes(), Role::Interpreter).code(), ELIBBAD);
  EXPECT_EQ(parse_file_header(as_bytes("\x7f" "ELF"), Role::Interpreter).code(), EIO);
  EXPECT_EQ(parse_file_header(as_bytes(std::string(64, 'x')), Role::Interpreter).code(), ELIBBAD);
}

TEST(ElfImage, SegmentsMustBeInOrder) {
  Program program;
  program.add({kSegmentLoad, kFlagRead, 0x1000, 0x3ff000, 0, 0x100, 0x100, 0x1000});
  EXPECT_EQ(parse(program.bytes()).code(), EINVAL);
  program.segments[1].address = 0x400000;
  EXPECT_EQ(parse(program.bytes()).code(), EINVAL);
}

TEST(ElfImage, ProgramHeadersMustBeThere) {
  Program program;
  const FileSummary summary = parse_file_header(as_bytes(program.bytes())).value();
  EXPECT_EQ(ElfImage::create(summary, {}, kUserEnd).code(), ENOEXEC);
}

// The host as the oracle.

/// "runs", "error N", or "dies" when the host finds out too late.
std::string on_host(const std::string& file) {
  char path[] = "/tmp/umk-elf-XXXXXX";
  const int descriptor = mkstemp(path);
  EXPECT_EQ(write(descriptor, file.data(), file.size()), static_cast<ssize_t>(file.size()));
  fchmod(descriptor, 0700);
  close(descriptor);
  const pid_t child = fork();
  if (child == 0) {
    char* arguments[] = {path, nullptr};
    execve(path, arguments, arguments + 1);
    _exit(errno);
  }
  int status = 0;
  waitpid(child, &status, 0);
  unlink(path);
  if (WIFSIGNALED(status)) return "dies";
  return WEXITSTATUS(status) == 0 ? "runs" : "error " + std::to_string(WEXITSTATUS(status));
}

std::string on_ours(const std::string& file) {
  const int code = parse(file).code();
  return code == 0 ? "runs" : code == EINVAL ? "dies" : "error " + std::to_string(code);
}

struct Change {
  const char* name;
  std::function<void(Program&)> apply;
};

TEST(ElfImageHost, AgreesOnDamagedHeaders) {
  const Change changes[] = {
      {"nothing", [](Program&) {}},
      {"magic", [](Program& p) { p.header.identity[1] = 'F'; }},
      {"class", [](Program& p) { p.header.identity[kIdentityClass] = 1; }},
      {"byte order", [](Program& p) { p.header.identity[kIdentityData] = 2; }},
      {"version", [](Program& p) { p.header.version = 77; }},
      {"relocatable", [](Program& p) { p.header.type = 1; }},
      {"core", [](Program& p) { p.header.type = kTypeCore; }},
      {"dynamic", [](Program& p) { p.header.type = kTypeDynamic; }},
      {"machine", [](Program& p) { p.header.machine = 183; }},
      {"header size", [](Program& p) { p.header.program_header_size = 57; }},
      {"no headers", [](Program& p) { p.header.program_header_count = 0; }},
      {"too many headers", [](Program& p) { p.header.program_header_count = 1171; }},
      {"headers past the end", [](Program& p) { p.header.program_headers_offset = 0x100000; }},
      {"headers nowhere", [](Program& p) { p.header.program_headers_offset = ~uint64_t{0} - 8; }},
      {"entry", [](Program& p) { p.header.entry = ~uint64_t{0} - 100; }},
      {"file size above memory size", [](Program& p) { p.segments[0].memory_size = 0x100; }},
      {"huge memory size", [](Program& p) { p.segments[0].memory_size = uint64_t{1} << 60; }},
      {"kernel address", [](Program& p) { p.segments[0].address = uint64_t{1} << 63; }},
      {"wrapping address", [](Program& p) { p.segments[0].address = ~uint64_t{0xfff}; }},
      {"not congruent", [](Program& p) { p.segments[0].offset = 8; }},
      {"offset out of range", [](Program& p) { p.segments[0].offset = ~uint64_t{0xfff}; }},
      {"no segment", [](Program& p) { p.segments[0].type = kSegmentNote; }},
      {"interpreter too short", [](Program& p) { p.add({kSegmentInterpreter, 4, 0x900, 0, 0, 1, 1, 1}); }},
      {"interpreter too long", [](Program& p) { p.add({kSegmentInterpreter, 4, 0x900, 0, 0, 4097, 4097, 1}); }},
      {"strange alignment", [](Program& p) { p.segments[0].alignment = 3; }},
      {"empty segment below", [](Program& p) { p.add({kSegmentLoad, 4, 0, 0x1000, 0, 0, 0, 0x1000}); }},
      {"zero segment at a strange offset", [](Program& p) { p.add({kSegmentLoad, 6, 0x123, 0x500000, 0, 0, 0x100, 0x1000}); }},
      {"segments in one page", [](Program& p) { p.add({kSegmentLoad, 5, 0x900, 0x400900, 0, 0x100, 0x100, 0x1000}); }},
      {"executable stack", [](Program& p) { p.add({kSegmentGnuStack, 7, 0, 0, 0, 0, 0, 16}); }},
  };
  for (const Change& change : changes) {
    Program program;
    change.apply(program);
    EXPECT_EQ(on_ours(program.bytes()), on_host(program.bytes())) << change.name;
  }
}

TEST(ElfImageHost, AgreesOnShortFiles) {
  const std::string file = Program().bytes();
  for (const size_t size : {0, 3, 4, 20, 63, 64, 65, 64 + 55})
    EXPECT_EQ(on_ours(file.substr(0, size)), on_host(file.substr(0, size))) << size;
}

}  // namespace
}  // namespace umk::elf

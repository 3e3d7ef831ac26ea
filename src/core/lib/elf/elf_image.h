// What execve(2) must know of a program file: where its segments go, who interprets it, where it starts.
//
// Two steps, since the program headers may lie anywhere: `parse_file_header` reads the first bytes of the file and says
// where the program headers are; the caller reads those and gives them to `ElfImage::create`. Nothing here reads or maps
// anything, and the result refers to none of the bytes that it was made from.
//
// Errors are execve(2)'s: ENOEXEC for what is not a program for this machine, ELIBBAD for an interpreter that is none, EINVAL
// for one with segments that cannot be. Linux notices the last only when the old program is gone, and kills the process;
// here the caller learns it before, and may choose.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "core/abi/elf.h"
#include "core/base/result.h"
#include "core/base/vector.h"

namespace umk::elf {

/// A program is what execve(2) was called with (or what a script names); an interpreter is its PT_INTERP.
enum class Role { Program, Interpreter };

struct FileRange {
  uint64_t offset = 0;
  uint64_t size = 0;
};

/// What the first bytes of a file say.
struct FileSummary {
  Role role;
  bool is_position_independent;  // ET_DYN
  uint64_t entry;                // before it is moved by the load address
  FileRange program_headers;     // to be read by the caller
};

/// The most program headers that a file may have, as in Linux: 64 KiB of them.
inline constexpr uint64_t kMaximumProgramHeaderBytes = 65536;

/// Reads the file header from the start of a file: as much as there is of it, 64 bytes are enough.
Result<FileSummary> parse_file_header(std::span<const std::byte> start, Role role = Role::Program);

/// A PT_LOAD segment with its size in memory above zero. Addresses are before the load address is added.
struct Segment {
  uint64_t address;
  uint64_t memory_size;
  uint64_t file_offset;
  uint64_t file_size;  // the rest of memory_size is zero
  bool is_readable;
  bool is_writable;
  bool is_executable;

  /// The pages that come from the file: file_pages_offset() is a multiple of the page size, or there are none. If memory_size
  /// is more than file_size, the rest of the last one must read as zeroes; in a segment that is not writable Linux leaves
  /// the file's bytes there.
  uint64_t page_start() const;
  uint64_t file_pages_offset() const;
  uint64_t file_pages_end() const;
  /// The end of all its pages; those from file_pages_end() on are zero.
  uint64_t page_end() const;
};

/// PT_TLS, as the file says it.
struct TlsTemplate {
  uint64_t address;
  uint64_t file_size;
  uint64_t memory_size;
  uint64_t alignment;
};

class ElfImage {
 public:
  /// Checks program headers: `program_headers` holds the bytes of the summary's range, `user_end` is the first address
  /// that programs cannot have.
  static Result<ElfImage> create(const FileSummary& summary, std::span<const std::byte> program_headers, uint64_t user_end);

  bool is_position_independent() const { return is_position_independent_; }
  uint64_t entry() const { return entry_; }
  /// In ascending order, without common bytes; neighbours may share a page, where the later one wins. Never empty.
  std::span<const Segment> segments() const { return segments_; }
  /// All pages from the first segment's to the last one's end.
  uint64_t page_start() const { return segments_[0].page_start(); }
  uint64_t page_end() const { return segments_.back().page_end(); }
  /// What the load address must be a multiple of: the largest p_align that is a power of two, at least a page.
  uint64_t alignment() const { return alignment_; }

  /// The interpreter's path: read this range, then `interpreter_path()`.
  std::optional<FileRange> interpreter() const { return interpreter_; }
  /// PT_GNU_STACK asks for an executable stack. Without that header it is not.
  bool wants_executable_stack() const { return wants_executable_stack_; }
  std::optional<TlsTemplate> tls() const { return tls_; }

  /// AT_PHDR before the load address is added: where the program headers are once the segments are mapped, 0 if they are not.
  uint64_t program_headers_address() const { return program_headers_address_; }
  uint64_t program_header_count() const { return program_header_count_; }

 private:
  ElfImage() = default;
  Result<void> add(const ProgramHeader& header, uint64_t user_end);
  Result<void> add_segment(const ProgramHeader& header, uint64_t user_end);

  bool is_position_independent_ = false;
  bool wants_executable_stack_ = false;
  uint64_t entry_ = 0;
  uint64_t alignment_ = 0;
  uint64_t program_headers_offset_ = 0;
  uint64_t program_headers_address_ = 0;
  uint64_t program_header_count_ = 0;
  std::optional<FileRange> interpreter_;
  std::optional<TlsTemplate> tls_;
  Vector<Segment> segments_;
};

/// The path in the content of a PT_INTERP range; ENOEXEC unless it ends with a zero.
Result<std::string_view> interpreter_path(std::span<const std::byte> content);

}  // namespace umk::elf

#include "core/lib/elf/elf_image.h"

#include <algorithm>

#include "core/base/bits.h"

namespace umk::elf {

namespace {

// PATH_MAX, with the zero at the end.
constexpr uint64_t kMaximumInterpreterPath = 4096;

// mmap(2) takes file offsets of 63 bits.
constexpr uint64_t kMaximumFileOffset = INT64_MAX;

template <typename T>
T read_object(std::span<const std::byte> bytes) {
  T object;
  __builtin_memcpy(&object, bytes.data(), sizeof object);
  return object;
}

}  // namespace

Result<FileSummary> parse_file_header(std::span<const std::byte> start, Role role) {
  const bool is_program = role == Role::Program;
  if (start.size() < sizeof(FileHeader)) return error(is_program ? ENOEXEC : EIO);
  const FileHeader header = read_object<FileHeader>(start);
  const int not_ours = is_program ? ENOEXEC : ELIBBAD;

  // Of the identity Linux looks at the magic number alone: programs run whatever class and byte order theirs claims.
  if (!std::equal(std::begin(kMagic), std::end(kMagic), header.identity)) return error(not_ours);
  if (header.type != kTypeExecutable && header.type != kTypeDynamic) return error(not_ours);
  if (header.machine != kMachineX86_64) return error(not_ours);
  if (header.program_header_size != sizeof(ProgramHeader)) return error(not_ours);
  const uint64_t size = uint64_t{header.program_header_count} * sizeof(ProgramHeader);
  if (size == 0 || size > kMaximumProgramHeaderBytes) return error(not_ours);
  if (header.program_headers_offset > kMaximumFileOffset - size) return error(not_ours);

  return FileSummary{.role = role,
                     .is_position_independent = header.type == kTypeDynamic,
                     .entry = header.entry,
                     .program_headers = {header.program_headers_offset, size}};
}

uint64_t Segment::page_start() const { return page_down(address); }
uint64_t Segment::file_pages_offset() const { return file_offset - (address - page_start()); }
uint64_t Segment::file_pages_end() const { return file_size == 0 ? page_start() : page_up(address + file_size); }
uint64_t Segment::page_end() const { return page_up(address + memory_size); }

Result<ElfImage> ElfImage::create(const FileSummary& summary, std::span<const std::byte> program_headers, uint64_t user_end) {
  CHECK(is_aligned(user_end, kPageSize), "page_up of an address below user_end must not pass it");
  if (program_headers.size() != summary.program_headers.size || program_headers.size() % sizeof(ProgramHeader) != 0)
    return error(summary.role == Role::Program ? ENOEXEC : ELIBBAD);

  ElfImage image;
  image.is_position_independent_ = summary.is_position_independent;
  image.entry_ = summary.entry;
  image.alignment_ = kPageSize;
  image.program_headers_offset_ = summary.program_headers.offset;
  image.program_header_count_ = program_headers.size() / sizeof(ProgramHeader);
  for (; !program_headers.empty(); program_headers = program_headers.subspan(sizeof(ProgramHeader)))
    TRY(image.add(read_object<ProgramHeader>(program_headers), user_end));

  if (image.segments_.empty() || image.entry_ >= user_end) return error(EINVAL);
  return image;
}

Result<void> ElfImage::add(const ProgramHeader& header, uint64_t user_end) {
  switch (header.type) {
    case kSegmentLoad:
      return add_segment(header, user_end);
    case kSegmentInterpreter:
      // Of several the first counts.
      if (interpreter_) return {};
      if (header.file_size < 2 || header.file_size > kMaximumInterpreterPath) return error(ENOEXEC);
      if (header.offset > kMaximumFileOffset - header.file_size) return error(EINVAL);
      interpreter_ = FileRange{header.offset, header.file_size};
      return {};
    case kSegmentGnuStack:
      wants_executable_stack_ = (header.flags & kFlagExecute) != 0;
      return {};
    case kSegmentTls:
      tls_ = TlsTemplate{header.address, header.file_size, header.memory_size, header.alignment};
      return {};
    default:
      return {};
  }
}

Result<void> ElfImage::add_segment(const ProgramHeader& header, uint64_t user_end) {
  if (header.file_size > header.memory_size) return error(EINVAL);
  if (header.memory_size == 0) return {};
  if (header.memory_size > user_end || header.address > user_end - header.memory_size) return error(EINVAL);
  if (header.file_size > 0) {
    if (header.offset > kMaximumFileOffset - kPageSize - header.file_size) return error(EINVAL);
    if ((header.offset ^ header.address) % kPageSize != 0) return error(EINVAL);
  }
  // elf(5): "PT_LOAD segments shall appear in ascending order". Two that own the same byte have no meaning.
  if (!segments_.empty() && header.address < segments_.back().address + segments_.back().memory_size) return error(EINVAL);

  if (header.alignment != 0 && (header.alignment & (header.alignment - 1)) == 0) {
    // More than the whole range could never be granted.
    if (header.alignment > user_end) return error(EINVAL);
    alignment_ = std::max(alignment_, header.alignment);
  }
  const uint64_t into_segment = program_headers_offset_ - header.offset;
  if (program_headers_offset_ >= header.offset && into_segment < header.file_size && program_headers_address_ == 0)
    program_headers_address_ = header.address + into_segment;

  return segments_.push_back(Segment{.address = header.address,
                                     .memory_size = header.memory_size,
                                     .file_offset = header.offset,
                                     .file_size = header.file_size,
                                     .is_readable = (header.flags & kFlagRead) != 0,
                                     .is_writable = (header.flags & kFlagWrite) != 0,
                                     .is_executable = (header.flags & kFlagExecute) != 0});
}

Result<std::string_view> interpreter_path(std::span<const std::byte> content) {
  if (content.empty() || content.back() != std::byte{0}) return error(ENOEXEC);
  const std::string_view text(reinterpret_cast<const char*>(content.data()), content.size());
  return text.substr(0, text.find('\0'));
}

}  // namespace umk::elf

#include "core/kernel/task/exec_layout.h"

#include <cstring>

#include "core/host/calls.h"
#include "core/kernel/guest/engine.h"
#include "core/kernel/task/kernel.h"
#include "core/kernel/task/signal_delivery.h"
#include "core/kernel/task/task.h"
#include "core/kernel/task/vdso_source.h"

namespace umk {

namespace {

using mm::AddressSpace;
namespace flag = mm::map_flags;

constexpr int kRead = guest::kProtRead, kWrite = guest::kProtWrite, kExec = guest::kProtExec;
constexpr uint64_t kClockTicksPerSecond = 100;

int protection_of(const elf::Segment& segment) {
  return (segment.is_readable ? kRead : 0) | (segment.is_writable ? kWrite : 0) | (segment.is_executable ? kExec : 0);
}

/// CPUID leaf 1, EDX: what AT_HWCAP is on x86.
uint64_t processor_capabilities() {
  uint32_t a = 1, b = 0, c = 0, d = 0;
  asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  return d;
}

}  // namespace

Result<void> ProgramLayout::build(Task& task, const elf::ElfImage& image, const RefPtr<vfs::OpenFile>& file, const elf::ElfImage* interpreter,
                                  const RefPtr<vfs::OpenFile>& interpreter_file, std::string_view name, const StringList& arguments,
                                  const StringList& environment) {
  AddressSpace& space = task.address_space();
  TRY(map_stack(task, space, image.wants_executable_stack()));
  TRY(map_vdso(task, space));
  const uint64_t bias = TRY(map_image(space, image, file));
  entry_ = bias + image.entry();
  uint64_t program_end = 0;
  for (const elf::Segment& segment : image.segments()) {
    const uint64_t start = bias + segment.address, end = start + segment.memory_size;
    if (segment.is_executable) {
      if (space.code_start == 0) space.code_start = start;
      space.code_end = start + segment.file_size;
    } else {
      if (space.data_start == 0) space.data_start = start;
      space.data_end = start + segment.file_size;
    }
    if (page_up(end) > program_end) program_end = page_up(end);
  }
  if (image.is_position_independent()) space.start_break_apart();
  else space.start_break(program_end);
  if (interpreter) {
    interpreter_bias_ = TRY(map_image(space, *interpreter, interpreter_file));
    entry_ = interpreter_bias_ + interpreter->entry();
  }
  return write_stack(task, space, image, bias, name, arguments, environment);
}

Result<uint64_t> ProgramLayout::map_image(AddressSpace& space, const elf::ElfImage& image, const RefPtr<vfs::OpenFile>& file) {
  uint64_t bias = 0;
  if (image.is_position_independent()) {
    const uint64_t length = image.page_end() - image.page_start();
    bias = TRY(space.find_image_space(length, image.alignment())) - image.page_start();
  }
  for (const elf::Segment& segment : image.segments()) TRY(map_segment(space, segment, bias, file));
  return bias;
}

Result<void> ProgramLayout::map_segment(AddressSpace& space, const elf::Segment& segment, uint64_t bias, const RefPtr<vfs::OpenFile>& file) {
  const int protection = protection_of(segment);
  const uint64_t file_start = bias + segment.page_start();
  const uint64_t file_end = bias + segment.file_pages_end();
  const uint64_t end = bias + segment.page_end();
  if (file_end > file_start)
    TRY(space.map(file_start, file_end - file_start, protection, flag::kPrivate | flag::kFixed, file, segment.file_pages_offset()));
  if (end > file_end) TRY(space.map(file_end, end - file_end, protection, flag::kPrivate | flag::kFixed | flag::kAnonymous, nullptr, 0));
  // The rest of the last file page belongs to the zeroed part.
  const uint64_t data_end = bias + segment.address + segment.file_size;
  if (segment.is_writable && segment.memory_size > segment.file_size && data_end < file_end && zero_user(data_end, file_end - data_end).faulted)
    return error(EFAULT);
  return {};
}

Result<void> ProgramLayout::map_stack(Task& task, AddressSpace& space, bool executable) {
  uint64_t random = 0;
  host::get_random(std::as_writable_bytes(std::span(&random, 1)));
  const uint64_t limit = task.process().limits.soft(Resource::Stack);
  space.set_layout(limit, random);
  constexpr uint64_t kAtOnce = uint64_t{8} << 20;
  stack_top_ = TRY(space.map_stack(page_up(limit < kAtOnce ? limit : kAtOnce), kRead | kWrite | (executable ? kExec : 0)));
  return {};
}

Result<void> ProgramLayout::map_vdso(Task& task, AddressSpace& space) {
  VdsoSource* vdso = task.kernel().vdso;
  if (!vdso || vdso->mappable_bytes() == 0) return {};
  mm::MapRequest request;
  request.length = vdso->mappable_bytes();
  request.protection = kRead | kExec;
  request.flags = flag::kPrivate;
  request.source = vdso;
  request.label = "[vdso]";
  space.vdso_start = TRY(space.map_request(request));
  return {};
}

Result<void> ProgramLayout::write_stack(Task& task, AddressSpace& space, const elf::ElfImage& image, uint64_t bias, std::string_view name,
                                        const StringList& arguments, const StringList& environment) {
  const Credentials& who = task.credentials();
  const bool is_secure = who.uid != who.euid || who.gid != who.egid;
  const elf::AuxiliaryEntry auxiliary[] = {
      {elf::kAuxSysinfoHeader, space.vdso_start},
      {elf::kAuxMinimumSignalStack, minimum_signal_stack(task.kernel().engine)},
      {elf::kAuxHardwareCapabilities, processor_capabilities()},
      {elf::kAuxPageSize, kPageSize},
      {elf::kAuxClockTicks, kClockTicksPerSecond},
      {elf::kAuxProgramHeaders, image.program_headers_address() ? bias + image.program_headers_address() : 0},
      {elf::kAuxProgramHeaderSize, sizeof(elf::ProgramHeader)},
      {elf::kAuxProgramHeaderCount, image.program_header_count()},
      {elf::kAuxBase, interpreter_bias_},
      {elf::kAuxFlags, 0},
      {elf::kAuxEntry, bias + image.entry()},
      {elf::kAuxUid, who.uid},
      {elf::kAuxEuid, who.euid},
      {elf::kAuxGid, who.gid},
      {elf::kAuxEgid, who.egid},
      {elf::kAuxSecure, is_secure},
      // FSGSBASE is not announced: a program that sets the GS base shall ask the kernel, which then serves it by traps.
      {elf::kAuxHardwareCapabilities2, 0},
  };
  const Vector<std::string_view> argument_views = TRY(arguments.views());
  const Vector<std::string_view> environment_views = TRY(environment.views());
  elf::StackContents contents{.arguments = argument_views,
                              .environment = environment_views,
                              .executable_name = name,
                              .platform = "x86_64",
                              .random = {},
                              .auxiliary = std::span(auxiliary).subspan(space.vdso_start ? 0 : 1)};
  host::get_random(contents.random);
  const elf::InitialStack stack =
      TRY(elf::build_initial_stack(contents, stack_top_, elf::argument_space(task.process().limits.soft(Resource::Stack))));
  if (copy_to_user(stack.stack_pointer, stack.bytes.data(), stack.bytes.size()).faulted) return error(EFAULT);
  stack_pointer_ = stack.stack_pointer;
  space.stack_start = stack.stack_pointer;
  space.arguments_start = stack.argument_strings.start;
  space.arguments_end = stack.argument_strings.end;
  space.environment_start = stack.environment_strings.start;
  space.environment_end = stack.environment_strings.end;
  const size_t words = (stack.auxiliary_vector.end - stack.auxiliary_vector.start) / sizeof(uint64_t);
  TRY(space.auxiliary_vector.resize(words));
  std::memcpy(space.auxiliary_vector.data(), stack.bytes.data() + (stack.auxiliary_vector.start - stack.stack_pointer), words * sizeof(uint64_t));
  return {};
}

void ProgramLayout::start(Task& task) const {
  Registers& registers = task.registers();
  registers = Registers{};
  registers.rip = entry_;
  registers.rsp = stack_pointer_;
  registers.cs = 0x33;
  registers.ss = 0x2b;
  registers.eflags = 0x202;
  registers.orig_rax = ~uint64_t{0};
}

}  // namespace umk

// ProgramLayout: how a program, its interpreter, its stack and the vDSO are laid out in an empty address space.
#pragma once

#include "core/kernel/mm/address_space.h"
#include "core/kernel/task/exec.h"
#include "core/lib/elf/elf_image.h"
#include "core/lib/elf/initial_stack.h"

namespace umk {

class ProgramLayout {
 public:
  /// Maps everything and writes the initial stack. A failure leaves the address space half built: the caller kills the process.
  Result<void> build(Task& task, const elf::ElfImage& image, const RefPtr<vfs::OpenFile>& file, const elf::ElfImage* interpreter,
                     const RefPtr<vfs::OpenFile>& interpreter_file, std::string_view name, const StringList& arguments, const StringList& environment);
  /// Points the task's registers at the program's first instruction.
  void start(Task& task) const;

 private:
  Result<uint64_t> map_image(mm::AddressSpace& space, const elf::ElfImage& image, const RefPtr<vfs::OpenFile>& file);
  Result<void> map_segment(mm::AddressSpace& space, const elf::Segment& segment, uint64_t bias, const RefPtr<vfs::OpenFile>& file);
  Result<void> map_stack(Task& task, mm::AddressSpace& space, bool executable);
  Result<void> map_vdso(Task& task, mm::AddressSpace& space);
  Result<void> write_stack(Task& task, mm::AddressSpace& space, const elf::ElfImage& image, uint64_t bias, std::string_view name,
                           const StringList& arguments, const StringList& environment);

  uint64_t stack_top_ = 0;
  uint64_t interpreter_bias_ = 0;
  uint64_t entry_ = 0;
  uint64_t stack_pointer_ = 0;
};

}  // namespace umk

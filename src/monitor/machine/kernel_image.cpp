#include "monitor/machine/kernel_image.h"

#include <elf.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <span>
#include <stdexcept>

#include "core/base/bits.h"
#include "core/kernel/mm/layout.h"
#include "engine/gate/offsets.h"
#include "monitor/machine/debugger_notice.h"
#include "monitor/machine/embedded.h"

namespace umk::monitor {

namespace {

[[noreturn]] void fail(const char* what, const char* remedy) {
  throw std::runtime_error(fmt::format("umk: {}: {}. {}", what, std::strerror(errno), remedy));
}

int memory_file(const char* name, uint64_t bytes) {
#ifndef MFD_EXEC
  constexpr unsigned MFD_EXEC = 0x10;
#endif
  int fd = memfd_create(name, MFD_CLOEXEC | MFD_EXEC);
  if (fd < 0 && errno == EINVAL) fd = memfd_create(name, MFD_CLOEXEC);  // before Linux 6.3
  if (fd < 0) fail("cannot create a memory file", "The host must allow memfd_create (sysctl vm.memfd_noexec below 2)");
  if (ftruncate(fd, static_cast<off_t>(bytes)) != 0) fail("cannot size a memory file", "Check the host's file size limit (ulimit -f)");
  return fd;
}

void map_at(uint64_t address, uint64_t bytes, int protection, int flags, int fd, uint64_t offset) {
  void* wanted = reinterpret_cast<void*>(address);
  void* got = mmap(wanted, bytes, protection, flags | MAP_FIXED_NOREPLACE, fd, static_cast<off_t>(offset));
  if (got == MAP_FAILED)
    fail("cannot map the kernel's memory at its place", "An address-space limit (ulimit -v) or an unusual stack limit (ulimit -s) stands in the way; try 'ulimit -s 8192'");
}

}  // namespace

KernelImage::KernelImage() {
  map_segments();
  map_window();
  if (header_ == nullptr || header_->magic != engine::ImageHeader::kMagic) throw std::runtime_error("umk: the embedded kernel is damaged: rebuild umk");
  tell_debuggers(umk_kernel_image_begin, static_cast<uint64_t>(umk_kernel_image_end - umk_kernel_image_begin));
}

void KernelImage::map_segments() {
  const auto* file = umk_kernel_image_begin;
  const auto& elf = *reinterpret_cast<const Elf64_Ehdr*>(file);
  const std::span headers(reinterpret_cast<const Elf64_Phdr*>(file + elf.e_phoff), elf.e_phnum);
  const int image_fd = memory_file("umk-image", layout::kImageBytes);
  const int data_fd = memory_file("umk-kernel-data", layout::kKernelDataBytes);

  map_at(layout::kKernelData, layout::kKernelDataBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, data_fd, 0);
  for (const Elf64_Phdr& segment : headers) {
    if (segment.p_type != PT_LOAD || segment.p_memsz == 0) continue;
    if (segment.p_vaddr >= layout::kKernelData) {
      std::memcpy(reinterpret_cast<void*>(segment.p_vaddr), file + segment.p_offset, segment.p_filesz);
      data_bytes_used_ = segment.p_vaddr + segment.p_memsz - layout::kKernelData;
      continue;
    }
    const uint64_t offset = segment.p_vaddr - layout::kImage;
    if (pwrite(image_fd, file + segment.p_offset, segment.p_filesz, static_cast<off_t>(offset)) != static_cast<ssize_t>(segment.p_filesz))
      fail("cannot write the kernel image", "The host is short of memory");
    map_at(segment.p_vaddr, page_up(segment.p_memsz), (segment.p_flags & PF_X) ? PROT_READ | PROT_EXEC : PROT_READ, MAP_SHARED, image_fd, offset);
  }
  header_ = reinterpret_cast<const engine::ImageHeader*>(elf.e_entry);
  forget_embedded(umk_kernel_image_begin, umk_kernel_image_end);
  // Nobody can reach the kernel's memory but through these mappings.
  close(image_fd);
  close(data_fd);
}

void KernelImage::close_to_guests() {
  auto protect = [](uint64_t address, uint64_t bytes, int key) {
    if (pkey_mprotect(reinterpret_cast<void*>(address), bytes, PROT_READ | PROT_WRITE, key) != 0)
      fail("cannot close the kernel's memory to guests", "Start umk with shield=off to run without that wall");
  };
  protect(layout::kKernelData, layout::kKernelDataBytes, UMK_KERNEL_KEY);
  protect(layout::kCacheWindow, layout::kCacheWindowBytes, UMK_KERNEL_KEY);
  protect(reinterpret_cast<uint64_t>(header_->selector_lines), header_->selector_line_bytes, UMK_SELECTOR_KEY);
}

void KernelImage::map_window() {
  cache_fd_ = memory_file("umk-page-cache", layout::kCacheWindowBytes);
  map_at(layout::kCacheWindow, layout::kCacheWindowBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, cache_fd_, 0);
}

}  // namespace umk::monitor

// Plain reads and writes of everything that is the kernel's.
#include "jump.h"

using namespace attack;
namespace layout = umk::layout;

namespace {

// Pages from `from` to `to`, `step` bytes apart: which can be read, which can be written.
struct Swept {
  long pages = 0, readable = 0, writable = 0;
  uint64_t first_readable = 0, first_writable = 0;
};

void sweep(Swept& swept, uint64_t from, uint64_t to, uint64_t step) {
  for (uint64_t page = from; page < to; page += step) {
    swept.pages++;
    if (can_read(page) && swept.readable++ == 0) swept.first_readable = page;
    if (can_write(page) && swept.writable++ == 0) swept.first_writable = page;
  }
}

void expect_closed(const char* what, uint64_t from, uint64_t to, uint64_t step) {
  Swept swept;
  sweep(swept, from, to, is_thorough() ? 4096 : step);
  printf("%s: %ld pages tried\n", what, swept.pages);
  if (swept.readable > 0)
    broken("%s: %ld of %ld pages can be read, the first at 0x%lx", what, swept.readable, swept.pages, swept.first_readable);
  if (swept.writable > 0)
    broken("%s: %ld of %ld pages can be written, the first at 0x%lx", what, swept.writable, swept.pages, swept.first_writable);
}

/// The processor's word on why a read of the address fails.
uint64_t error_of_read(uint64_t address) {
  static sigjmp_buf back;
  static volatile uint64_t code;
  struct sigaction action = {}, before;
  action.sa_sigaction = [](int, siginfo_t*, void* context) {
    code = static_cast<uint64_t>(static_cast<ucontext_t*>(context)->uc_mcontext.gregs[REG_ERR]);
    siglongjmp(back, 1);
  };
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigaction(SIGSEGV, &action, &before);
  if (sigsetjmp(back, 1) == 0) peek(address);
  sigaction(SIGSEGV, &before, nullptr);
  return code;
}

}  // namespace

// Kernel data: nothing can be written, and what can be read is the selector lines alone: pages at the start that hold no secret.
ATTACK(kernel_data, Needs::Keys) {
  constexpr uint64_t kLinesAtMost = 0x100000;
  Swept start, rest;
  sweep(start, layout::kKernelData, layout::kKernelData + kLinesAtMost, 4096);
  printf("start of the data: %ld of %ld pages can be read\n", start.readable, start.pages);
  if (start.writable > 0) broken("%ld pages can be written, the first at 0x%lx", start.writable, start.first_writable);
  for (uint64_t page = layout::kKernelData; page < layout::kKernelData + kLinesAtMost; page += 4096)
    if (can_read(page) && holds_secret(reinterpret_cast<void*>(page), 4096)) broken("the victim's secret can be read at 0x%lx", page);
  expect_closed("kernel data", layout::kKernelData + kLinesAtMost, layout::kKernelData + (uint64_t{64} << 20), 4096 * 7);
  expect_closed("kernel data", layout::kKernelData + kLinesAtMost, layout::kKernelData + layout::kKernelDataBytes, 4096 * 1021);
}

ATTACK(cache_window, Needs::Keys) {
  expect_closed("page cache", layout::kCacheWindow, layout::kCacheWindow + (uint64_t{64} << 20), 4096 * 13);
  expect_closed("page cache", layout::kCacheWindow, layout::kCacheWindow + layout::kCacheWindowBytes, uint64_t{131} << 20);
}

ATTACK(vessel_page, Needs::Keys) {
  expect_closed("vessel pages", layout::kVesselPage, layout::kVesselPage + 0x5000, 4096);
  // It is there, and a key closes it: x86's bits of a page fault.
  constexpr uint64_t kPresent = 1, kProtectionKey = 0x20;
  const uint64_t code = error_of_read(layout::kVesselPage);
  if ((code & (kPresent | kProtectionKey)) != (kPresent | kProtectionKey)) broken("no key closes the vessel page: error code %lx", code);
}

// The page that guests may read, since the host reads the selector with their rights, and may not write.
ATTACK(selector_page, Needs::Keys) {
  if (can_write(layout::kKernelData)) broken("the selector can be written");
  const Ended ended = attempt([] { *reinterpret_cast<volatile char*>(layout::kKernelData) = 0; });
  if (!ended.was_killed()) broken("writing the selector: %s", to_text(ended).c_str());
}

ATTACK(bundles, Needs::Keys) {
  const std::vector<uint64_t> pointers = readable_kernel_pointers();
  printf("%zu kernel pointers can be read\n", pointers.size());
  for (const uint64_t pointer : pointers)
    for (uint64_t at = pointer & ~uint64_t{0xffff}; at <= pointer; at += 4096)
      if (can_read(at) || can_write(at)) broken("a bundle is open at 0x%lx", at);
}

ATTACK(image, Needs::Keys) {
  const KernelFile& kernel = KernelFile::get();
  for (uint64_t page = layout::kImage; page < kernel.text_end(); page += 4096)
    if (can_write(page)) broken("the kernel's text can be written at 0x%lx", page);
}

// Guests cannot have keys of their own, nor give pages of the kernel another one.
ATTACK(own_keys, Needs::Nothing) {
  constexpr long kPkeyMprotect = 329, kPkeyAlloc = 330, kPkeyFree = 331;
  if (syscall(kPkeyAlloc, 0, 0) >= 0) broken("pkey_alloc gave a key");
  for (long key = 0; key < 17; key++) {
    if (key > 0 && syscall(kPkeyFree, key) == 0) broken("pkey_free(%ld) worked", key);
    if (syscall(kPkeyMprotect, layout::kKernelData, 4096, PROT_READ | PROT_WRITE, key) == 0)
      broken("pkey_mprotect of kernel data, key %ld, worked", key);
    void* page = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (key > 0 && syscall(kPkeyMprotect, page, 4096, PROT_READ, key) == 0) broken("pkey_mprotect of a page, key %ld, worked", key);
    munmap(page, 4096);
  }
}

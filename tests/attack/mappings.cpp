// Mappings that reach for what is not theirs: past the end of a file, out of a piece of the page cache, after the file is gone, into the kernel.
#include <elf.h>
#include <stddef.h>

#include "attack.h"

using namespace attack;
namespace layout = umk::layout;

namespace {

constexpr size_t kPage = 4096;

/// A file of `pages` pages, each full of `word`.
int make_file(const char* name, size_t pages, uint64_t word) {
  const int fd = static_cast<int>(must(name, open(name, O_RDWR | O_CREAT | O_TRUNC, 0600)));
  const std::vector<uint64_t> content(pages * kPage / 8, word);
  must("write", write(fd, content.data(), pages * kPage));
  return fd;
}

/// Files full of the secret, so that the page cache around the attacker's own is full of it.
void surround(const char* prefix, int count) {
  for (int i = 0; i < count; i++) close(make_file((std::string(prefix) + std::to_string(i)).c_str(), 16, secret));
}
void remove_all(const char* prefix, int count) {
  for (int i = 0; i < count; i++) unlink((std::string(prefix) + std::to_string(i)).c_str());
}

/// Looks at every page of the range that can be read. Returns how many there were.
size_t look_for_secret(const char* what, uint64_t from, size_t bytes) {
  size_t readable = 0;
  for (uint64_t at = from; at < from + bytes; at += kPage) {
    if (!can_read(at)) continue;
    readable++;
    if (holds_secret(reinterpret_cast<void*>(at), kPage)) broken("%s: another file's bytes at page %lu", what, (at - from) / kPage);
  }
  return readable;
}

}  // namespace

ATTACK(mremap_grow, Needs::Nothing) {
  surround("before", 20);
  const int fd = make_file("grown", 3, 0x1111);
  surround("after", 20);
  for (const int flags : {MAP_SHARED, MAP_PRIVATE}) {
    for (const int protection : {PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC}) {
      auto map = reinterpret_cast<uint64_t>(mmap(nullptr, 3 * kPage, protection, flags, fd, 0));
      if (map == ~uint64_t{0}) {
        // Executable and shared: a kernel may refuse that for some file systems.
        if ((protection & PROT_EXEC) != 0) continue;
        cannot("mmap");
      }
      void* grown = mremap(reinterpret_cast<void*>(map), 3 * kPage, 4096 * kPage, MREMAP_MAYMOVE);
      if (grown == MAP_FAILED) continue;
      const size_t readable = look_for_secret("mremap", reinterpret_cast<uint64_t>(grown), 4096 * kPage);
      if (readable != 3) broken("%zu pages of a file of 3 can be read", readable);
      // A second mapping of the same, by an old size of 0; and a piece from the middle, moved and grown.
      if (flags == MAP_SHARED) {
        void* twin = mremap(grown, 0, 64 * kPage, MREMAP_MAYMOVE);
        if (twin != MAP_FAILED) look_for_secret("twin", reinterpret_cast<uint64_t>(twin), 64 * kPage);
      }
      void* piece = mremap(static_cast<char*>(grown) + kPage, kPage, 512 * kPage, MREMAP_MAYMOVE);
      if (piece != MAP_FAILED) look_for_secret("piece", reinterpret_cast<uint64_t>(piece), 512 * kPage);
    }
  }
  remove_all("before", 20);
  remove_all("after", 20);
  if (!in_guest()) return;
  // Onto the kernel, and out of it.
  void* own = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  for (const uint64_t kernel :
       {layout::kKernelData, layout::kCacheWindow, layout::kVesselPage, layout::kSlots, layout::kImage, layout::kUserEnd - kPage}) {
    if (kernel != layout::kUserEnd - kPage &&
        mremap(own, kPage, kPage, MREMAP_MAYMOVE | MREMAP_FIXED, reinterpret_cast<void*>(kernel)) != MAP_FAILED)
      broken("mremap moved a page to 0x%lx", kernel);
    if (mremap(own, kPage, 16 * kPage, MREMAP_MAYMOVE | MREMAP_FIXED, reinterpret_cast<void*>(layout::kUserEnd - kPage)) != MAP_FAILED)
      broken("mremap moved pages over the end");
    if (mremap(reinterpret_cast<void*>(kernel), kPage, kPage, MREMAP_MAYMOVE | MREMAP_FIXED, own) != MAP_FAILED &&
        kernel != layout::kUserEnd - kPage)
      broken("mremap took the page at 0x%lx", kernel);
    if (kernel != layout::kUserEnd - kPage && mremap(reinterpret_cast<void*>(kernel), 0, kPage, MREMAP_MAYMOVE) != MAP_FAILED)
      broken("mremap doubled the page at 0x%lx", kernel);
  }
}

ATTACK(remap_pages, Needs::Nothing) {
  surround("before", 20);
  const int fd = make_file("remapped", 4, 0x2222);
  surround("after", 20);
  constexpr long kRemapFilePages = 216;
  for (const uint64_t page : {uint64_t{0}, uint64_t{1}, uint64_t{3}, uint64_t{4}, uint64_t{16}, uint64_t{100}, uint64_t{5000},
                              uint64_t{1} << 40, ~uint64_t{0} >> 12, ~uint64_t{3}}) {
    for (const size_t size : {kPage, 4 * kPage}) {
      auto map = reinterpret_cast<uint64_t>(mmap(nullptr, 4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
      if (map == ~uint64_t{0}) cannot("mmap");
      const long result = syscall(kRemapFilePages, map, size, 0, page, 0);
      look_for_secret(result == 0 ? "remap_file_pages" : "untouched", map, 4 * kPage);
      munmap(reinterpret_cast<void*>(map), 4 * kPage);
    }
    if (syscall(kRemapFilePages, layout::kCacheWindow, kPage, 0, page, 0) == 0) broken("remap_file_pages of the page cache worked");
    if (syscall(kRemapFilePages, layout::kKernelData, kPage, 0, page, 0) == 0) broken("remap_file_pages of kernel data worked");
  }
  remove_all("before", 20);
  remove_all("after", 20);
}

ATTACK(mmap_wrap, Needs::Nothing) {
  const int fd = make_file("wrapped", 2, 0x3333);
  surround("after", 20);
  const size_t sizes[] = {kPage,           2 * kPage,  size_t{1} << 32,        size_t{1} << 46,
                          size_t{1} << 47, ~size_t{0}, ~size_t{0} - kPage + 1, ~size_t{0} >> 1};
  const uint64_t offsets[] = {0,
                              kPage,
                              uint64_t{1} << 32,
                              uint64_t{1} << 44,
                              uint64_t{1} << 62,
                              ~uint64_t{0} << 12,
                              uint64_t{1} << 63,
                              (uint64_t{1} << 63) - kPage};
  for (const int flags : {MAP_SHARED, MAP_PRIVATE}) {
    for (const size_t size : sizes) {
      for (const uint64_t offset : offsets) {
        const long map = syscall(SYS_mmap, 0, size, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, fd, offset);
        if (map == -1) continue;
        // Past the end of the file stands a SIGBUS; looking at the first and the last pages is enough.
        const uint64_t end = (static_cast<uint64_t>(map) + size + kPage - 1) & ~(kPage - 1);
        if (in_guest() && (end <= static_cast<uint64_t>(map) || end > layout::kUserEnd))
          broken("mmap of 0x%zx bytes gave 0x%lx", size, map);
        look_for_secret("start", static_cast<uint64_t>(map), std::min<uint64_t>(end - static_cast<uint64_t>(map), 64 * kPage));
        look_for_secret("end", end - std::min<uint64_t>(end - static_cast<uint64_t>(map), 16 * kPage),
                        std::min<uint64_t>(end - static_cast<uint64_t>(map), 16 * kPage));
        munmap(reinterpret_cast<void*>(map), size);
      }
    }
  }
  remove_all("after", 20);
}

// Every call on memory, on the kernel's ranges and over the guest's end.
ATTACK(kernel_ranges, Needs::Nothing) {
  if (!in_guest()) {
    printf("not in a guest\n");
    return;
  }
  const int fd = make_file("ranges", 4, 0x4444);
  for (const uint64_t address :
       {layout::kUserEnd, layout::kVesselPage, layout::kSlots, layout::kHostVdso, layout::kImage, layout::kKernelData,
        layout::kKernelData + 0x100000, layout::kCacheWindow, layout::kCacheWindow + layout::kCacheWindowBytes - kPage,
        uint64_t{0x7fff'0000'0000}, uint64_t{0xffff'8000'0000'0000}}) {
    if (syscall(SYS_brk, address) == static_cast<long>(address)) broken("the heap reaches 0x%lx", address);
    for (const size_t size : {kPage, size_t{0x100000}, size_t{1} << 40, ~size_t{0} & ~size_t{0xfff}}) {
      for (const uint64_t start : {address, address - kPage, address - 0x100000}) {
        if (start + size <= address) continue;
        const auto at = reinterpret_cast<void*>(start);
        const auto refused = [&](const char* what, long result) {
          if (result != -1) broken("%s at 0x%lx, 0x%zx bytes: %ld", what, start, size, result);
        };
        refused("mmap", reinterpret_cast<long>(
                            mmap(at, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0)));
        refused("mmap of a file", reinterpret_cast<long>(mmap(at, size, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0)));
        refused("mprotect", mprotect(at, size, PROT_READ | PROT_WRITE | PROT_EXEC));
        refused("mremap", reinterpret_cast<long>(mremap(at, size, kPage, MREMAP_MAYMOVE)));
        if (start != address) continue;  // what follows may serve the part that is the guest's
        // May succeed, as for whatever Linux would let a program name: what it took away the next calls would miss.
        munmap(at, size);
        refused("msync", msync(at, size, MS_SYNC));
        refused("mlock", mlock(at, size));
        for (const int advice : {MADV_DONTNEED, MADV_FREE, MADV_REMOVE, MADV_DONTFORK, MADV_WIPEONFORK, MADV_HUGEPAGE, MADV_POPULATE_WRITE,
                                 MADV_COLD, MADV_PAGEOUT, MADV_HWPOISON})
          refused("madvise", madvise(at, size, advice));
        unsigned char present[16];
        if (size == kPage) refused("mincore", mincore(at, size, present));
      }
    }
  }
}

// A mapping of a file that is then unlinked, cut and closed, while others fill files: their bytes must not show in it.
ATTACK(extent_reuse, Needs::Nothing) {
  for (int round = 0; round < (is_thorough() ? 20 : 3); round++) {
    constexpr size_t kPages = 64;
    const int fd = make_file("reused", kPages, 0x5555);
    const int kept = make_file("kept", kPages, 0x5555);
    auto cut = reinterpret_cast<uint64_t>(mmap(nullptr, kPages * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    auto private_cut = reinterpret_cast<uint64_t>(mmap(nullptr, kPages * kPage, PROT_READ, MAP_PRIVATE, fd, 0));
    auto unlinked = reinterpret_cast<uint64_t>(mmap(nullptr, kPages * kPage, PROT_READ | PROT_WRITE, MAP_SHARED, kept, 0));
    look_for_secret("before", cut, kPages * kPage);
    look_for_secret("before", private_cut, kPages * kPage);
    look_for_secret("before", unlinked, kPages * kPage);
    unlink("reused");
    unlink("kept");
    must("ftruncate", ftruncate(fd, 0));
    close(fd);
    close(kept);
    const Ended other = attempt([] { surround("filled", 60); }, 60000);
    if (!other.exited_with(0)) cannot("fill files");
    if (look_for_secret("cut file", cut, kPages * kPage) != 0) broken("pages behind the end of a cut file can be read");
    look_for_secret("cut file, private", private_cut, kPages * kPage);
    if (look_for_secret("unlinked file", unlinked, kPages * kPage) != kPages) broken("an unlinked file lost its pages");
    for (uint64_t at = unlinked; at < unlinked + kPages * kPage; at += 8)
      if (peek(at) != 0x5555) broken("an unlinked file changed");
    // Writing into them must not change the others' files.
    for (uint64_t at = unlinked; at < unlinked + kPages * kPage; at += kPage) *reinterpret_cast<volatile uint64_t*>(at) = 0x6666;
    for (int i = 0; i < 60; i++) {
      const int filled = open(("filled" + std::to_string(i)).c_str(), O_RDONLY);
      std::vector<uint64_t> content(16 * kPage / 8);
      if (read(filled, content.data(), 16 * kPage) != 16 * kPage) broken("a file of another process got short");
      for (const uint64_t word : content)
        if (word != secret) broken("a file of another process changed");
      close(filled);
    }
    remove_all("filled", 60);
    munmap(reinterpret_cast<void*>(cut), kPages * kPage);
    munmap(reinterpret_cast<void*>(private_cut), kPages * kPage);
    munmap(reinterpret_cast<void*>(unlinked), kPages * kPage);
  }
}

// Programs whose segments lie in the kernel, reach into it, or wrap around.
ATTACK(elf_kernel, Needs::Nothing) {
  struct Place {
    uint64_t address, memory;
  };
  for (const Place place :
       {Place{layout::kKernelData, kPage}, Place{layout::kCacheWindow, kPage}, Place{layout::kImage, kPage},
        Place{layout::kVesselPage, kPage}, Place{layout::kSlots, kPage}, Place{layout::kUserEnd - kPage, 16 * kPage},
        Place{layout::kUserEnd - kPage, 1ul << 40}, Place{0x400000, 1ul << 47}, Place{0x400000, ~0ul - 0x400000}, Place{0x400000, ~0ul},
        Place{~0ul - kPage + 1, kPage}, Place{~0ul - 2 * kPage + 1, 4 * kPage}, Place{0xffff800000000000ul, kPage}}) {
    for (const uint16_t type : {uint16_t{ET_EXEC}, uint16_t{ET_DYN}}) {
      struct {
        Elf64_Ehdr header;
        Elf64_Phdr segments[2];
        unsigned char code[64];
      } program = {};
      memcpy(program.header.e_ident, ELFMAG, SELFMAG);
      program.header.e_ident[EI_CLASS] = ELFCLASS64, program.header.e_ident[EI_DATA] = ELFDATA2LSB,
      program.header.e_ident[EI_VERSION] = EV_CURRENT;
      program.header.e_type = type, program.header.e_machine = EM_X86_64, program.header.e_version = EV_CURRENT;
      program.header.e_phoff = sizeof program.header, program.header.e_ehsize = sizeof program.header;
      program.header.e_phentsize = sizeof program.segments[0], program.header.e_phnum = 2;
      program.header.e_entry = 0x400000 + offsetof(decltype(program), code);
      program.segments[0] = {PT_LOAD, PF_R | PF_X, 0, 0x400000, 0x400000, sizeof program, sizeof program, kPage};
      program.segments[1] = {PT_LOAD, PF_R | PF_W, 0, place.address, place.address, sizeof program, place.memory, kPage};
      if (place.address == 0x400000) program.segments[0] = program.segments[1];
      const int fd = static_cast<int>(must("open", open("kernel-elf", O_RDWR | O_CREAT | O_TRUNC, 0700)));
      must("write", write(fd, &program, sizeof program));
      close(fd);
      const Ended ended = attempt([] {
        execl("./kernel-elf", "kernel-elf", static_cast<char*>(nullptr));
        _exit(7);
      });
      if (!ended.exited_with(7) && !ended.was_killed())
        broken("a segment at 0x%lx, 0x%lx bytes: %s", place.address, place.memory, to_text(ended).c_str());
    }
  }
}

#include "jump.h"

#include <elf.h>

#include <algorithm>

namespace attack {

extern "C" {
JumpRegisters attack_jump_registers;
uint64_t attack_home_gs;
uint64_t attack_home_stack;
void attack_jump();
void attack_came_back();
[[noreturn]] void attack_came_home() {
  check_rights();
  _exit(0);
}
}

asm(R"(
        .pushsection .text
        .globl  attack_jump
attack_jump:
        leaq    attack_jump_registers(%rip), %rdi
        movq    0(%rdi), %rax
        movq    8(%rdi), %rbx
        movq    16(%rdi), %rcx
        movq    24(%rdi), %rdx
        movq    32(%rdi), %rsi
        movq    48(%rdi), %rbp
        movq    56(%rdi), %r8
        movq    64(%rdi), %r9
        movq    72(%rdi), %r10
        movq    80(%rdi), %r11
        movq    88(%rdi), %r12
        movq    96(%rdi), %r13
        movq    104(%rdi), %r14
        movq    112(%rdi), %r15
        pushq   128(%rdi)
        movq    40(%rdi), %rdi
        popfq
        movq    120+attack_jump_registers(%rip), %rsp
        jmp     *136+attack_jump_registers(%rip)

        .globl  attack_came_back
attack_came_back:
        movq    attack_home_stack(%rip), %rsp
        pushq   $0x202
        popfq
        movq    attack_home_gs(%rip), %rax
        wrgsbase %rax
        call    attack_came_home
        .popsection
)");

namespace {

uint64_t map(uint64_t bytes, uint64_t alignment) {
  auto at = reinterpret_cast<uint64_t>(mmap(nullptr, bytes + alignment, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (at == ~uint64_t{0}) cannot("map memory");
  return (at + alignment - 1) / alignment * alignment;
}

uint64_t filled(uint64_t at, uint64_t bytes, uint64_t word) {
  for (uint64_t i = 0; i < bytes; i += 8) *reinterpret_cast<uint64_t*>(at + i) = word;
  return at;
}

}  // namespace

JumpCounts jump_counts;

uint64_t stack() {
  static const uint64_t base = filled(map(kStackBytes, 65536), kStackBytes, reinterpret_cast<uint64_t>(&attack_came_back));
  return base;
}

uint64_t buffer() {
  static const uint64_t at = map(65536, 65536);
  static const uint64_t ready = filled(at, 65536, at + 4096);
  return ready + 4096;
}

void jump(const JumpRegisters& registers) {
  stack();
  attack_jump_registers = registers;
  attack_home_gs = read_gs_base();
  attack_home_stack = map(256 * 1024, 4096) + 128 * 1024;
  // A jump between the stores of the gate's entry is a call with what the slot holds of the last one: its result for a number, so that it fails with
  // ENOSYS, and its place to return to. That place is here.
  static volatile bool has_jumped = false;
  syscall(SYS_getppid);
  if (has_jumped) attack_came_home();
  has_jumped = true;
  attack_jump();
  __builtin_unreachable();
}

JumpRegisters registers_for(Profile profile, uint64_t target) {
  static const uint64_t kernel_pointer = [] {
    const std::vector<uint64_t> pointers = readable_kernel_pointers();
    return pointers.empty() ? umk::layout::kKernelData + 0x1000000 : pointers.front();
  }();
  const uint64_t all = profile == Profile::Zero ? 0 : profile == Profile::Kernel ? kernel_pointer : buffer();
  const uint64_t rsp = profile == Profile::KernelStack ? kernel_pointer - 2048 : stack() + kStackBytes - 65536;
  JumpRegisters registers = {all, all, all, all, all, all, all, all, all, all, all, all, all, all, all, rsp, 0x202, target};
  // rcx and rdx have to be 0 for the instruction that loads PKRU.
  if (profile == Profile::KernelStack) registers.rcx = registers.rdx = 0;
  return registers;
}

std::string to_text(Profile profile) {
  switch (profile) {
    case Profile::Zero: return "zero";
    case Profile::Buffer: return "buffer";
    case Profile::Kernel: return "kernel";
    default: return "kernel stack";
  }
}

void try_jump(const char* what, const JumpRegisters& registers) {
  const Ended ended = attempt([&] { jump(registers); }, 3000);
  if (const char* loot = loot_of(ended)) broken("%s: jump to 0x%lx: %s", what, registers.target, loot);
  // cannot(): an ordinary call failed in the child before it jumped.
  if (ended.exited_with(2)) broken("%s: before a jump to 0x%lx the process could not make its calls", what, registers.target);
  if (ended.timed_out) jump_counts.timed_out++;
  else if (ended.was_killed()) jump_counts.killed++;
  else jump_counts.came_back++;
}

void print_jump_counts() {
  printf("%d killed, %d came back with nothing, %d ran until they were stopped\n", jump_counts.killed, jump_counts.came_back,
         jump_counts.timed_out);
}

const KernelFile& KernelFile::get() {
  static const KernelFile file;
  return file;
}

KernelFile::KernelFile() {
  const char* name = getenv("UMK_KERNEL");
  const int fd = name == nullptr ? -1 : open(name, O_RDONLY);
  if (fd < 0) cannot("open the kernel's file, $UMK_KERNEL");
  struct stat info;
  must("fstat", fstat(fd, &info));
  file_.resize(static_cast<size_t>(info.st_size));
  for (size_t done = 0; done < file_.size();) done += static_cast<size_t>(must("read", read(fd, file_.data() + done, file_.size() - done)));
  close(fd);
  const auto& header = *reinterpret_cast<const Elf64_Ehdr*>(file_.data());
  const auto* sections = reinterpret_cast<const Elf64_Shdr*>(file_.data() + header.e_shoff);
  for (unsigned i = 0; i < header.e_shnum; i++) {
    if (sections[i].sh_type != SHT_SYMTAB) continue;
    symbols_ = sections[i].sh_offset;
    symbol_count_ = sections[i].sh_size / sizeof(Elf64_Sym);
    names_ = sections[sections[i].sh_link].sh_offset;
  }
  const auto* segments = reinterpret_cast<const Elf64_Phdr*>(file_.data() + header.e_phoff);
  for (unsigned i = 0; i < header.e_phnum; i++) {
    if (segments[i].p_type != PT_LOAD || (segments[i].p_flags & PF_X) == 0) continue;
    text_start_ = segments[i].p_vaddr;
    text_end_ = segments[i].p_vaddr + segments[i].p_memsz;
  }
  if (text_end_ == 0 || symbol_count_ == 0) cannot("read the kernel's file");
}

uint64_t KernelFile::symbol(const char* name) const {
  const auto* symbols = reinterpret_cast<const Elf64_Sym*>(file_.data() + symbols_);
  for (uint64_t i = 0; i < symbol_count_; i++)
    if (strcmp(reinterpret_cast<const char*>(file_.data() + names_ + symbols[i].st_name), name) == 0) return symbols[i].st_value;
  return 0;
}

uint64_t KernelFile::gate(const char* name) const {
  const uint64_t address = symbol((std::string("umk_keyed_") + name).c_str());
  if (address == 0) cannot(name);
  return address;
}

std::vector<uint64_t> KernelFile::gate_bytes() const {
  std::vector<uint64_t> found;
  for (uint64_t at = gate("gate_start"); at < gate("gate_end"); at++) found.push_back(at);
  for (uint64_t at = symbol("umk_gate_start"); at < symbol("umk_gate_end"); at++) found.push_back(at);
  return found;
}

std::vector<uint64_t> KernelFile::functions() const {
  std::vector<uint64_t> found;
  const auto* symbols = reinterpret_cast<const Elf64_Sym*>(file_.data() + symbols_);
  for (uint64_t i = 0; i < symbol_count_; i++) {
    const uint64_t at = symbols[i].st_value;
    if (ELF64_ST_TYPE(symbols[i].st_info) == STT_FUNC && at >= text_start_ && at < text_end_) found.push_back(at);
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

std::vector<uint64_t> KernelFile::find(const std::function<bool(const unsigned char*)>& matches) const {
  std::vector<uint64_t> found;
  for (uint64_t at = text_start_; at + 8 <= text_end_; at++)
    if (matches(reinterpret_cast<const unsigned char*>(at))) found.push_back(at);
  return found;
}

std::vector<uint64_t> readable_kernel_pointers() {
  std::vector<uint64_t> found;
  constexpr uint64_t kLookAt = 1 << 20;
  for (uint64_t page = umk::layout::kKernelData; page < umk::layout::kKernelData + kLookAt; page += 4096) {
    if (!can_read(page)) continue;
    for (uint64_t at = page; at < page + 4096; at += 8) {
      const uint64_t word = peek(at);
      if (word >= umk::layout::kKernelData + kLookAt && word < umk::layout::kKernelData + umk::layout::kKernelDataBytes)
        found.push_back(word);
    }
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

}  // namespace attack

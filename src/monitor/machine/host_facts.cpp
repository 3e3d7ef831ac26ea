#include "monitor/machine/host_facts.h"

#include <cpuid.h>
#include <elf.h>
#include <fmt/format.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <stdexcept>
#include <string>
#include <string_view>

#include "core/base/bits.h"
#include "core/kernel/mm/layout.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif

namespace umk::monitor {

namespace {

/// Vector state that guests have: x87, SSE, AVX, AVX-512 (opmask, upper halves, upper registers). Not AMX, not protection keys.
constexpr uint64_t kGuestFeatures = 0xe7;

void find_vdso_pieces(engine::BootParameters& parameters) {
  std::ifstream maps("/proc/self/maps");
  std::string line;
  while (std::getline(maps, line)) {
    if (line.find("[vvar") == std::string::npos && line.find("[vdso]") == std::string::npos) continue;
    unsigned long start = 0, end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx", &start, &end) != 2) continue;
    if (parameters.vdso_piece_count == std::size(parameters.vdso_pieces)) break;
    parameters.vdso_pieces[parameters.vdso_piece_count++] = {start, end};
    if (parameters.vdso_start == 0 || start < parameters.vdso_start) parameters.vdso_start = start;
    if (end > parameters.vdso_end) parameters.vdso_end = end;
  }
}

/// Offset of a dynamic symbol of the vDSO from its load address, 0 when absent.
uint64_t vdso_symbol(const char* name) {
  const auto base = getauxval(AT_SYSINFO_EHDR);
  if (base == 0) return 0;
  const auto& header = *reinterpret_cast<const Elf64_Ehdr*>(base);
  const auto* segments = reinterpret_cast<const Elf64_Phdr*>(base + header.e_phoff);
  const Elf64_Dyn* dynamic = nullptr;
  uint64_t load_address = 0;
  for (int i = 0; i < header.e_phnum; ++i) {
    if (segments[i].p_type == PT_DYNAMIC) dynamic = reinterpret_cast<const Elf64_Dyn*>(base + segments[i].p_offset);
    if (segments[i].p_type == PT_LOAD) load_address = segments[i].p_vaddr;
  }
  const Elf64_Sym* symbols = nullptr;
  const char* strings = nullptr;
  uint64_t count = 0;
  for (; dynamic && dynamic->d_tag != DT_NULL; ++dynamic) {
    const uint64_t address = base + dynamic->d_un.d_ptr - load_address;
    if (dynamic->d_tag == DT_SYMTAB) symbols = reinterpret_cast<const Elf64_Sym*>(address);
    if (dynamic->d_tag == DT_STRTAB) strings = reinterpret_cast<const char*>(address);
    if (dynamic->d_tag == DT_HASH) count = reinterpret_cast<const uint32_t*>(address)[1];
    if (dynamic->d_tag == DT_GNU_HASH && count == 0) {
      // Without DT_HASH the number of symbols is the end of the last chain.
      const auto* table = reinterpret_cast<const uint32_t*>(address);
      const uint32_t buckets = table[0], first = table[1], bloom_words = table[2];
      const uint32_t* bucket = table + 4 + 2 * bloom_words;
      const uint32_t* chain = bucket + buckets;
      for (uint32_t i = 0; i < buckets; ++i) {
        uint32_t symbol = bucket[i];
        if (symbol < first) continue;
        while ((chain[symbol - first] & 1) == 0) ++symbol;
        if (symbol + 1 > count) count = symbol + 1;
      }
    }
  }
  if (!symbols || !strings) return 0;
  for (uint64_t i = 0; i < count; ++i)
    if (symbols[i].st_shndx != SHN_UNDEF && std::strcmp(strings + symbols[i].st_name, name) == 0) return symbols[i].st_value - load_address;
  return 0;
}

void examine_vdso(engine::BootParameters& parameters) {
  find_vdso_pieces(parameters);
  const uint64_t code = getauxval(AT_SYSINFO_EHDR);
  if (code == 0 || parameters.vdso_piece_count == 0) return;
  if (parameters.vdso_end - parameters.vdso_start > layout::kImage - layout::kHostVdso)
    throw std::runtime_error("umk: the host's vDSO is larger than the place kept for it: please report this host's kernel version");
  auto moved = [&](const char* name) {
    const uint64_t offset = vdso_symbol(name);
    return offset == 0 ? 0 : layout::kHostVdso + (code - parameters.vdso_start) + offset;
  };
  parameters.vdso_clock_gettime = moved("__vdso_clock_gettime");
  parameters.vdso_gettimeofday = moved("__vdso_gettimeofday");
  parameters.vdso_time = moved("__vdso_time");
  parameters.vdso_getcpu = moved("__vdso_getcpu");
}

void examine_vectors(engine::BootParameters& parameters) {
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (!__get_cpuid_count(13, 0, &a, &b, &c, &d)) throw std::runtime_error("umk: this processor has no XSAVE, which umk needs");
  const uint64_t enabled = a | (static_cast<uint64_t>(d) << 32);
  parameters.vector_features = enabled & kGuestFeatures;
  uint64_t bytes = 512 + 64;
  for (unsigned feature = 2; feature < 63; ++feature) {
    if (!((parameters.vector_features >> feature) & 1)) continue;
    __get_cpuid_count(13, feature, &a, &b, &c, &d);
    bytes = std::max<uint64_t>(bytes, uint64_t{a} + b);
  }
  parameters.vector_image_bytes = static_cast<uint32_t>(bytes);
}

bool offers_user_dispatch() {
  static char selector = 0;
  if (prctl(PR_SET_SYSCALL_USER_DISPATCH, 1, 0, 0, &selector) != 0) return false;
  prctl(PR_SET_SYSCALL_USER_DISPATCH, 0, 0, 0, 0);
  return true;
}

bool offers_filters() {
  uint32_t action = SECCOMP_RET_TRAP;
  return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
}

void check_fsgsbase() {
  constexpr unsigned long kFsgsbase = 2;
  if (!(getauxval(AT_HWCAP2) & kFsgsbase))
    throw std::runtime_error("umk: this host does not let programs use the FSGSBASE instructions (Linux 5.9, an Intel processor of 2012 or AMD of 2015 or later)");
}

}  // namespace

void examine_host(engine::BootParameters& parameters) {
  check_fsgsbase();
  examine_vdso(parameters);
  examine_vectors(parameters);
}

bool must_filter_calls(Configuration::Dispatch dispatch) {
  if (dispatch != Configuration::Dispatch::Seccomp && offers_user_dispatch()) return false;
  if (dispatch == Configuration::Dispatch::UserDispatch)
    throw std::runtime_error(
        "umk: this host does not offer Syscall User Dispatch (Linux 5.11, CONFIG_GENERIC_ENTRY; sysctl kernel.syscall_user_dispatch). Without dispatch=user umk "
        "catches system calls by seccomp there");
  if (!offers_filters())
    throw std::runtime_error(
        "umk: this host offers neither Syscall User Dispatch (Linux 5.11; sysctl kernel.syscall_user_dispatch) nor seccomp filters (Linux 4.14), and umk needs "
        "one of them to catch system calls");
  return true;
}

}  // namespace umk::monitor

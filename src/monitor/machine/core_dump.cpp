#include "monitor/machine/core_dump.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <vector>

#include "core/base/bits.h"
#include "core/kernel/mm/layout.h"

namespace umk::monitor {

namespace {

void mark(uint64_t address, uint64_t bytes, int advice) { (void)!madvise(reinterpret_cast<void*>(address), bytes, advice); }

/// Of files in memory a core would hold what was never touched, too: the host would have to make it first.
void leave_out_what_is_empty() {
  mark(layout::kCacheWindow, layout::kCacheWindowBytes, MADV_DONTDUMP);
  mark(layout::kKernelData, layout::kKernelDataBytes, MADV_DONTDUMP);
  // In pieces of 64 KiB, since each run is a mapping of its own.
  constexpr uint64_t kPagesInPiece = 16, kPieceBytes = kPagesInPiece * kPageSize;
  std::vector<unsigned char> resident(layout::kKernelDataBytes / kPageSize);
  if (mincore(reinterpret_cast<void*>(layout::kKernelData), layout::kKernelDataBytes, resident.data()) != 0) return;
  for (uint64_t piece = 0; piece < layout::kKernelDataBytes / kPieceBytes; ++piece) {
    bool is_used = false;
    for (uint64_t page = 0; page < kPagesInPiece; ++page) is_used = is_used || (resident[piece * kPagesInPiece + page] & 1);
    if (is_used) mark(layout::kKernelData + piece * kPieceBytes, kPieceBytes, MADV_DODUMP);
  }
}

std::string first_line(const char* path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

/// Where the host puts it: core(5).
std::string place_of_core() {
  const std::string pattern = first_line("/proc/sys/kernel/core_pattern");
  if (pattern.empty()) return "where the host puts cores";
  if (pattern[0] == '|') return fmt::format("given to {}", pattern.substr(1, pattern.find(' ') - 1));
  std::string name;
  bool has_pid = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    if (pattern[i] != '%' || i + 1 == pattern.size()) {
      name += pattern[i];
      continue;
    }
    switch (pattern[++i]) {
      case '%': name += '%'; break;
      case 'p':
      case 'P':
        name += fmt::format("{}", getpid());
        has_pid = true;
        break;
      default: name += fmt::format("%{}", pattern[i]);  // the host knows
    }
  }
  if (!has_pid && first_line("/proc/sys/kernel/core_uses_pid") == "1") name += fmt::format(".{}", getpid());
  if (name[0] == '/') return name;
  char* const here = getcwd(nullptr, 0);
  if (here) name = fmt::format("{}/{}", here, name);
  std::free(here);
  return name;
}

}  // namespace

void dump_core() {
  rlimit limit{};
  if (getrlimit(RLIMIT_CORE, &limit) != 0 || limit.rlim_cur == 0) return;
  fmt::print(stderr, "umk: a core of the monitor, for gdb: {}\n", place_of_core());
  std::fflush(nullptr);
  leave_out_what_is_empty();
  std::abort();
}

}  // namespace umk::monitor

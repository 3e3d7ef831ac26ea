#include "engine/vessel/identity.h"

#include <sys/mman.h>

#include "core/host/calls.h"
#include "engine/vessel/host_numbers.h"

extern "C" int64_t umk_compat_call(uint32_t number, uint32_t argument);

namespace umk::engine {

namespace {

/// struct user_desc of set_thread_area(2). The call has a number for 32-bit programs only.
struct DescriptorRequest {
  uint32_t entry, base, limit, flags;
};
constexpr uint32_t kCompatSetThreadArea = 243;
constexpr uint32_t kSegment32Bit = 1, kUseable = 64;

/// The limit of the thread's entry, 0 when it is empty.
uint32_t current_identity() {
  uint32_t limit = 0;
  asm volatile("lsl %1, %0" : "+r"(limit) : "r"(uint32_t{UMK_IDENTITY_SELECTOR}) : "cc");
  return limit;
}

}  // namespace

void map_vessel_page() {
  MUST(host::mmap(layout::kVesselPage, layout::kVesselPageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0),
       "a small mapping in an empty address space");
  MUST(host::checked(host::raw_call(host::Call::PkeyMprotect, layout::kVesselPage, layout::kVesselPageBytes, PROT_READ | PROT_WRITE, UMK_KERNEL_KEY)),
       "the key was allocated before boot");
}

bool take_identity(uint32_t slot_index, void* low_page) {
  const uint32_t identity = slot_index + 1;
  auto& request = *static_cast<volatile DescriptorRequest*>(low_page);
  request.entry = UMK_IDENTITY_ENTRY;
  request.base = 0;
  request.limit = identity;
  request.flags = kSegment32Bit | kUseable;
  umk_compat_call(kCompatSetThreadArea, static_cast<uint32_t>(reinterpret_cast<uint64_t>(low_page)));
  return current_identity() == identity;
}

void note_only_thread(HostThread& host) {
  vessel_page().lines[host.slot_index] = host.line;
  vessel_page().only_line = host.line;
}

void note_further_thread(HostThread& host) {
  vessel_page().lines[host.slot_index] = host.line;
  vessel_page().only_line = nullptr;
}

}  // namespace umk::engine

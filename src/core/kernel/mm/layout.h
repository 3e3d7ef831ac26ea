// The layout of every address space: where the guest's part ends and where the kernel's pieces lie. The only place with these numbers.
//
// The private kernel pages share a page-table page with the top of the guest's stack area, image and data lie within 2 GiB
// of each other (RIP-relative code), and everything stays below the host's mmap area, which begins at most 1 TiB and a bit under 0x7fff'ffff'f000.
#pragma once

#include <cstdint>

namespace umk::layout {

inline constexpr uint64_t kUserStart = 0x10000;             // vm.mmap_min_addr's usual value
inline constexpr uint64_t kUserEnd = 0x7dff'8010'0000;      // first address that is not the guest's
inline constexpr uint64_t kLinuxUserEnd = 0x7fff'ffff'f000; // where it begins on Linux: programs may name what lies between, and find nothing

inline constexpr uint64_t kVesselPage = kUserEnd;           // private, closed to guests: who is who in this process
inline constexpr uint64_t kVesselPageBytes = 0x5000;        // a line pointer a thread, and one
inline constexpr uint64_t kSlots = kUserEnd + 0x10000;      // private, guest-writable: register save areas
inline constexpr uint64_t kSlotsBytes = 0x80000;            // 2048 threads of 256 bytes
inline constexpr uint64_t kHostVdso = kUserEnd + 0xa0000;   // the host's vvar and vdso, moved here

inline constexpr uint64_t kImage = 0x7dff'8100'0000;        // text and read-only data
inline constexpr uint64_t kImageBytes = 0x0100'0000;
inline constexpr uint64_t kKernelData = 0x7dff'8200'0000;   // .data, .bss, heap, bundles: one shared file
inline constexpr uint64_t kKernelDataBytes = 0x7000'0000;   // 1.75 GiB of addresses, sparse

inline constexpr uint64_t kCacheWindow = 0x7e00'0000'0000;  // the page cache's file, sparse
inline constexpr uint64_t kCacheWindowBytes = uint64_t{256} << 30;

}  // namespace umk::layout

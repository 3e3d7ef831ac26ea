// The calls to the host that the core makes, and nothing else. They take kernel memory and descriptors of the kernel only;
// the one exception, `UserRange`, is guest memory whose bounds were checked.
//
// All go through one `syscall` instruction (calls_image.S), which opens the selector just around it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/base/result.h"
#include "core/host/call_table.h"

namespace umk::host {

/// A raw host call: the result as the host gave it, -errno on failure.
int64_t raw_call(Call call, uint64_t a = 0, uint64_t b = 0, uint64_t c = 0, uint64_t d = 0, uint64_t e = 0, uint64_t f = 0);

/// A raw result as a Result.
Result<uint64_t> checked(int64_t raw, const char* file = __builtin_FILE(), int line = __builtin_LINE());

enum class Clock : int { Realtime = 0, Monotonic = 1, ProcessCpu = 2, ThreadCpu = 3, MonotonicRaw = 4, RealtimeCoarse = 5, MonotonicCoarse = 6, Boottime = 7 };
/// Nanoseconds of a host clock.
uint64_t now_ns(Clock clock);

/// Sleeps while `*word == expected`; until `deadline_ns` of the monotonic clock when it is not UINT64_MAX.
/// Returns 0, or a negative errno: -EAGAIN, -ETIMEDOUT, -EINTR.
int futex_wait(const void* word, uint32_t expected, uint64_t deadline_ns = UINT64_MAX);
/// Wakes up to `count` sleepers.
void futex_wake(const void* word, int count);

Result<size_t> pread(int fd, std::span<std::byte> into, uint64_t offset);
Result<size_t> pwrite(int fd, std::span<const std::byte> from, uint64_t offset);
Result<size_t> read(int fd, std::span<std::byte> into);
Result<size_t> write(int fd, std::span<const std::byte> from);
Result<void> fsync(int fd, bool data_only);
Result<void> ftruncate(int fd, uint64_t size);
Result<void> fallocate(int fd, int mode, uint64_t offset, uint64_t length);
Result<int> openat(int directory, const char* path, int flags, unsigned mode);
void close(int fd);
/// Host memory protection bits and mapping flags are passed as the host's own (PROT_*, MAP_*).
Result<uint64_t> mmap(uint64_t address, size_t length, int protection, int flags, int fd, uint64_t offset);
Result<void> munmap(uint64_t address, size_t length);
Result<void> mprotect(uint64_t address, size_t length, int protection);
Result<void> madvise(uint64_t address, size_t length, int advice);
/// Fills with random bytes of the host.
void get_random(std::span<std::byte> into);
/// membarrier(2) without flags: a barrier on the threads of this host process, or of all. The host's result, -errno on failure.
int64_t membarrier(int command);
void sched_yield();

}  // namespace umk::host

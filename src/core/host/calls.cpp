#include "core/host/calls.h"

#include <errno.h>

#include "core/host/kernel_stack.h"

namespace umk::host {

namespace {

constexpr uint64_t kFutexWake = 1;
constexpr uint64_t kFutexWaitBitset = 9;

struct HostTimespec {
  int64_t seconds;
  int64_t nanoseconds;
};

uint64_t address_of(const void* pointer) { return reinterpret_cast<uint64_t>(pointer); }

}  // namespace

Result<uint64_t> checked(int64_t raw, const char* file, int line) {
  if (raw < 0 && raw >= -4095) return error(static_cast<int>(-raw), file, line);
  return static_cast<uint64_t>(raw);
}

uint64_t now_ns(Clock clock) {
  HostTimespec now{};
  if (auto* host_clock = current_stack().host_clock) {
    host_clock(static_cast<int>(clock), &now);
  } else {
    raw_call(Call::ClockGettime, static_cast<uint64_t>(clock), address_of(&now));
  }
  return static_cast<uint64_t>(now.seconds) * 1'000'000'000 + static_cast<uint64_t>(now.nanoseconds);
}

int futex_wait(const void* word, uint32_t expected, uint64_t deadline_ns) {
  HostTimespec deadline{static_cast<int64_t>(deadline_ns / 1'000'000'000), static_cast<int64_t>(deadline_ns % 1'000'000'000)};
  const uint64_t timeout = deadline_ns == UINT64_MAX ? 0 : address_of(&deadline);
  return static_cast<int>(raw_call(Call::Futex, address_of(word), kFutexWaitBitset, expected, timeout, 0, 0xffffffff));
}

void futex_wake(const void* word, int count) { raw_call(Call::Futex, address_of(word), kFutexWake, static_cast<uint64_t>(count)); }

Result<size_t> pread(int fd, std::span<std::byte> into, uint64_t offset) {
  return checked(raw_call(Call::Pread, static_cast<uint64_t>(fd), address_of(into.data()), into.size(), offset));
}
Result<size_t> pwrite(int fd, std::span<const std::byte> from, uint64_t offset) {
  return checked(raw_call(Call::Pwrite, static_cast<uint64_t>(fd), address_of(from.data()), from.size(), offset));
}
Result<size_t> read(int fd, std::span<std::byte> into) {
  return checked(raw_call(Call::Read, static_cast<uint64_t>(fd), address_of(into.data()), into.size()));
}
Result<size_t> write(int fd, std::span<const std::byte> from) {
  return checked(raw_call(Call::Write, static_cast<uint64_t>(fd), address_of(from.data()), from.size()));
}
Result<void> fsync(int fd, bool data_only) {
  TRY(checked(raw_call(data_only ? Call::Fdatasync : Call::Fsync, static_cast<uint64_t>(fd))));
  return {};
}
Result<void> ftruncate(int fd, uint64_t size) {
  TRY(checked(raw_call(Call::Ftruncate, static_cast<uint64_t>(fd), size)));
  return {};
}
Result<void> fallocate(int fd, int mode, uint64_t offset, uint64_t length) {
  TRY(checked(raw_call(Call::Fallocate, static_cast<uint64_t>(fd), static_cast<uint64_t>(mode), offset, length)));
  return {};
}
Result<int> openat(int directory, const char* path, int flags, unsigned mode) {
  return static_cast<int>(TRY(checked(raw_call(Call::Openat, static_cast<uint64_t>(directory), address_of(path), static_cast<uint64_t>(flags), mode))));
}
void close(int fd) { raw_call(Call::Close, static_cast<uint64_t>(fd)); }

Result<uint64_t> mmap(uint64_t address, size_t length, int protection, int flags, int fd, uint64_t offset) {
  return checked(raw_call(Call::Mmap, address, length, static_cast<uint64_t>(protection), static_cast<uint64_t>(flags), static_cast<uint64_t>(fd), offset));
}
Result<void> munmap(uint64_t address, size_t length) {
  TRY(checked(raw_call(Call::Munmap, address, length)));
  return {};
}
Result<void> mprotect(uint64_t address, size_t length, int protection) {
  TRY(checked(raw_call(Call::Mprotect, address, length, static_cast<uint64_t>(protection))));
  return {};
}
Result<void> madvise(uint64_t address, size_t length, int advice) {
  TRY(checked(raw_call(Call::Madvise, address, length, static_cast<uint64_t>(advice))));
  return {};
}

void get_random(std::span<std::byte> into) {
  while (!into.empty()) {
    const int64_t got = raw_call(Call::Getrandom, address_of(into.data()), into.size(), 0);
    if (got == -EINTR) continue;
    CHECK(got > 0, "the host gives random bytes without limit");
    into = into.subspan(static_cast<size_t>(got));
  }
}

int64_t membarrier(int command) { return raw_call(Call::Membarrier, static_cast<uint64_t>(command), 0, 0); }
void sched_yield() { raw_call(Call::Yield); }

}  // namespace umk::host

// The copy primitives for hosted tests.
#include "core/kernel/guest/fake_user_memory.h"

#include <cstring>

#include "core/kernel/guest/user_memory.h"

namespace umk {

namespace {

thread_local uint64_t bad_start = 0;
thread_local uint64_t bad_end = 0;

constexpr uint64_t kEnd = uint64_t{1} << 47;

/// How many bytes from `address` on can be accessed, at most `size`.
size_t good_bytes(uint64_t address, uint64_t size) {
  // The first page is never mapped, as with vm.mmap_min_addr.
  if (address < 4096 || address >= kEnd) return 0;
  if (size > kEnd - address) size = kEnd - address;
  if (address >= bad_start && address < bad_end) return 0;
  if (address < bad_start && address + size > bad_start) return bad_start - address;
  return size;
}

template <typename T>
T* at(uint64_t address) {
  return reinterpret_cast<T*>(address);
}

}  // namespace

namespace fake {
BadUserRange::BadUserRange(const void* start, uint64_t size) {
  bad_start = reinterpret_cast<uint64_t>(start);
  bad_end = bad_start + size;
}
BadUserRange::~BadUserRange() { bad_start = bad_end = 0; }
}  // namespace fake

// Not with a bad range in it, as the host, which is handed such ranges, would find nothing bad there.
bool is_user_range(uint64_t address, uint64_t size) {
  return address < kEnd && size <= kEnd - address && (address >= bad_end || address + size <= bad_start);
}

CopyOutcome copy_from_user(void* to, uint64_t from, size_t size) {
  const size_t good = good_bytes(from, size);
  if (good) memcpy(to, at<const void>(from), good);
  return {good, good < size};
}

CopyOutcome copy_to_user(uint64_t to, const void* from, size_t size) {
  const size_t good = good_bytes(to, size);
  if (good) memcpy(at<void>(to), from, good);
  return {good, good < size};
}

CopyOutcome zero_user(uint64_t to, size_t size) {
  const size_t good = good_bytes(to, size);
  if (good) memset(at<void>(to), 0, good);
  return {good, good < size};
}

Result<size_t> copy_string_from_user(char* to, uint64_t from, size_t size) {
  for (size_t i = 0; i < size; ++i) {
    if (good_bytes(from + i, 1) == 0) return error(EFAULT);
    to[i] = *at<const char>(from + i);
    if (to[i] == '\0') return i;
  }
  return error(ENAMETOOLONG);
}

Result<uint32_t> load_user_word(uint64_t address) {
  if (good_bytes(address, 4) < 4) return error(EFAULT);
  return __atomic_load_n(at<uint32_t>(address), __ATOMIC_SEQ_CST);
}

Result<uint32_t> compare_exchange_user_word(uint64_t address, uint32_t expected, uint32_t desired) {
  if (good_bytes(address, 4) < 4) return error(EFAULT);
  __atomic_compare_exchange_n(at<uint32_t>(address), &expected, desired, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  return expected;
}

}  // namespace umk

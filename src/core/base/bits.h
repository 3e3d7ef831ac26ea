// Small arithmetic: rounding, checked addition, page size.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace umk {

inline constexpr size_t kPageSize = 4096;
inline constexpr unsigned kPageShift = 12;

constexpr uint64_t round_down(uint64_t value, uint64_t alignment) { return value & ~(alignment - 1); }
constexpr uint64_t round_up(uint64_t value, uint64_t alignment) { return (value + alignment - 1) & ~(alignment - 1); }
constexpr bool is_aligned(uint64_t value, uint64_t alignment) { return (value & (alignment - 1)) == 0; }
constexpr uint64_t page_down(uint64_t value) { return round_down(value, kPageSize); }
constexpr uint64_t page_up(uint64_t value) { return round_up(value, kPageSize); }

/// True when a + b does not fit.
template <typename T>
constexpr bool add_overflows(T a, T b, T* sum) {
  return __builtin_add_overflow(a, b, sum);
}

/// Set operations for enum classes that are sets of bits.
template <typename E>
concept BitEnum = std::is_enum_v<E> && requires(E e) { enable_bit_enum(e); };

template <BitEnum E>
constexpr E operator|(E a, E b) {
  using U = std::underlying_type_t<E>;
  return static_cast<E>(static_cast<U>(a) | static_cast<U>(b));
}
template <BitEnum E>
constexpr E operator&(E a, E b) {
  using U = std::underlying_type_t<E>;
  return static_cast<E>(static_cast<U>(a) & static_cast<U>(b));
}
template <BitEnum E>
constexpr E operator~(E a) {
  using U = std::underlying_type_t<E>;
  return static_cast<E>(~static_cast<U>(a));
}
template <BitEnum E>
constexpr bool any(E set) {
  return static_cast<std::underlying_type_t<E>>(set) != 0;
}

}  // namespace umk

// What the compiler and the headers of the standard library call behind our back: memory functions and the ends of impossible paths.
//
// The compiler may turn a loop into a call of the function that the loop implements, so this file is built with -fno-builtin and
// -fno-tree-loop-distribute-patterns. Vector registers are the guest's: long copies are `rep movsb`, which the processor does in whole lines;
// short ones, where its start-up costs more than the copy, are pairs of overlapping words.
#include <cstddef>
#include <cstdint>

#include "core/base/check.h"

namespace {

constexpr size_t kShort = 128;

using Word = uint64_t __attribute__((may_alias, aligned(1)));
using HalfWord = uint32_t __attribute__((may_alias, aligned(1)));
using QuarterWord = uint16_t __attribute__((may_alias, aligned(1)));

template <typename T>
T load(const void* from) {
  return *static_cast<const T*>(from);
}
template <typename T>
void store(void* to, T value) {
  *static_cast<T*>(to) = value;
}

/// Up to 16 bytes; all loads come before the first store, so the ranges may overlap.
inline void copy_tiny(char* to, const char* from, size_t size) {
  if (size >= 8) {
    const uint64_t head = load<Word>(from), tail = load<Word>(from + size - 8);
    store<Word>(to, head);
    store<Word>(to + size - 8, tail);
  } else if (size >= 4) {
    const uint32_t head = load<HalfWord>(from), tail = load<HalfWord>(from + size - 4);
    store<HalfWord>(to, head);
    store<HalfWord>(to + size - 4, tail);
  } else if (size >= 2) {
    const uint16_t head = load<QuarterWord>(from), tail = load<QuarterWord>(from + size - 2);
    store<QuarterWord>(to, head);
    store<QuarterWord>(to + size - 2, tail);
  } else if (size == 1) {
    *to = *from;
  }
}

}  // namespace

extern "C" {

void* memcpy(void* __restrict to, const void* __restrict from, size_t size) {
  char* t = static_cast<char*>(to);
  const char* f = static_cast<const char*>(from);
  if (size <= 16) {
    copy_tiny(t, f, size);
  } else if (size <= kShort) {
    const uint64_t tail0 = load<Word>(f + size - 16), tail1 = load<Word>(f + size - 8);
    for (size_t i = 0; i + 16 < size; i += 16) {
      store<Word>(t + i, load<Word>(f + i));
      store<Word>(t + i + 8, load<Word>(f + i + 8));
    }
    store<Word>(t + size - 16, tail0);
    store<Word>(t + size - 8, tail1);
  } else {
    void* cursor = to;
    asm volatile("rep movsb" : "+D"(cursor), "+S"(from), "+c"(size) : : "memory");
  }
  return to;
}

void* memmove(void* to, const void* from, size_t size) {
  char* t = static_cast<char*>(to);
  const char* f = static_cast<const char*>(from);
  if (size <= 16) {
    copy_tiny(t, f, size);
    return to;
  }
  // Unsigned difference: large also when `to` lies below `from`, where copying upwards is safe.
  if (reinterpret_cast<uintptr_t>(t) - reinterpret_cast<uintptr_t>(f) >= size) {
    if (reinterpret_cast<uintptr_t>(f) - reinterpret_cast<uintptr_t>(t) >= size) return memcpy(to, from, size);
    const uint64_t tail = load<Word>(f + size - 8);
    size_t i = 0;
    for (; i + 8 < size; i += 8) store<Word>(t + i, load<Word>(f + i));
    // The last word may reach into bytes already written when size is no multiple of 8; it was loaded before.
    store<Word>(t + size - 8, tail);
    return to;
  }
  const uint64_t head = load<Word>(f);
  size_t i = size;
  for (; i > 8; i -= 8) store<Word>(t + i - 8, load<Word>(f + i - 8));
  store<Word>(t, head);
  return to;
}

void* memset(void* to, int value, size_t size) {
  char* t = static_cast<char*>(to);
  const uint64_t word = 0x0101010101010101u * static_cast<unsigned char>(value);
  if (size > kShort) {
    void* cursor = to;
    asm volatile("rep stosb" : "+D"(cursor), "+c"(size) : "a"(value) : "memory");
  } else if (size >= 8) {
    for (size_t i = 0; i + 8 < size; i += 8) store<Word>(t + i, word);
    store<Word>(t + size - 8, word);
  } else if (size >= 4) {
    store<HalfWord>(t, static_cast<uint32_t>(word));
    store<HalfWord>(t + size - 4, static_cast<uint32_t>(word));
  } else {
    for (size_t i = 0; i < size; ++i) t[i] = static_cast<char>(value);
  }
  return to;
}

int memcmp(const void* a, const void* b, size_t size) {
  const unsigned char* x = static_cast<const unsigned char*>(a);
  const unsigned char* y = static_cast<const unsigned char*>(b);
  while (size >= 8 && load<Word>(x) == load<Word>(y)) x += 8, y += 8, size -= 8;
  for (; size > 0; ++x, ++y, --size)
    if (*x != *y) return *x < *y ? -1 : 1;
  return 0;
}

int bcmp(const void* a, const void* b, size_t size) { return memcmp(a, b, size); }

void* memchr(const void* from, int value, size_t size) {
  const unsigned char* cursor = static_cast<const unsigned char*>(from);
  for (; size > 0; ++cursor, --size)
    if (*cursor == static_cast<unsigned char>(value)) return const_cast<unsigned char*>(cursor);
  return nullptr;
}

size_t strnlen(const char* text, size_t limit) {
  size_t length = 0;
  while (length < limit && text[length] != '\0') ++length;
  return length;
}

size_t strlen(const char* text) {
  size_t size = 0;
  while (text[size] != '\0') ++size;
  return size;
}

[[noreturn]] void __cxa_pure_virtual() { umk::panic("a pure virtual function was called"); }
[[noreturn]] void __cxa_deleted_virtual() { umk::panic("a deleted virtual function was called"); }

[[noreturn]] void __assert_fail(const char* assertion, const char* file, unsigned line, const char*) {
  umk::panic(assertion, file, static_cast<int>(line));
}

[[noreturn]] void abort() { umk::panic("abort() was called"); }

}  // extern "C"

// How containers of the standard library report misuse where exceptions are off.
namespace std {
[[noreturn]] void __throw_length_error(const char* what) { umk::panic(what); }
[[noreturn]] void __throw_logic_error(const char* what) { umk::panic(what); }
[[noreturn]] void __throw_out_of_range(const char* what) { umk::panic(what); }
[[noreturn]] void __throw_out_of_range_fmt(const char* what, ...) { umk::panic(what); }
[[noreturn]] void __throw_invalid_argument(const char* what) { umk::panic(what); }
[[noreturn]] void __throw_bad_alloc() { umk::panic("std::bad_alloc"); }
[[noreturn]] void __throw_bad_array_new_length() { umk::panic("std::bad_array_new_length"); }
[[noreturn]] void __throw_bad_function_call() { umk::panic("std::bad_function_call"); }
[[noreturn]] void __throw_bad_optional_access() { umk::panic("std::bad_optional_access"); }
[[noreturn]] void __throw_bad_variant_access(const char* what) { umk::panic(what); }
[[noreturn]] void terminate() noexcept { umk::panic("std::terminate"); }
}  // namespace std

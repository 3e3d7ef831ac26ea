// What the programs that test file systems against a model share: random numbers that a seed repeats, complaints, checksums.
#pragma once

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include <string>
#include <string_view>
#include <vector>

namespace model {

/// splitmix64: small, and the same everywhere.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 1) {}
  uint64_t next() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  uint64_t below(uint64_t bound) { return bound == 0 ? 0 : next() % bound; }
  bool one_in(uint64_t n) { return below(n) == 0; }
  /// Small numbers are as likely as large ones.
  uint64_t size_below(uint64_t bound) { return below(bound >> below(20)); }

 private:
  uint64_t state_;
};

/// Whether this runs in umk: what is hard on the whole machine, such as sync and forgetting the caches, is left out elsewhere.
inline bool is_in_guest() {
  static const bool result = [] {
    utsname name{};
    return uname(&name) == 0 && strstr(name.release, "umk") != nullptr;
  }();
  return result;
}

/// CRC-32 as zlib has it.
inline uint32_t checksum(std::string_view bytes) {
  static const std::vector<uint32_t> table = [] {
    std::vector<uint32_t> made(256);
    for (uint32_t i = 0; i < 256; ++i) {
      made[i] = i;
      for (int bit = 0; bit < 8; ++bit) made[i] = (made[i] >> 1) ^ (made[i] & 1 ? 0xedb88320u : 0);
    }
    return made;
  }();
  uint32_t sum = ~0u;
  for (const char byte : bytes) sum = (sum >> 8) ^ table[(sum ^ static_cast<unsigned char>(byte)) & 255];
  return ~sum;
}

/// What was done last, to tell when something is wrong.
class History {
 public:
  __attribute__((format(printf, 2, 3))) void note(const char* format, ...) {
    char text[300];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    if (lines_.size() < kKept) lines_.emplace_back();
    lines_[count_++ % kKept] = text;
  }
  void print() const {
    const size_t first = count_ > kKept ? count_ - kKept : 0;
    for (size_t i = first; i < count_; ++i) fprintf(stderr, "  %zu: %s\n", i, lines_[i % kKept].c_str());
  }

 private:
  static constexpr size_t kKept = 60;
  std::vector<std::string> lines_;
  size_t count_ = 0;
};

}  // namespace model

// Guest memory of hosted tests: the test process's own memory, except for ranges that a test declares bad.
#pragma once

#include <cstdint>

namespace umk::fake {

/// Accesses to [start, start + size) fault from now on, as long as the object lives. One at a time per thread.
class BadUserRange {
 public:
  BadUserRange(const void* start, uint64_t size);
  ~BadUserRange();
  BadUserRange(const BadUserRange&) = delete;
  BadUserRange& operator=(const BadUserRange&) = delete;
};

}  // namespace umk::fake

// panic() of hosted builds: the message on standard error, then a core for the debugger.
#include <cstdio>
#include <cstdlib>

#include "core/base/check.h"

namespace umk {

void panic(const char* message, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: %s\n", file, line, message);
  std::abort();
}

}  // namespace umk

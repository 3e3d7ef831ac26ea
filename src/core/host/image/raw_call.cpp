#include "core/host/calls.h"

extern "C" int64_t umk_raw_call(uint64_t number, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f);

namespace umk::host {

int64_t raw_call(Call call, uint64_t a, uint64_t b, uint64_t c, uint64_t d, uint64_t e, uint64_t f) {
  return umk_raw_call(static_cast<uint64_t>(call), a, b, c, d, e, f);
}

}  // namespace umk::host

// One block of LZ4: sequences of a token, literals, and a match in what was made so far. The last one has literals alone.
#include <algorithm>

#include "core/lib/decompress/methods.h"

namespace umk::decompress {

namespace {

constexpr size_t kLeastMatch = 4;

class Lz4 final : public Decompressor {
 public:
  Result<size_t> decompress(ConstBytes from, Bytes into) override {
    const std::byte* at = from.data();
    const std::byte* const end = at + from.size();
    std::byte* const out = into.data();
    const size_t room = into.size();
    size_t made = 0;
    while (at != end) {
      const unsigned token = static_cast<unsigned>(*at++);
      size_t literals = token >> 4;
      if (literals == 15 && !extend(at, end, literals)) return error(EIO);
      if (literals > static_cast<size_t>(end - at) || literals > room - made) return error(EIO);
      copy_bytes(out + made, at, literals, std::min(static_cast<size_t>(end - at), room - made) - literals);
      at += literals;
      made += literals;
      if (at == end) return made;
      if (end - at < 2) return error(EIO);
      const size_t distance = load<uint16_t>(at);
      at += 2;
      size_t length = token & 15;
      if (length == 15 && !extend(at, end, length)) return error(EIO);
      length += kLeastMatch;
      if (distance == 0 || distance > made || length > room - made) return error(EIO);
      copy_match(out + made, distance, length, out + room);
      made += length;
    }
    return error(EIO);
  }

 private:
  static bool extend(const std::byte*& at, const std::byte* end, size_t& length) {
    for (;;) {
      if (at == end) return false;
      const unsigned more = static_cast<unsigned>(*at++);
      length += more;
      if (more != 255) return true;
    }
  }
};

}  // namespace

Result<std::unique_ptr<Decompressor>> make_lz4() { return std::unique_ptr<Decompressor>(TRY(make_unique<Lz4>())); }

}  // namespace umk::decompress

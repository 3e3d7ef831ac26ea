// LZO1X: an instruction is a byte with what follows it; what a small one means depends on how many literals came before.
#include <algorithm>

#include "core/lib/decompress/methods.h"

namespace umk::decompress {

namespace {

class Lzo final : public Decompressor {
 public:
  Result<size_t> decompress(ConstBytes from, Bytes into) override {
    Input input{from.data(), from.data() + from.size()};
    std::byte* const out = into.data();
    const size_t room = into.size();
    size_t made = 0;
    // Literals after the last match: 0 to 3 come with it, 4 stands for a run of them.
    unsigned state = 0;
    const auto copy_literals = [&](size_t count) {
      if (count > input.left() || count > room - made) return false;
      copy_bytes(out + made, input.at, count, std::min(input.left(), room - made) - count);
      input.at += count;
      made += count;
      return true;
    };

    // The first byte may be a run of literals by itself.
    if (input.left() != 0 && static_cast<unsigned>(*input.at) > 17) {
      const size_t count = static_cast<size_t>(*input.at++) - 17;
      if (!copy_literals(count)) return error(EIO);
      state = count < 4 ? static_cast<unsigned>(count) : 4;
    }
    for (;;) {
      if (input.left() == 0) return error(EIO);
      const unsigned code = static_cast<unsigned>(*input.at++);
      size_t length, distance;
      unsigned literals = code & 3;
      if (code >= 64) {
        if (input.left() == 0) return error(EIO);
        length = code >= 128 ? 5 + (code >> 5 & 3) : 3 + (code >> 5 & 1);
        distance = (static_cast<size_t>(*input.at++) << 3) + (code >> 2 & 7) + 1;
      } else if (code >= 16) {
        const unsigned mask = code >= 32 ? 31 : 7;
        length = code & mask;
        if (length == 0 && !input.extend(length, mask)) return error(EIO);
        length += 2;
        if (input.left() < 2) return error(EIO);
        const unsigned pair = load<uint16_t>(input.at);
        input.at += 2;
        literals = pair & 3;
        if (code >= 32) {
          distance = (pair >> 2) + 1;
        } else {
          distance = ((code & 8) << 11) + (pair >> 2);
          // The end: nothing lies that far back.
          if (distance == 0) return length == 3 && input.left() == 0 ? Result<size_t>(made) : Result<size_t>(error(EIO));
          distance += 16384;
        }
      } else if (state == 0) {
        length = code;
        if (length == 0 && !input.extend(length, 15)) return error(EIO);
        if (!copy_literals(length + 3)) return error(EIO);
        state = 4;
        continue;
      } else {
        if (input.left() == 0) return error(EIO);
        distance = (static_cast<size_t>(*input.at++) << 2) + (code >> 2) + 1;
        length = 2;
        if (state == 4) {
          distance += 2048;
          length = 3;
        }
      }
      if (distance > made || length > room - made) return error(EIO);
      copy_match(out + made, distance, length, out + room);
      made += length;
      if (!copy_literals(literals)) return error(EIO);
      state = literals;
    }
  }

 private:
  struct Input {
    const std::byte* at;
    const std::byte* end;
    size_t left() const { return static_cast<size_t>(end - at); }
    /// A length that did not fit into its instruction: each zero byte is worth 255.
    bool extend(size_t& length, size_t base) {
      length = base;
      for (;;) {
        if (at == end) return false;
        const unsigned more = static_cast<unsigned>(*at++);
        length += more != 0 ? more : 255;
        if (more != 0) return true;
      }
    }
  };
};

}  // namespace

Result<std::unique_ptr<Decompressor>> make_lzo() { return std::unique_ptr<Decompressor>(TRY(make_unique<Lzo>())); }

}  // namespace umk::decompress

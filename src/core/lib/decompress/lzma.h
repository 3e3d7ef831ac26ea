// LZMA2: chunks of LZMA data or plain bytes, as one filter of an .xz stream.
#pragma once

#include "core/lib/decompress/decompressor.h"

namespace umk::decompress {

class Lzma2 {
 public:
  /// Unpacks the chunks at the start of `from` behind the `made` bytes that are in `into`; both positions move on. EIO.
  Result<void> decompress(ConstBytes& from, Bytes into, size_t& made);

 private:
  static constexpr unsigned kStates = 12, kPositions = 16, kLiteralCoders = 16;
  using Probability = uint16_t;

  struct LengthCoder {
    Probability choice[2];
    Probability low[kPositions][8], middle[kPositions][8], high[256];
  };
  struct Model {
    Probability is_match[kStates][kPositions], is_repeat[kStates], is_repeat0[kStates], is_repeat1[kStates], is_repeat2[kStates];
    Probability is_long_repeat0[kStates][kPositions];
    Probability slots[4][64], special[128], align[16];
    LengthCoder match_length, repeat_length;
    Probability literals[kLiteralCoders][0x300];
  };
  static_assert(sizeof(Model) % sizeof(Probability) == 0);

  /// Reads bits by their probabilities.
  struct RangeDecoder {
    const std::byte* at;
    const std::byte* end;
    uint32_t range, code;
    bool ran_out = false;

    bool start();
    void normalise();
    unsigned bit(Probability& probability);
    unsigned tree(Probability* probabilities, unsigned bits);
    unsigned reverse_tree(Probability* probabilities, unsigned bits);
    uint32_t direct(unsigned bits);
  };

  void reset_state();
  bool set_properties(unsigned byte);
  static unsigned read_length(RangeDecoder& coder, LengthCoder& lengths, unsigned position);
  bool read_chunk(ConstBytes chunk, std::byte* out, size_t made, size_t end);

  Model model_;
  unsigned literal_context_bits_ = 0, literal_position_mask_ = 0, position_mask_ = 0;
  unsigned state_ = 0;
  uint32_t distances_[4] = {};  // less one, the last used first
  size_t dictionary_start_ = 0;
};

}  // namespace umk::decompress

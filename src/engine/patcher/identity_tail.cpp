#include "engine/patcher/identity_tail.h"

#include <initializer_list>
#include <limits>

namespace umk::patcher {
namespace {

constexpr uint64_t kCpuidSize = 2;
constexpr uint8_t kInt3 = 0xcc;

class Writer {
 public:
  explicit Writer(uint64_t address) : address_(address) {}

  void bytes(std::initializer_list<uint8_t> list) { code_.insert(code_.end(), list); }
  void word(uint32_t value) {
    for (unsigned i = 0; i < 4; ++i) code_.push_back(static_cast<uint8_t>(value >> (8 * i)));
  }
  /// jmp to an address elsewhere.
  void jump(uint64_t target) {
    bytes({0xe9});
    const auto distance = static_cast<int64_t>(target - (address_ + code_.size() + 4));
    is_in_reach_ = is_in_reach_ && distance >= std::numeric_limits<int32_t>::min() && distance <= std::numeric_limits<int32_t>::max();
    word(static_cast<uint32_t>(distance));
  }
  /// Leaves for a place further on unless rcx is zero; returns what `land` needs.
  size_t unless_zero() {
    bytes({0xe3, 5, 0xe9, 0, 0, 0, 0});  // jrcxz over the jmp
    return code_.size();
  }
  void land(size_t jump_end) {
    const auto distance = static_cast<uint32_t>(code_.size() - jump_end);
    for (unsigned i = 0; i < 4; ++i) code_[jump_end - 4 + i] = static_cast<uint8_t>(distance >> (8 * i));
  }
  std::vector<uint8_t> take() { return is_in_reach_ ? std::move(code_) : std::vector<uint8_t>{}; }

 private:
  uint64_t address_;
  std::vector<uint8_t> code_;
  bool is_in_reach_ = true;
};

}  // namespace

std::vector<uint8_t> identity_tail(std::span<const IdentityAnswer> answers, std::optional<uint64_t> leaf, uint64_t address, uint64_t site) {
  Writer code(address);
  code.bytes({0x48, 0x89, 0xcb});  // mov %rcx,%rbx
  for (size_t i = 0; i < answers.size();) {
    const uint32_t group = answers[i].leaf;
    size_t end = i;
    while (end < answers.size() && answers[end].leaf == group) ++end;
    // The number is looked at even where the code before loads it: a computed jump may have gone around that.
    if (!leaf || *leaf == group) {
      code.bytes({0x8d, 0x88});  // lea -group(%rax),%ecx
      code.word(0u - group);
      const size_t other_leaf = code.unless_zero();
      for (; i < end; ++i) {
        const IdentityAnswer& answer = answers[i];
        std::optional<size_t> other_subleaf;
        if (answer.subleaf) {
          code.bytes({0x8d, 0x8b});  // lea -subleaf(%rbx),%ecx
          code.word(0u - *answer.subleaf);
          other_subleaf = code.unless_zero();
        }
        code.bytes({0xba});  // mov $answer,%edx and so on: the upper halves become zero, as the instruction leaves them
        code.word(answer.edx);
        code.bytes({0xb9});
        code.word(answer.ecx);
        code.bytes({0xbb});
        code.word(answer.ebx);
        code.bytes({0xb8});
        code.word(answer.eax);
        code.jump(site + kCpuidSize);
        if (other_subleaf) code.land(*other_subleaf);
      }
      code.land(other_leaf);
    }
    i = end;
  }
  code.bytes({0x48, 0x89, 0xd9});  // mov %rbx,%rcx
  code.jump(site);
  code.bytes({kInt3});
  return code.take();
}

}  // namespace umk::patcher

#include "engine/patcher/identity_answers.h"

#include <algorithm>

namespace umk::patcher {
namespace {

constexpr uint32_t kExtended = 0x8000'0000;
/// Far more than any processor has of one leaf.
constexpr uint32_t kMaxSubleaves = 64;

class Collector {
 public:
  explicit Collector(const AskProcessor& ask) : ask_(&ask) {}

  std::array<uint32_t, 4> add(uint32_t leaf, std::optional<uint32_t> subleaf) {
    const std::array<uint32_t, 4> got = (*ask_)(leaf, subleaf.value_or(0));
    answers_.push_back({.leaf = leaf, .subleaf = subleaf, .eax = got[0], .ebx = got[1], .ecx = got[2], .edx = got[3]});
    return got;
  }
  /// Leaves 4 and 0x8000001d: caches, until one of type 0.
  void add_caches(uint32_t leaf) {
    constexpr uint32_t kType = 0x1f;
    for (uint32_t i = 0; i < kMaxSubleaves; ++i)
      if ((add(leaf, i)[0] & kType) == 0) return;
  }
  std::vector<IdentityAnswer> take() { return std::move(answers_); }

 private:
  const AskProcessor* ask_;
  std::vector<IdentityAnswer> answers_;
};

}  // namespace

std::vector<IdentityAnswer> lasting_answers(const AskProcessor& ask) {
  const uint32_t last = ask(0, 0)[0];
  if (last < 7 || last >= kExtended) return {};
  constexpr uint32_t kHybrid = 1u << 15;  // leaf 7, edx
  if (ask(7, 0)[3] & kHybrid) return {};

  Collector answers(ask);
  answers.add_caches(4);
  // With another number here the answer changes from call to call.
  if ((ask(2, 0)[0] & 0xff) == 1) answers.add(2, std::nullopt);
  const uint32_t sevens = std::min(answers.add(7, 0)[0], kMaxSubleaves);
  for (uint32_t i = 1; i <= sevens; ++i) answers.add(7, i);
  if (last >= 0xd) {
    // 0 and 1 tell about all components, the others about one each; those that are not there answer with zeroes.
    constexpr uint32_t kComponents = 20;
    for (uint32_t i = 0; i < kComponents; ++i) answers.add(0xd, i);
  }
  if (last >= 0x14) {
    const uint32_t traces = std::min(answers.add(0x14, 0)[0], kMaxSubleaves);
    for (uint32_t i = 1; i <= traces; ++i) answers.add(0x14, i);
  }
  if (last >= 0x19) answers.add(0x19, 0);

  const uint32_t last_extended = ask(kExtended, 0)[0];
  if (last_extended < kExtended) return answers.take();
  for (uint32_t leaf = kExtended; leaf <= std::min(last_extended, kExtended + 8); ++leaf) answers.add(leaf, std::nullopt);
  constexpr uint32_t kCacheProperties = kExtended + 0x1d;
  constexpr uint32_t kTopologyExtensions = 1u << 22;  // leaf 0x80000001, ecx
  if (last_extended >= kCacheProperties && (ask(kExtended + 1, 0)[2] & kTopologyExtensions)) answers.add_caches(kCacheProperties);
  return answers.take();
}

}  // namespace umk::patcher

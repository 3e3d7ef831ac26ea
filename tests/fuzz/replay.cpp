// Runs a fuzz target without a fuzzer: over its seeds, and over damaged copies of them that are the same each time.
//
//   x_replay [--rounds N] FILE-OR-DIRECTORY...
#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "fuzz/fuzz.h"

namespace {

using Bytes = std::vector<uint8_t>;

Bytes contents(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void run(const Bytes& input) {
  // A copy of its own size lets the address sanitizer see reads past the end.
  const Bytes copy(input);
  LLVMFuzzerTestOneInput(copy.data(), copy.size());
}

void damage(Bytes& input, std::mt19937& random) {
  static constexpr uint8_t kLikely[] = {0, 1, 0x7f, 0x80, 0xff, '0', 'F', '/', '.', '\n'};
  for (unsigned count = 1 + random() % 8; count > 0; --count) {
    if (input.empty()) return;
    // Headers, which are short and come first, deserve more than their share.
    const size_t at = random() % (random() % 2 ? std::min<size_t>(input.size(), 256) : input.size());
    switch (random() % 6) {
      case 0: input[at] = static_cast<uint8_t>(random()); break;
      case 1: input[at] ^= static_cast<uint8_t>(1u << random() % 8); break;
      case 2: input[at] = kLikely[random() % std::size(kLikely)]; break;
      case 3: std::fill_n(input.begin() + static_cast<ptrdiff_t>(at), std::min<size_t>(8, input.size() - at), kLikely[random() % 5]); break;
      case 4: input.erase(input.begin() + static_cast<ptrdiff_t>(at)); break;
      case 5:
        if (random() % 8 == 0) input.resize(at);
        break;
    }
  }
}

}  // namespace

int main(int count, char** arguments) {
  unsigned long rounds = 2000;
  std::vector<Bytes> seeds = {{}};
  for (int i = 1; i < count; ++i) {
    const std::string argument = arguments[i];
    if (argument == "--rounds" && i + 1 < count) {
      rounds = std::stoul(arguments[++i]);
    } else if (std::filesystem::is_directory(argument)) {
      std::vector<std::filesystem::path> files;
      for (const auto& entry : std::filesystem::directory_iterator(argument)) files.push_back(entry.path());
      std::sort(files.begin(), files.end());
      for (const auto& file : files) seeds.push_back(contents(file));
    } else {
      seeds.push_back(contents(argument));
    }
  }
  if (seeds.size() == 1) {
    std::fprintf(stderr, "usage: %s [--rounds N] FILE-OR-DIRECTORY...\n", arguments[0]);
    return 2;
  }
  for (const Bytes& seed : seeds) run(seed);
  std::mt19937 random(1);
  for (unsigned long i = 0; i < rounds; ++i) {
    Bytes input = seeds[random() % seeds.size()];
    damage(input, random);
    run(input);
  }
  std::printf("%zu seeds, %lu damaged copies\n", seeds.size() - 1, rounds);
  return 0;
}

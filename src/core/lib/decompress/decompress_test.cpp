// What the real tools pack is unpacked, and damage is found or does no harm.
#include <gtest/gtest.h>
#include <unistd.h>

#include <bit>
#include <cstring>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "core/lib/decompress/decompressor.h"

namespace umk::decompress {

namespace {

using Data = std::vector<std::byte>;

Data from_text(const std::string& text) {
  Data data(text.size());
  memcpy(data.data(), text.data(), text.size());
  return data;
}

Data contents(const std::string& path, size_t most) {
  std::ifstream in(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(in)), {});
  text.resize(std::min(text.size(), most));
  return from_text(text);
}

uint32_t big32(const Data& data, size_t at) {
  uint32_t value;
  memcpy(&value, &data.at(at + 3) - 3, 4);
  return __builtin_bswap32(value);
}
uint32_t little32(const Data& data, size_t at) { return __builtin_bswap32(big32(data, at)); }

/// Runs a filter program over data; empty when it is missing.
Data filter(const Data& data, const std::string& command) {
  const std::string path = "/tmp/decompress_test_" + std::to_string(getpid());
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char*>(data.data()), static_cast<std::streamsize>(data.size()));
  FILE* pipe = popen((command + " < " + path + " 2>/dev/null").c_str(), "r");
  std::string text;
  char buffer[4096];
  for (size_t got; (got = fread(buffer, 1, sizeof buffer, pipe)) > 0;) text.append(buffer, got);
  const bool ok = pclose(pipe) == 0;
  ::unlink(path.c_str());
  return ok ? from_text(text) : Data{};
}

// The bare blocks of what the tools wrap. Of one block, so the data is no larger than one.

Data unwrap_nothing(const Data& packed) { return packed; }

/// lz4's old format: a number, then the size of each block.
Data unwrap_lz4(const Data& packed) {
  if (packed.size() < 8) return {};
  return {packed.begin() + 8, packed.begin() + 8 + little32(packed, 4)};
}

/// lzop: a header with a name; then sizes, checksums as its flags say, and data.
Data unwrap_lzo(const Data& packed) {
  const uint32_t flags = big32(packed, 17);
  size_t at = 33;
  at += 1 + static_cast<size_t>(packed.at(at)) + 4;
  const uint32_t unpacked_size = big32(packed, at), size = big32(packed, at + 4);
  if (unpacked_size == 0 || size >= unpacked_size) return {};
  at += 8 + (flags & 1 ? 4 : 0) + (flags & 2 ? 4 : 0) + (flags & 0x100 ? 4 : 0) + (flags & 0x200 ? 4 : 0);
  return {packed.begin() + static_cast<ptrdiff_t>(at), packed.begin() + static_cast<ptrdiff_t>(at + size)};
}

struct Tool {
  const char* name;
  Method method;
  std::vector<std::string> commands;
  Data (*unwrap)(const Data&);
};

std::vector<Tool> tools() {
  const std::string zlib = "python3 -c 'import sys, zlib; sys.stdout.buffer.write(zlib.compress(sys.stdin.buffer.read(), ";
  return {{"zlib", Method::Zlib, {zlib + "0))'", zlib + "1))'", zlib + "9))'"}, unwrap_nothing},
          {"lz4", Method::Lz4, {"lz4 -lc1", "lz4 -lc9"}, unwrap_lz4},
          {"lzo", Method::Lzo, {"lzop -c1", "lzop -c3", "lzop -c9"}, unwrap_lzo},
          {"xz",
           Method::Xz,
           {"xz -c0", "xz -c6 --check=crc32", "xz -c9e --check=none", "xz -c --check=sha256", "xz -c --check=crc32 --x86 --lzma2",
            "xz -c --check=crc32 --lzma2=lc=0,lp=2,pb=1", "xz -c --block-size=30000"},
           unwrap_nothing},
          {"zstd",
           Method::Zstd,
           {"zstd -c1 --no-check", "zstd -c3", "zstd -c19", "zstd -c --fast=5", "zstd -c --ultra -22 --single-thread"},
           unwrap_nothing}};
}

std::vector<Data> samples() {
  std::mt19937 random(7);
  std::vector<Data> all;
  all.push_back(from_text("a"));
  all.push_back(from_text("hello, hello, hello, hello, hello"));
  all.push_back(Data(200000, std::byte{0}));
  Data noise(100000);
  for (std::byte& byte : noise) byte = static_cast<std::byte>(random());
  all.push_back(noise);
  // Few letters of unequal weight, which want entropy coding; then pieces of what was there, far and near.
  Data letters(150000);
  for (std::byte& byte : letters) byte = static_cast<std::byte>('a' + std::countr_zero(static_cast<uint32_t>(random()) | 1 << 12));
  all.push_back(letters);
  Data pieces = Data(noise.begin(), noise.begin() + 3000);
  while (pieces.size() < 200000) {
    const size_t from = random() % pieces.size(),
                 length = std::min<size_t>(pieces.size() - from, 3 + random() % (random() % 20 == 0 ? 3000 : 40));
    const Data piece(pieces.begin() + static_cast<ptrdiff_t>(from), pieces.begin() + static_cast<ptrdiff_t>(from + length));
    pieces.insert(pieces.end(), piece.begin(), piece.end());
    for (auto i = random() % 5; i > 0; --i) pieces.push_back(static_cast<std::byte>(random() % 7));
  }
  all.push_back(pieces);
  for (const char* path : {"/bin/bash", "/usr/share/common-licenses/GPL-3", "/etc/services"}) all.push_back(contents(path, 250000));
  return all;
}

Result<size_t> unpack(Decompressor& decompressor, const Data& packed, Data& into) { return decompressor.decompress(packed, into); }

class Decompress : public testing::TestWithParam<int> {};

TEST_P(Decompress, UnpacksWhatTheToolsPack) {
  const Tool tool = tools()[static_cast<size_t>(GetParam())];
  const std::unique_ptr<Decompressor> decompressor = Decompressor::create(tool.method).take();
  size_t checked = 0;
  for (const Data& data : samples()) {
    for (const std::string& command : tool.commands) {
      const Data wrapped = filter(data, command);
      if (wrapped.empty()) continue;
      const Data packed = tool.unwrap(wrapped);
      if (packed.empty()) continue;
      // Memory of just the size lets the address sanitizer see what goes beyond.
      Data into(data.size());
      const Result<size_t> made = unpack(*decompressor, packed, into);
      ASSERT_TRUE(made.ok()) << command << " of " << data.size() << " bytes, line " << made.failure().line;
      EXPECT_EQ(made.value(), data.size());
      EXPECT_TRUE(into == data) << command;
      Data small(data.size() - 1);
      EXPECT_FALSE(unpack(*decompressor, packed, small).ok());
      const Data cut(packed.begin(), packed.end() - 1);
      // Without its last byte an .xz stream lacks a part of its footer only.
      if (tool.method != Method::Xz) {
        EXPECT_FALSE(unpack(*decompressor, cut, into).ok());
      }
      ++checked;
    }
  }
  if (checked == 0) GTEST_SKIP() << "needs " << tool.name;
}

TEST_P(Decompress, DamageIsFoundOrHarmless) {
  const Tool tool = tools()[static_cast<size_t>(GetParam())];
  const std::unique_ptr<Decompressor> decompressor = Decompressor::create(tool.method).take();
  std::mt19937 random(11);
  for (const Data& data : samples()) {
    const Data wrapped =
        filter(Data(data.begin(), data.begin() + static_cast<ptrdiff_t>(std::min<size_t>(data.size(), 3000))), tool.commands.back());
    const Data packed = wrapped.empty() ? wrapped : tool.unwrap(wrapped);
    if (packed.empty()) continue;
    for (int round = 0; round < 300; ++round) {
      Data damaged = packed;
      for (auto count = 1 + random() % 4; count > 0; --count) damaged[random() % damaged.size()] = static_cast<std::byte>(random());
      if (random() % 4 == 0) damaged.resize(random() % damaged.size());
      Data into(random() % 2 ? 3000 : 20000);
      const Result<size_t> made = unpack(*decompressor, damaged, into);
      if (made.ok()) {
        EXPECT_LE(made.value(), into.size());
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Methods, Decompress, testing::Range(0, 5),
                         [](const testing::TestParamInfo<int>& each) { return tools()[static_cast<size_t>(each.param)].name; });

TEST(Checksum, IsWhatItsDescriptionSays) {
  EXPECT_EQ(adler32(from_text("Wikipedia")), 0x11e60398u);
}

}  // namespace

}  // namespace umk::decompress

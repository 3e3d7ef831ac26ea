#include "engine/patcher/eh_frame.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string_view>
#include <vector>

namespace umk::patcher {
namespace {

constexpr uint64_t kIndexAt = 0x2000;
constexpr uint64_t kEntriesAt = 0x3000;
constexpr uint8_t kHereS32 = 0x1b;
constexpr uint8_t kIndexS32 = 0x3b;
constexpr uint8_t kU32 = 0x03;
constexpr uint8_t kOmitted = 0xff;

/// Bytes that are put together one value after the other.
struct Section {
  uint64_t address;
  std::vector<uint8_t> bytes = {};

  uint64_t here() const { return address + bytes.size(); }
  void put(uint64_t value, size_t size) {
    for (size_t i = 0; i < size; ++i) bytes.push_back(static_cast<uint8_t>(value >> (8 * i)));
  }
  void text(std::string_view value) {
    bytes.insert(bytes.end(), value.begin(), value.end());
    bytes.push_back(0);
  }
  void patch32(uint64_t where, uint64_t value) {
    for (size_t i = 0; i < 4; ++i) bytes[where - address + i] = static_cast<uint8_t>(value >> (8 * i));
  }
};

/// An .eh_frame with its index, as a linker writes them.
struct Tables {
  Section entries{kEntriesAt};
  Section index{kIndexAt};
  std::vector<std::pair<uint64_t, uint64_t>> rows = {};

  uint64_t common(std::string_view augmentation, uint8_t encoding, uint8_t version = 1) {
    const uint64_t start = entries.here();
    entries.put(0, 4);
    entries.put(0, 4);
    entries.put(version, 1);
    entries.text(augmentation);
    if (version == 4) entries.put(8, 2);
    entries.put(1, 1);     // code alignment
    entries.put(0x78, 1);  // data alignment
    entries.put(16, 1);    // return address
    if (!augmentation.empty()) {
      const bool personality = augmentation.find('P') != std::string_view::npos;
      const bool handlers = augmentation.find('L') != std::string_view::npos;
      entries.put(1 + (personality ? 5 : 0) + (handlers ? 1 : 0), 1);
      for (const char letter : augmentation.substr(1)) {
        if (letter == 'R') entries.put(encoding, 1);
        if (letter == 'L') entries.put(kHereS32, 1);
        if (letter == 'P') entries.put(0x9b, 1), entries.put(0x1234, 4);
      }
    }
    finish(start);
    return start;
  }

  void entry(uint64_t common_at, uint64_t begin, uint64_t size, uint8_t encoding) {
    const uint64_t start = entries.here();
    rows.emplace_back(begin, start);
    entries.put(0, 4);
    entries.put(entries.here() - common_at, 4);
    const size_t width = (encoding & 0x0f) == 0 ? 8 : 4;
    entries.put(encoding & 0x10 ? begin - entries.here() : begin, width);
    entries.put(size, width);
    entries.put(0, 1);
    finish(start);
  }

  void finish(uint64_t start) {
    while (entries.bytes.size() % 4 != 0) entries.put(0, 1);
    entries.patch32(start, entries.here() - start - 4);
  }

  void finish_index(uint8_t table_encoding = kIndexS32) {
    entries.put(0, 4);
    index.put(1, 1);
    index.put(kHereS32, 1);
    index.put(table_encoding == kOmitted ? kOmitted : kU32, 1);
    index.put(table_encoding, 1);
    index.put(kEntriesAt - index.here(), 4);
    if (table_encoding == kOmitted) return;
    index.put(rows.size(), 4);
    for (const auto& [begin, at] : rows) {
      index.put(begin - kIndexAt, 4);
      index.put(at - kIndexAt, 4);
    }
  }

  UnwindTables place(bool with_index = true) const {
    return {.index = with_index ? AddressRange{kIndexAt, index.here()} : AddressRange{},
            .entries = with_index ? AddressRange{} : AddressRange{kEntriesAt, entries.here()}};
  }

  AddressReader reader() const {
    return [this](uint64_t address, std::span<uint8_t> into) {
      for (const Section* section : {&index, &entries}) {
        const uint64_t offset = address - section->address;
        if (offset > section->bytes.size() || into.size() > section->bytes.size() - offset) continue;
        std::memcpy(into.data(), section->bytes.data() + offset, into.size());
        return true;
      }
      return false;
    };
  }
};

Tables usual() {
  Tables tables;
  const uint64_t plain = tables.common("zR", kHereS32);
  tables.entry(plain, 0x10000, 0x40, kHereS32);
  tables.entry(plain, 0x10050, 0x10, kHereS32);
  const uint64_t handlers = tables.common("zPLR", kHereS32);
  tables.entry(handlers, 0x10060, 0x100, kHereS32);
  const uint64_t signal = tables.common("zRS", kHereS32);
  tables.entry(signal, 0x1ffff, 0xa, kHereS32);
  return tables;
}

void expect_usual(const Tables& tables, const UnwindTables& place) {
  const auto find = [&](uint64_t address) { return find_function(place, tables.reader(), address); };
  EXPECT_FALSE(find(0xffff));
  ASSERT_TRUE(find(0x10000));
  EXPECT_EQ(find(0x10000)->code, (AddressRange{0x10000, 0x10040}));
  EXPECT_EQ(find(0x10000)->padding_begin, 0x10000u);
  EXPECT_EQ(find(0x1003f)->code, (AddressRange{0x10000, 0x10040}));
  EXPECT_FALSE(find(0x10040));
  ASSERT_TRUE(find(0x10051));
  EXPECT_EQ(find(0x10051)->padding_begin, 0x10040u);
  ASSERT_TRUE(find(0x10100));
  EXPECT_EQ(find(0x10100)->code, (AddressRange{0x10060, 0x10160}));
  EXPECT_EQ(find(0x10100)->padding_begin, 0x10060u);
  EXPECT_FALSE(find(0x10100)->is_signal_frame);
  ASSERT_TRUE(find(0x20000));
  EXPECT_TRUE(find(0x20000)->is_signal_frame);
  EXPECT_FALSE(find(0x20009));
  EXPECT_FALSE(find(~uint64_t{0}));
}

TEST(EhFrame, FindsByTheIndex) {
  Tables tables = usual();
  tables.finish_index();
  expect_usual(tables, tables.place());
}

TEST(EhFrame, FindsWithoutATable) {
  Tables tables = usual();
  tables.finish_index(kOmitted);
  expect_usual(tables, tables.place());
}

TEST(EhFrame, FindsWithoutAnIndex) {
  Tables tables = usual();
  tables.finish_index();
  expect_usual(tables, tables.place(false));
}

TEST(EhFrame, ReadsOtherEncodingsAndVersions) {
  for (const uint8_t version : {uint8_t{1}, uint8_t{3}, uint8_t{4}}) {
    Tables tables;
    tables.entry(tables.common("", 0, version), 0x400000, 0x20, 0x00);  // absolute, 8 bytes
    tables.entry(tables.common("zR", kU32, version), 0x400020, 0x20, kU32);
    tables.finish_index();
    for (const uint64_t begin : {0x400000u, 0x400020u}) {
      const auto found = find_function(tables.place(), tables.reader(), begin + 5);
      ASSERT_TRUE(found);
      EXPECT_EQ(found->code, (AddressRange{begin, begin + 0x20}));
    }
  }
}

TEST(EhFrame, DoesNotGuessAtUnknownAugmentations) {
  Tables tables;
  tables.entry(tables.common("zRQ", kHereS32), 0x400000, 0x20, kHereS32);
  tables.finish_index();
  EXPECT_FALSE(find_function(tables.place(), tables.reader(), 0x400000));
}

TEST(EhFrame, VisitsAllInOrder) {
  Tables tables = usual();
  tables.finish_index();
  std::vector<uint64_t> begins;
  for_each_function(tables.place(), tables.reader(), [&](const FunctionRange& function) {
    begins.push_back(function.code.begin);
    return begins.size() < 3;
  });
  EXPECT_EQ(begins, (std::vector<uint64_t>{0x10000, 0x10050, 0x10060}));
}

TEST(EhFrame, CountBeyondTheIndexIsNoTable) {
  Tables tables = usual();
  tables.finish_index();
  tables.index.patch32(kIndexAt + 8, 0xffffffff);
  expect_usual(tables, tables.place());
}

TEST(EhFrame, SurvivesTruncation) {
  Tables tables = usual();
  tables.finish_index();
  const Tables whole = tables;
  const UnwindTables place = whole.place();
  for (size_t size = 0; size < whole.entries.bytes.size(); ++size) {
    tables.entries.bytes.resize(size);
    find_function(place, tables.reader(), 0x10100);
    find_function(whole.place(false), tables.reader(), 0x10100);
    tables = whole;
  }
  for (size_t size = 0; size < whole.index.bytes.size(); ++size) {
    tables.index.bytes.resize(size);
    find_function(place, tables.reader(), 0x10100);
    find_function(tables.place(), tables.reader(), 0x10100);
    tables = whole;
  }
}

TEST(EhFrame, SurvivesChangedBytesWithFewReads) {
  Tables tables = usual();
  tables.finish_index();
  const Tables whole = tables;
  std::mt19937 random(20);
  for (int round = 0; round < 20000; ++round) {
    tables = whole;
    for (int i = 0; i < 3; ++i) {
      std::vector<uint8_t>& bytes = random() % 2 ? tables.index.bytes : tables.entries.bytes;
      bytes[random() % bytes.size()] = static_cast<uint8_t>(random() % 4 ? random() : 0xff);
    }
    int reads = 0;
    const AddressReader inner = tables.reader();
    const AddressReader counting = [&](uint64_t address, std::span<uint8_t> bytes) {
      ++reads;
      return inner(address, bytes);
    };
    find_function(tables.place(), counting, 0x10100);
    find_function(tables.place(false), counting, 0x20000);
    ASSERT_LT(reads, 1000);
  }
}

}  // namespace
}  // namespace umk::patcher

#include "core/lib/cow_format/cow_format.h"

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "core/abi/errno.h"

namespace umk::cow_format {
namespace {

using Bytes = std::vector<std::byte>;

Bytes from_hex(const char* hex, size_t size) {
  Bytes bytes(size);
  for (size_t i = 0; hex[2 * i] != '\0'; ++i) bytes[i] = static_cast<std::byte>(std::stoi(std::string(hex + 2 * i, 2), nullptr, 16));
  return bytes;
}
void put_text(Bytes& bytes, size_t at, const char* text) { memcpy(bytes.data() + at, text, strlen(text)); }

// Golden bytes: as uml_mkcow of uml-utilities 20070815.4 wrote them on x86-64 for a backing file of 1000000 bytes.
Bytes version3() {
  Bytes bytes = from_hex("4f4f4f4d" "00000003" "65a0c001" "00000000000f4240" "00000200" "00001000" "00000000", 4128);
  put_text(bytes, 32, "/tmp/base");
  return bytes;
}

TEST(CowFormat, ReadsVersion3) {
  const Bytes bytes = version3();
  const Parsed parsed = parse(bytes);
  ASSERT_EQ(parsed.kind, Parsed::Kind::Cow);
  EXPECT_EQ(parsed.header.version, 3u);
  EXPECT_FALSE(parsed.header.is_wide);
  EXPECT_EQ(parsed.header.backing_name, "/tmp/base");
  EXPECT_EQ(parsed.header.backing_time, 0x65a0c001u);
  EXPECT_EQ(parsed.header.backing_bytes, 1000000u);
  EXPECT_EQ(parsed.layout.sectors, 1954u);
  EXPECT_EQ(parsed.layout.bitmap_offset, 8192u);
  EXPECT_EQ(parsed.layout.bitmap_bytes, 245u);
  EXPECT_EQ(parsed.layout.data_offset, 12288u);
  EXPECT_EQ(parsed.layout.offset_of(3), 12288u + 1536);
}

TEST(CowFormat, WritesTheSameBytes) {
  Header header{.backing_name = "/tmp/base", .backing_time = 0x65a0c001, .backing_bytes = 1000000};
  Bytes bytes(kHeaderBytes, std::byte{0xee});
  ASSERT_TRUE(write_header(bytes, header).ok());
  EXPECT_EQ(bytes, version3());
}

TEST(CowFormat, RefusesNamesThatDoNotFit) {
  Bytes bytes(kHeaderBytes);
  const std::string longest(kBackingNameLimit, 'n'), too_long(kBackingNameLimit + 1, 'n');
  EXPECT_TRUE(write_header(bytes, {.backing_name = longest}).ok());
  EXPECT_EQ(parse(bytes).header.backing_name.size(), kBackingNameLimit);
  EXPECT_EQ(write_header(bytes, {.backing_name = too_long}).code(), ENAMETOOLONG);
  EXPECT_EQ(write_header(bytes, {.backing_name = ""}).code(), EINVAL);
}

TEST(CowFormat, ReadsTheWideLayoutOfVersion3) {
  // The time lies in the first half of eight bytes.
  Bytes bytes = from_hex("4f4f4f4d" "00000003" "65a0c001" "00000000" "00000000000f4240" "00000200" "00001000" "00000000", 4136);
  put_text(bytes, 36, "/tmp/base");
  const Parsed parsed = parse(bytes);
  ASSERT_EQ(parsed.kind, Parsed::Kind::Cow);
  EXPECT_TRUE(parsed.header.is_wide);
  EXPECT_EQ(parsed.header.backing_name, "/tmp/base");
  EXPECT_EQ(parsed.header.backing_time, 0x65a0c001u);
  EXPECT_EQ(parsed.header.backing_bytes, 1000000u);
  EXPECT_EQ(parsed.layout.bitmap_offset, 8192u);
}

TEST(CowFormat, ReadsVersion2) {
  Bytes bytes = from_hex("4f4f4f4d" "00000002", 4120);
  put_text(bytes, 8, "root_fs");
  const Bytes tail = from_hex("65a0c001" "0000000000100000" "00000200", 16);
  memcpy(bytes.data() + 4104, tail.data(), 16);
  const Parsed parsed = parse(bytes);
  ASSERT_EQ(parsed.kind, Parsed::Kind::Cow);
  EXPECT_EQ(parsed.header.backing_name, "root_fs");
  EXPECT_EQ(parsed.header.backing_bytes, 1u << 20);
  EXPECT_EQ(parsed.layout.bitmap_offset, 4120u);
  EXPECT_EQ(parsed.layout.bitmap_bytes, 256u);
  EXPECT_EQ(parsed.layout.data_offset, 4608u);  // 4376 rounded up to sectors
}

TEST(CowFormat, ReadsVersion1InTheOrderOfItsMaker) {
  Bytes little = from_hex("4d4f4f4f" "01000000", 280);
  put_text(little, 8, "root_fs");
  const Bytes little_tail = from_hex("01c0a065" "0000100000000000" "00020000", 16);
  memcpy(little.data() + 264, little_tail.data(), 16);
  Bytes big = from_hex("4f4f4f4d" "00000001", 280);
  put_text(big, 8, "root_fs");
  const Bytes big_tail = from_hex("65a0c001" "0000000000100000" "00000200", 16);
  memcpy(big.data() + 264, big_tail.data(), 16);
  for (const Bytes& bytes : {little, big}) {
    const Parsed parsed = parse(bytes);
    ASSERT_EQ(parsed.kind, Parsed::Kind::Cow);
    EXPECT_EQ(parsed.header.backing_name, "root_fs");
    EXPECT_EQ(parsed.header.backing_time, 0x65a0c001u);
    EXPECT_EQ(parsed.header.backing_bytes, 1u << 20);
    EXPECT_EQ(parsed.layout.bitmap_offset, 280u);
    EXPECT_EQ(parsed.layout.data_offset, 1024u);  // 536 rounded up
  }
}

TEST(CowFormat, AShortBitmapTakesAByteOfTheGap) {
  const Layout layout = layout_of({.version = 2, .backing_name = "f", .backing_bytes = 1000000}).take();
  EXPECT_EQ(layout.bitmap_bytes, 244u);
  EXPECT_EQ(layout.usable_bitmap_bytes, 245u);
  EXPECT_TRUE(layout.has_bit(1953));
  // Here the data follows at once: 4120 + 488 is a multiple of 512, and 3905 sectors would need a byte more.
  const Layout full = layout_of({.version = 2, .backing_name = "f", .backing_bytes = 3905 * 512}).take();
  EXPECT_EQ(full.data_offset, full.bitmap_offset + full.bitmap_bytes);
  EXPECT_TRUE(full.has_bit(3903));
  EXPECT_FALSE(full.has_bit(3904));
}

TEST(CowFormat, AnotherMagicIsAPlainFile) {
  EXPECT_EQ(parse({}).kind, Parsed::Kind::Plain);
  EXPECT_EQ(parse(Bytes(4136)).kind, Parsed::Kind::Plain);
  EXPECT_EQ(parse(version3()).kind, Parsed::Kind::Cow);
}

TEST(CowFormat, NamesWhatIsWrongWithAHeader) {
  const auto problem = [](Bytes bytes) {
    const Parsed parsed = parse(bytes);
    EXPECT_EQ(parsed.kind, Parsed::Kind::Damaged);
    return std::string(parsed.problem);
  };
  Bytes version = version3(), alignment = version3(), sector = version3(), name = version3(), size = version3();
  version[7] = std::byte{4};
  EXPECT_EQ(problem(version), "invalid COW version");
  alignment[26] = std::byte{0};
  EXPECT_EQ(problem(alignment), "invalid COW header, align == 0");
  sector[23] = std::byte{1};
  EXPECT_EQ(problem(sector), "invalid sizes in the header");
  memset(name.data() + 32, 'n', 4096);
  EXPECT_EQ(problem(name), "the backing file's name does not end");
  size[12] = std::byte{0x80};
  EXPECT_EQ(problem(size), "invalid sizes in the header");
  Bytes cut = version3();
  cut.resize(4000);
  EXPECT_EQ(problem(cut), "short header");
}

TEST(CowFormat, BitsAreCountedFromTheLowestOfEachByte) {
  Bytes bitmap(2);
  set_bit(bitmap, 0);
  set_bit(bitmap, 9);
  EXPECT_EQ(bitmap[0], std::byte{1});
  EXPECT_EQ(bitmap[1], std::byte{2});
  EXPECT_TRUE(test_bit(bitmap, 9));
  clear_bit(bitmap, 9);
  EXPECT_FALSE(test_bit(bitmap, 9));
}

}  // namespace
}  // namespace umk::cow_format

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "core/lib/iso9660_format/rock_ridge.h"
#include "core/lib/iso9660_format/volume_descriptor.h"

namespace umk::iso9660 {

namespace {

ConstBytes bytes_of(const std::string& text) { return std::as_bytes(std::span(text.data(), text.size())); }

std::string plain(const std::string& name, NameMap map = NameMap::Normal) {
  char room[255];
  return std::string(plain_name(bytes_of(name), map, room));
}
std::string joliet(const std::u16string& name) {
  std::string big;
  for (const char16_t unit : name) big += {static_cast<char>(unit >> 8), static_cast<char>(unit)};
  char room[255];
  return std::string(joliet_name(bytes_of(big), room));
}

/// A number in both orders.
std::string both(uint32_t value) {
  std::string text(8, '\0');
  const uint32_t big = __builtin_bswap32(value);
  memcpy(text.data(), &value, 4);
  memcpy(text.data() + 4, &big, 4);
  return text;
}
std::string field(const char* signature, const std::string& content) {
  return signature + std::string{static_cast<char>(content.size() + 4), 1} + content;
}

TEST(IsoName, IsShownInLowerCaseWithoutVersion) {
  EXPECT_EQ(plain("README.TXT;1"), "readme.txt");
  EXPECT_EQ(plain("README.;1"), "readme");
  EXPECT_EQ(plain("A;2"), "a.2");
  EXPECT_EQ(plain("DIRECTORY"), "directory");
  EXPECT_EQ(plain("A/B"), "a.b");
  EXPECT_EQ(plain("README.TXT;1", NameMap::Off), "README.TXT;1");
}

TEST(IsoName, OfJolietBecomesUtf8) {
  EXPECT_EQ(joliet(u"Read me.txt;1"), "Read me.txt");
  EXPECT_EQ(joliet(u"\u00e4\u20ac"), "\xc3\xa4\xe2\x82\xac");
  EXPECT_EQ(joliet(u"\U0001f600"), "\xf0\x9f\x98\x80");
  EXPECT_EQ(joliet(u"dots.."), "dots");
  EXPECT_EQ(joliet(std::u16string(1, 0xd83d)), "\xef\xbf\xbd");
  EXPECT_LE(joliet(std::u16string(127, u'\u20ac')).size(), 255u);
}

TEST(IsoName, WhatIsNoFileNameIsKnown) {
  for (const char* name : {"", ".", "..", "a/b"}) EXPECT_FALSE(is_file_name(name)) << name;
  EXPECT_FALSE(is_file_name(std::string_view("a\0b", 3)));
  EXPECT_FALSE(is_file_name(std::string(256, 'x')));
  EXPECT_TRUE(is_file_name("..."));
}

TEST(IsoDate, CountsFromItsTimeZone) {
  // 2020-02-29 12:30:15, one hour east.
  const std::string date = {120, 2, 29, 12, 30, 15, 4};
  EXPECT_EQ(short_date(bytes_of(date)), 1582975815);
  EXPECT_EQ(long_date(bytes_of("2020022912301500" + std::string(1, 4))), 1582975815);
  EXPECT_EQ(short_date(bytes_of(std::string{70, 1, 1, 0, 0, 0, 0})), 0);
  EXPECT_EQ(short_date(bytes_of(std::string(7, 0))), 0);
}

TEST(IsoRecord, ItsPartsStayInside) {
  std::string record(40, '\0');
  record[0] = 40;
  record[32] = 1;
  record[33] = 'A';
  EXPECT_EQ(DirectoryRecord::parse(bytes_of(record)).take().system_use.size(), 6u);
  record[32] = 8;
  EXPECT_EQ(DirectoryRecord::parse(bytes_of(record)).code(), EIO);
  record[0] = 41;
  EXPECT_EQ(DirectoryRecord::parse(bytes_of(record)).code(), EIO);
  record[0] = 33;
  EXPECT_EQ(DirectoryRecord::parse(bytes_of(record)).code(), EIO);
  record[0] = 0;
  EXPECT_EQ(DirectoryRecord::parse(bytes_of(record)).take().bytes, 0u);
}

TEST(RockRidge, SaysWhatAFileIs) {
  RockRidge r;
  const std::string area = field("PX", both(0100644) + both(2) + both(1000) + both(100)) + field("NM", std::string{1} + "long ") +
                           field("NM", std::string{0} + "name") +
                           field("TF", std::string{0x0a, 120, 2, 29, 12, 30, 15, 4, 70, 1, 1, 0, 0, 1, 0}) + field("XX", "unknown") +
                           std::string(3, '\0');
  ASSERT_TRUE(r.add(bytes_of(area)).ok());
  EXPECT_EQ(r.mode, 0100644u);
  EXPECT_EQ(r.links, 2u);
  EXPECT_EQ(r.uid, 1000u);
  EXPECT_EQ(r.gid, 100u);
  EXPECT_EQ(r.name.view(), "long name");
  EXPECT_EQ(r.modified, 1582975815);
  EXPECT_EQ(r.changed, 1);
  EXPECT_FALSE(r.accessed);
}

TEST(RockRidge, PutsATargetTogether) {
  const auto component = [](int flags, const std::string& text) {
    return std::string{static_cast<char>(flags), static_cast<char>(text.size())} + text;
  };
  RockRidge absolute;
  ASSERT_TRUE(absolute.add(bytes_of(field("SL", std::string{0} + component(8, "") + component(0, "usr") + component(0, "lib")))).ok());
  EXPECT_EQ(absolute.target.view(), "/usr/lib");
  RockRidge relative;
  ASSERT_TRUE(relative
                  .add(bytes_of(field("SL", std::string{1} + component(4, "") + component(2, "") + component(1, "ha")) +
                                field("SL", std::string{0} + component(0, "lf"))))
                  .ok());
  EXPECT_EQ(relative.target.view(), ".././half");
}

TEST(RockRidge, FieldsThatCannotBeAreRefused) {
  for (const std::string& area : {std::string("NM\x09\x01\0abc", 8), field("PX", "short"), field("CE", "short"), field("CL", "x"),
                                  field("SL", std::string{0, 0, 9, 'x'})}) {
    RockRidge r;
    EXPECT_EQ(r.add(bytes_of(area)).code(), EIO);
  }
  RockRidge endless;
  const std::string piece = field("NM", std::string{1} + std::string(200, 'x'));
  EXPECT_TRUE(endless.add(bytes_of(piece)).ok());
  EXPECT_EQ(endless.add(bytes_of(piece)).code(), EIO);
}

TEST(RockRidge, BeginsWhereTheRootSays) {
  EXPECT_EQ(fields_start(bytes_of(field("SP", "\xbe\xef" + std::string(1, '\0')))), 0u);
  EXPECT_EQ(fields_start(bytes_of(std::string(14, 'x') + field("SP", "\xbe\xef" + std::string(1, '\0')))), 14u);
  EXPECT_FALSE(fields_start(bytes_of("nothing")));
}

}  // namespace

}  // namespace umk::iso9660

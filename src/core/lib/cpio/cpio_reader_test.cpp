#include "core/lib/cpio/cpio_reader.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "core/abi/errno.h"
#include "core/lib/cpio/fake_archive.h"

namespace umk::cpio {
namespace {

std::string text_of(const Entry& entry) { return {reinterpret_cast<const char*>(entry.data.data()), entry.data.size()}; }

/// The names in an archive, or the reason why it is refused.
std::string names(const std::string& archive) {
  Reader reader(as_bytes(archive));
  std::string text;
  for (;;) {
    const auto entry = reader.next();
    if (!entry) {
      EXPECT_EQ(entry.code(), EINVAL);
      EXPECT_EQ(reader.next().code(), EINVAL);
      EXPECT_LE(reader.position(), archive.size());
      return std::string(reader.reason()) + " at " + std::to_string(reader.position());
    }
    if (!entry.value()) return text;
    text += std::string(entry.value()->name) + ";";
  }
}

TEST(CpioReader, GivesWhatTheHeaderSays) {
  const std::string archive =
      FakeEntry{.name = "bin/sh", .data = "hello", .mode = 0104755, .inode = 0xfedcba98, .link_count = 2}.bytes() + fake_trailer();
  Reader reader(as_bytes(archive));
  const auto next = reader.next();
  ASSERT_TRUE(next.ok() && next.value());
  const Entry& entry = *next.value();
  EXPECT_EQ(entry.name, "bin/sh");
  EXPECT_EQ(text_of(entry), "hello");
  EXPECT_EQ(entry.mode, 0104755u);
  EXPECT_EQ(entry.inode, 0xfedcba98u);
  EXPECT_EQ(entry.user, 1000u);
  EXPECT_EQ(entry.group, 0xabcu);
  EXPECT_EQ(entry.link_count, 2u);
  EXPECT_EQ(entry.modification_time, 0x12345678u);
  EXPECT_EQ(entry.device_major, 8u);
  EXPECT_EQ(entry.device_minor, 1u);
  EXPECT_EQ(entry.special_major, 4u);
  EXPECT_EQ(entry.special_minor, 64u);
  EXPECT_TRUE(entry.may_have_links());
  EXPECT_FALSE(reader.next().value());
  EXPECT_FALSE(reader.next().value());
}

TEST(CpioReader, NothingIsAnEmptyArchive) {
  EXPECT_EQ(names(""), "");
  EXPECT_EQ(names(std::string(512, '\0')), "");
  EXPECT_EQ(names(fake_trailer()), "");
}

TEST(CpioReader, NamesAreRelativeToTheRoot) {
  std::string archive;
  for (const char* name : {".", "./a", "//b/c", "..d/e..", "/", "./TRAILER!!!"}) archive += FakeEntry{.name = name}.bytes();
  archive += fake_trailer();
  EXPECT_EQ(names(archive), ";a;b/c;..d/e..;;TRAILER!!!;");
}

TEST(CpioReader, ReadsArchivesOneAfterAnother) {
  const std::string one = FakeEntry{.name = "a", .data = "1"}.bytes() + fake_trailer();
  const std::string two = FakeEntry{.name = "b"}.bytes() + fake_trailer();
  const std::string archive = one + std::string(512 - one.size() % 512, '\0') + two + two + std::string(100, '\0');
  EXPECT_EQ(names(archive), "a;b;b;");

  Reader reader(as_bytes(archive));
  EXPECT_EQ(reader.next().value()->archive, 0u);
  EXPECT_EQ(reader.next().value()->archive, 1u);
  EXPECT_EQ(reader.next().value()->archive, 2u);
}

TEST(CpioReader, ZeroesBehindANameAreNotPartOfIt) {
  EXPECT_EQ(names(FakeEntry{.name = "a", .data = "x", .name_padding = 13}.bytes() + fake_trailer()), "a;");
}

TEST(CpioReader, ChecksChecksums) {
  EXPECT_EQ(names(FakeEntry{.name = "a", .data = "AB", .magic = "070702", .checksum = 'A' + 'B'}.bytes() + fake_trailer()), "a;");
  EXPECT_EQ(names(FakeEntry{.name = "a", .data = "AB", .magic = "070702", .checksum = 1}.bytes()),
            "data does not have the checksum of its header at 112");
}

TEST(CpioReader, RefusesWhatIsNoArchive) {
  EXPECT_EQ(names("hello"), "no header of the newc format at 0");
  EXPECT_EQ(names("070707" + std::string(200, '0')), "no header of the newc format at 0");
  const std::string good = FakeEntry{.name = "a"}.bytes();
  EXPECT_EQ(names(good), "the archive ends without its trailer at 112");
  EXPECT_EQ(names(good + "x"), "no header of the newc format at 112");
  EXPECT_EQ(names(good + fake_trailer() + "junk"), "no header of the newc format at 236");
  EXPECT_EQ(names(good.substr(0, 50)), "a header is cut off at 0");
  std::string letters = good;
  letters[20] = 'g';
  EXPECT_EQ(names(letters), "a field of a header is no hexadecimal number at 14");
}

TEST(CpioReader, RefusesSizesBeyondTheEnd) {
  std::string archive = FakeEntry{.name = "a", .data = "data"}.bytes();
  archive.replace(54, 8, "FFFFFFFF");
  EXPECT_EQ(names(archive), "data is cut off at 0");
  archive = FakeEntry{.name = "a"}.bytes();
  archive.replace(94, 8, "FFFFFFFF");
  EXPECT_EQ(names(archive), "a name is empty or longer than 4096 bytes at 0");
  archive.replace(94, 8, "00000000");
  EXPECT_EQ(names(archive), "a name is empty or longer than 4096 bytes at 0");
  archive.replace(94, 8, "00001000");
  EXPECT_EQ(names(archive), "a name is cut off at 0");
}

TEST(CpioReader, RefusesNamesThatLeaveTheRoot) {
  for (const char* name : {"..", "../a", "a/..", "a/../b", "/..", "./.."})
    EXPECT_EQ(names(FakeEntry{.name = name}.bytes() + fake_trailer()), "a name contains \"..\" at 110") << name;
}

TEST(CpioReader, RefusesNamesWithoutOrWithZeroes) {
  std::string archive = FakeEntry{.name = "a"}.bytes() + fake_trailer();
  archive[111] = 'b';
  EXPECT_EQ(names(archive), "a name does not end with a zero at 110");
  EXPECT_EQ(names(FakeEntry{.name = std::string("a\0b", 3)}.bytes()), "a name contains a zero at 110");
  EXPECT_EQ(names(FakeEntry{.name = ""}.bytes()), "a name is empty at 110");
}

TEST(CpioReader, RefusesStrangeFiles) {
  EXPECT_EQ(names(FakeEntry{.name = "a", .mode = 0644}.bytes()), "a file has no known type at 0");
  EXPECT_EQ(names(FakeEntry{.name = "a", .mode = 0120777}.bytes()), "the target of a symbolic link is empty or too long at 0");
  EXPECT_EQ(names(FakeEntry{.name = "a", .data = std::string(4096, 'x'), .mode = 0120777}.bytes()),
            "the target of a symbolic link is empty or too long at 0");
  EXPECT_EQ(names(FakeEntry{.name = "a", .data = std::string("a\0", 2), .mode = 0120777}.bytes()),
            "the target of a symbolic link contains a zero at 112");
}

TEST(CpioReader, EveryCutIsNoticed) {
  const std::string archive = FakeEntry{.name = "dir/file", .data = "some data"}.bytes() + FakeEntry{.name = "b"}.bytes() + fake_trailer();
  // The last padding, of three bytes here, is missing in some archives.
  for (size_t size = 1; size + 3 < archive.size(); ++size) EXPECT_NE(names(archive.substr(0, size)), "dir/file;b;") << size;
}

TEST(CpioReader, ReadsWhatTheCpioProgramWrites) {
  char directory[] = "/tmp/umk-cpio-XXXXXX";
  ASSERT_NE(mkdtemp(directory), nullptr);
  const std::string root = directory;
  const std::string command = "cd " + root + " && mkdir in in/d && printf abc > in/d/f && ln in/d/f in/g && ln -s d/f in/l && " +
                              "cd in && printf '%s\\n' . d d/f g l | cpio --quiet -o -H newc > ../out 2>/dev/null";
  const bool is_there = std::system(command.c_str()) == 0;
  std::ifstream file(root + "/out", std::ios::binary);
  std::stringstream content;
  content << file.rdbuf();
  EXPECT_EQ(std::system(("rm -r " + root).c_str()), 0);
  if (!is_there) GTEST_SKIP() << "no cpio program on this host";
  // GNU cpio delays links to the end, where the last one has the data.
  const std::string listed = names(content.str());
  EXPECT_EQ(listed.size(), std::string(";d;d/f;g;l;").size()) << listed;
}

}  // namespace
}  // namespace umk::cpio

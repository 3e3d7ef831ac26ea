#include "core/lib/cpio/hard_links.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace umk::cpio {
namespace {

Entry file(std::string_view name, uint32_t inode, uint32_t archive = 0) {
  Entry entry{};
  entry.name = name;
  entry.inode = inode;
  entry.archive = archive;
  entry.mode = 0100644;
  entry.link_count = 2;
  return entry;
}

TEST(HardLinks, LaterNamesLeadToTheFirst) {
  HardLinks links;
  EXPECT_EQ(links.first_name(file("a", 7)).value(), "");
  EXPECT_EQ(links.first_name(file("b", 8)).value(), "");
  EXPECT_EQ(links.first_name(file("c", 7)).value(), "a");
  EXPECT_EQ(links.first_name(file("d", 7)).value(), "a");
  EXPECT_EQ(links.first_name(file("e", 8)).value(), "b");
}

TEST(HardLinks, DoNotCrossArchivesDevicesOrTypes) {
  HardLinks links;
  EXPECT_EQ(links.first_name(file("a", 7)).value(), "");
  EXPECT_EQ(links.first_name(file("b", 7, 1)).value(), "");
  Entry other = file("c", 7);
  other.device_minor = 3;
  EXPECT_EQ(links.first_name(other).value(), "");
  other = file("d", 7);
  other.mode = 0120777;
  EXPECT_EQ(links.first_name(other).value(), "");
}

TEST(HardLinks, FilesWithOneNameAndDirectoriesHaveNone) {
  HardLinks links;
  Entry single = file("a", 7);
  single.link_count = 1;
  EXPECT_EQ(links.first_name(single).value(), "");
  EXPECT_EQ(links.first_name(single).value(), "");
  Entry directory = file("d", 9);
  directory.mode = 040755;
  EXPECT_EQ(links.first_name(directory).value(), "");
  EXPECT_EQ(links.first_name(directory).value(), "");
}

TEST(HardLinks, ManyFilesAreFoundAgain) {
  std::vector<std::string> names;
  for (uint32_t i = 0; i < 5000; ++i) names.push_back("f" + std::to_string(i));
  HardLinks links;
  for (uint32_t i = 0; i < 5000; ++i) EXPECT_EQ(links.first_name(file(names[i], i * 4096)).value(), "");
  for (uint32_t i = 0; i < 5000; ++i) EXPECT_EQ(links.first_name(file("x", i * 4096)).value(), names[i]);
}

}  // namespace
}  // namespace umk::cpio

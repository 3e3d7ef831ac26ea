#include "core/fs/hostfs/owner_record.h"

#include <gtest/gtest.h>

namespace umk::hostfs {
namespace {

TEST(OwnerRecord, ReadsWhatItWrites) {
  OwnerRecord record, again;
  record.uid = 12;
  record.gid = 4294967294;
  record.permissions = 04711;
  record.type = vfs::FileType::BlockDevice;
  record.device = {8, 17};
  char buffer[64];
  EXPECT_TRUE(parse_owner(owner_text(record, buffer), again));
  EXPECT_TRUE(parse_permissions(permissions_text(record, buffer), again));
  EXPECT_TRUE(parse_device(device_text(record, buffer), again));
  EXPECT_EQ(again.uid, record.uid);
  EXPECT_EQ(again.gid, record.gid);
  EXPECT_EQ(again.permissions, record.permissions);
  EXPECT_EQ(again.type, record.type);
  EXPECT_EQ(again.device, record.device);
}

TEST(OwnerRecord, RefusesDamagedTexts) {
  OwnerRecord record;
  for (const char* text : {"", "1", ":", "1:", ":1", "1:2:3", "-1:2", "a:b", "4294967295:0"}) EXPECT_FALSE(parse_owner(text, record)) << text;
  for (const char* text : {"", "8", "10000", "755x"}) EXPECT_FALSE(parse_permissions(text, record)) << text;
  for (const char* text : {"", "c", "c 1", "x 1:2", "c1:2", "c 1:2 "}) EXPECT_FALSE(parse_device(text, record)) << text;
  EXPECT_TRUE(record.is_empty());
}

}  // namespace
}  // namespace umk::hostfs

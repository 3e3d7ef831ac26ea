#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "core/lib/squashfs_format/attributes.h"
#include "core/lib/squashfs_format/directory.h"
#include "core/lib/squashfs_format/inode_record.h"

namespace umk::squashfs {

namespace {

/// A stream of bytes that were put together.
class TextStream final : public Stream {
 public:
  Result<void> read(Bytes into) override {
    if (into.size() > bytes_.size() - at_) return error(EIO);
    memcpy(into.data(), bytes_.data() + at_, into.size());
    at_ += into.size();
    return {};
  }
  template <typename T>
  TextStream& put(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  TextStream& put_text(const std::string& text) {
    bytes_ += text;
    return *this;
  }
  size_t size() const { return bytes_.size(); }

 private:
  std::string bytes_;
  size_t at_ = 0;
};

void put_run(TextStream& stream, uint32_t count, uint32_t number) {
  stream.put<uint32_t>(count - 1).put<uint32_t>(7).put<uint32_t>(number);
}
void put_entry(TextStream& stream, const std::string& name, uint16_t offset = 32) {
  stream.put<uint16_t>(offset).put<int16_t>(-1).put<uint16_t>(2).put<uint16_t>(static_cast<uint16_t>(name.size() - 1)).put_text(name);
}

TEST(SquashfsDirectory, RunsOfEntriesAreRead) {
  TextStream stream;
  put_run(stream, 2, 10);
  put_entry(stream, "a");
  put_entry(stream, "bb", 64);
  put_run(stream, 1, 20);
  put_entry(stream, "c");
  DirectoryReader reader(stream, 0, stream.size());
  DirectoryEntry entry;
  ASSERT_TRUE(reader.next(entry).take());
  EXPECT_EQ(entry.name, "a");
  EXPECT_EQ(entry.number, 9u);
  EXPECT_EQ(entry.inode.block(), 7u);
  EXPECT_EQ(entry.inode.offset(), 32u);
  EXPECT_EQ(entry.position, 12u);
  ASSERT_TRUE(reader.next(entry).take());
  EXPECT_EQ(entry.name, "bb");
  ASSERT_TRUE(reader.next(entry).take());
  EXPECT_EQ(entry.number, 19u);
  EXPECT_FALSE(reader.next(entry).take());
}

TEST(SquashfsDirectory, WhatIsNoNameIsRefused) {
  for (const std::string& name : {std::string("."), std::string(".."), std::string("a/b"), std::string("a\0b", 3)}) {
    TextStream stream;
    put_run(stream, 1, 10);
    put_entry(stream, name);
    DirectoryReader reader(stream, 0, stream.size());
    DirectoryEntry entry;
    EXPECT_EQ(reader.next(entry).code(), EIO) << name;
  }
}

TEST(SquashfsDirectory, EntriesStayInsideOfTheirList) {
  TextStream stream;
  put_run(stream, 1, 10);
  put_entry(stream, "name");
  DirectoryEntry entry;
  DirectoryReader reader(stream, 0, stream.size() - 1);
  EXPECT_EQ(reader.next(entry).code(), EIO);
  TextStream many;
  put_run(many, 257, 10);
  DirectoryReader too_many(many, 0, 1000);
  EXPECT_EQ(too_many.next(entry).code(), EIO);
}

TEST(SquashfsInode, AFileSaysWhereItsBytesAre) {
  TextStream stream;
  stream.put<uint16_t>(2).put<uint16_t>(0644).put<uint16_t>(1).put<uint16_t>(2).put<uint32_t>(1000).put<uint32_t>(5);
  stream.put<uint32_t>(96).put<uint32_t>(3).put<uint32_t>(100).put<uint32_t>(300'000);
  const InodeRecord record = read_inode(stream).take();
  EXPECT_EQ(record.kind, Kind::Regular);
  EXPECT_EQ(record.permissions, 0644u);
  EXPECT_EQ(record.size, 300'000u);
  EXPECT_TRUE(record.has_fragment());
  Layout s;
  s.block_bits = 17;
  s.block_size = 1 << 17;
  EXPECT_EQ(record.block_count(s), 2u);
  InodeRecord whole = record;
  whole.fragment = kNone;
  EXPECT_EQ(whole.block_count(s), 3u);
}

TEST(SquashfsInode, UnknownTypesAndLongTargetsAreRefused) {
  for (const uint16_t type : {uint16_t{0}, uint16_t{15}, uint16_t{999}}) {
    TextStream stream;
    stream.put<uint16_t>(type).put_text(std::string(60, '\0'));
    EXPECT_EQ(read_inode(stream).code(), EIO);
  }
  TextStream link;
  link.put<uint16_t>(3).put_text(std::string(14, '\0')).put<uint32_t>(1).put<uint32_t>(4096);
  EXPECT_EQ(read_inode(link).code(), EIO);
}

TEST(SquashfsAttributes, NamesGetTheirPrefixAndValuesMayBeElsewhere) {
  TextStream stream;
  stream.put<uint16_t>(0).put<uint16_t>(1).put_text("x").put<uint32_t>(5).put_text("value");
  stream.put<uint16_t>(0x102).put<uint16_t>(3).put_text("sel").put<uint32_t>(8).put<uint64_t>(0x12345);
  AttributeName name;
  ASSERT_TRUE(read_attribute_name(stream, name).ok());
  EXPECT_EQ(name.view(), "user.x");
  EXPECT_EQ(read_attribute_value(stream).take().view(), "value");
  ASSERT_TRUE(read_attribute_name(stream, name).ok());
  EXPECT_EQ(name.view(), "security.sel");
  ASSERT_TRUE(name.is_elsewhere);
  EXPECT_EQ(skip_attribute_value(stream, true).take().raw, 0x12345u);
}

}  // namespace

}  // namespace umk::squashfs

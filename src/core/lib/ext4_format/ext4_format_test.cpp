#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "core/lib/ext4_format/attributes.h"
#include "core/lib/ext4_format/checksum.h"
#include "core/lib/ext4_format/directory_block.h"
#include "core/lib/ext4_format/extent_node.h"
#include "core/lib/ext4_format/group_descriptor.h"
#include "core/lib/ext4_format/htree.h"
#include "core/lib/ext4_format/inode_record.h"
#include "core/lib/ext4_format/journal_format.h"

namespace umk::ext4 {
namespace {

ConstBytes bytes_of(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

Geometry small_geometry(bool checksums) {
  Geometry g;
  g.block_bits = 10;
  g.block_size = 1024;
  g.block_count = 10000;
  g.first_data_block = 1;
  g.blocks_per_group = 8192;
  g.inodes_per_group = 512;
  g.group_count = 2;
  g.inode_count = 1024;
  g.inode_size = 256;
  g.descriptor_size = 64;
  g.incompat = incompat::kFileType | incompat::kExtents | incompat::k64Bit;
  g.ro_compat = (checksums ? ro_compat::kMetadataChecksum : 0) | ro_compat::kHugeFile;
  return g;
}

uint32_t random_state = 1;
uint32_t random_below(uint32_t bound) {
  random_state = random_state * 1664525 + 1013904223;
  return (random_state >> 8) % bound;
}

// "123456789" is the check input of the CRC catalogues; ext4 does not invert at the end.
TEST(Checksum, AgreesWithTheCatalogue) {
  EXPECT_EQ(~crc32c(~0u, bytes_of("123456789")), 0xe3069283u);
  EXPECT_EQ(crc16(0xffff, bytes_of("123456789")), 0x4b37u);
  const std::string text(1000, 'x');
  EXPECT_EQ(crc32c(crc32c(7, bytes_of(text).first(313)), bytes_of(text).subspan(313)), crc32c(7, bytes_of(text)));
}

// Values of debugfs -R "dx_hash -h VERSION -s 01234567-89ab-cdef-0123-456789abcdef NAME".
TEST(HtreeHash, AgreesWithDebugfs) {
  const std::array<uint32_t, 4> seed = {0x67452301, 0xefcdab89, 0x67452301, 0xefcdab89};
  const std::array<uint32_t, 4> none = {};
  const std::string_view length = "some longer file name that exceeds thirty-two bytes.txt";
  const std::string_view accents = "\xc3\xa9t\xc3\xa9";
  EXPECT_EQ(hash_name("hello", hash_version::kHalfMd4, seed).major, 0xa26e4a80u);
  EXPECT_EQ(hash_name("hello", hash_version::kHalfMd4, seed).minor, 0x97e5b7f7u);
  EXPECT_EQ(hash_name("a", hash_version::kHalfMd4, seed).major, 0x35dc0cc4u);
  EXPECT_EQ(hash_name(length, hash_version::kHalfMd4, seed).major, 0x71749c7eu);
  EXPECT_EQ(hash_name(accents, hash_version::kHalfMd4, seed).major, 0xff329f74u);
  EXPECT_EQ(hash_name("hello", hash_version::kTea, seed).major, 0x6f5bb1a8u);
  EXPECT_EQ(hash_name("hello", hash_version::kTea, seed).minor, 0x231917c2u);
  EXPECT_EQ(hash_name(length, hash_version::kTea, seed).major, 0xcf31fdb0u);
  EXPECT_EQ(hash_name(accents, hash_version::kTea, seed).major, 0x04d337a6u);
  EXPECT_EQ(hash_name("hello", hash_version::kLegacy, seed).major, 0x32252546u);
  EXPECT_EQ(hash_name(length, hash_version::kLegacy, seed).major, 0x85281534u);
  EXPECT_EQ(hash_name(accents, hash_version::kLegacy, seed).major, 0x70d7b7fcu);
  EXPECT_EQ(hash_name("hello", hash_version::kHalfMd4, none).major, 0x1746da32u);
  EXPECT_NE(hash_name(accents, hash_version::kHalfMd4Unsigned, seed).major, 0xff329f74u);
}

TEST(InodeTime, ReachesFrom1901To2446) {
  for (const Time time : {Time{0, 0}, Time{-1, 999'999'999}, Time{INT32_MIN, 1}, Time{INT32_MAX, 5}, Time{int64_t{INT32_MAX} + 1, 5}, Time{4'294'967'296, 7},
                          Time{INT32_MAX + (int64_t{3} << 32), 0}}) {
    uint32_t low, extra;
    encode_time(time, low, extra);
    EXPECT_EQ(decode_time(low, extra), time) << time.seconds;
  }
}

TEST(InodeRecord, KeepsWhatIsSet) {
  const Geometry g = small_geometry(true);
  std::vector<std::byte> raw(256);
  InodeRecord inode(raw);
  inode.set_extra_size(32);
  inode.set_uid(100'000);
  inode.set_gid(70'000);
  inode.set_size(uint64_t{5} << 40);
  inode.set_attribute_block(uint64_t{7} << 33);
  inode.set_birth_time({5'000'000'000, 123});
  inode.set_device(300, 70'000);
  EXPECT_TRUE(inode.set_sectors(g, uint64_t{1} << 40));
  EXPECT_EQ(inode.sectors(g), uint64_t{1} << 40);
  EXPECT_TRUE(inode.set_sectors(g, uint64_t{1} << 48));
  EXPECT_TRUE(inode.flags() & inode_flags::kHugeFile);
  EXPECT_EQ(inode.sectors(g), uint64_t{1} << 48);
  EXPECT_EQ(inode.uid(), 100'000u);
  EXPECT_EQ(inode.gid(), 70'000u);
  EXPECT_EQ(inode.size(), uint64_t{5} << 40);
  EXPECT_EQ(inode.attribute_block(), uint64_t{7} << 33);
  EXPECT_EQ(inode.birth_time()->seconds, 5'000'000'000);
  uint32_t major, minor;
  inode.device(major, minor);
  EXPECT_EQ(major, 300u);
  EXPECT_EQ(minor, 70'000u);
  EXPECT_EQ(inode.attribute_space().size(), 96u);
  inode.seal(g, 12);
  EXPECT_TRUE(inode.is_intact(g, 12));
  EXPECT_FALSE(inode.is_intact(g, 13));
  raw[200] = std::byte{1};
  EXPECT_FALSE(inode.is_intact(g, 12));
  put16(raw, 0x80, 200);
  EXPECT_FALSE(inode.has_sane_extra_size());
  EXPECT_TRUE(inode.attribute_space().empty());
}

TEST(Bitmap, FindsBits) {
  std::vector<std::byte> bitmap(128);
  EXPECT_EQ(next_set_bit(bitmap, 0, 1000), 1000u);
  mark_range(bitmap, 3, 500);
  EXPECT_EQ(next_clear_bit(bitmap, 3, 1000), 503u);
  EXPECT_EQ(next_clear_bit(bitmap, 0, 1000), 0u);
  EXPECT_EQ(next_set_bit(bitmap, 0, 1000), 3u);
  EXPECT_EQ(count_clear_bits(bitmap, 1000), 500u);
  clear_bit(bitmap, 64);
  EXPECT_EQ(next_clear_bit(bitmap, 3, 1000), 64u);
}

TEST(ExtentNode, KeepsEntriesSortedAndFindsThem) {
  const Geometry g = small_geometry(true);
  std::vector<std::byte> raw(1024);
  ExtentNode node(raw);
  node.initialise(0, ExtentNode::block_maximum(g));
  for (uint32_t i = 0; i < 10; ++i) {
    node.insert(i);
    node.set_extent(i, {i * 100, 50, 1000 + i * 60, i % 2 == 0});
  }
  EXPECT_TRUE(node.is_sane(g, 0, 0, UINT32_MAX));
  EXPECT_EQ(node.find(250), 2u);
  EXPECT_FALSE(node.extent(3).initialised);
  EXPECT_EQ(node.extent(3).length, 50u);
  node.erase(0);
  EXPECT_FALSE(node.find(50).has_value());
  node.seal(g, 5);
  EXPECT_TRUE(node.is_intact(g, 5));
  node.set_logical(3, 5);
  EXPECT_FALSE(node.is_intact(g, 5));
  EXPECT_FALSE(node.is_sane(g, 0, 0, UINT32_MAX));
  node.set_logical(3, 400);
  node.set_extent(8, {900, 50, 9990, true});
  EXPECT_FALSE(node.is_sane(g, 0, 0, UINT32_MAX)) << "an extent reaches past the end of the filesystem";
}

TEST(DirectoryBlock, AgreesWithAModel) {
  for (const bool checksums : {false, true}) {
    const Geometry g = small_geometry(checksums);
    std::vector<std::byte> raw(1024);
    DirectoryBlock block(g, raw);
    block.initialise_first(12, 2);
    EXPECT_TRUE(block.begins_with_dots());
    EXPECT_TRUE(block.is_empty());
    std::vector<std::string> model;
    for (int step = 0; step < 3000; ++step) {
      const std::string name(1 + random_below(60), static_cast<char>('a' + random_below(26)));
      const auto known = std::find(model.begin(), model.end(), name);
      const auto found = block.find(name);
      ASSERT_EQ(found.has_value(), known != model.end());
      if (found) {
        block.remove(found->offset);
        model.erase(known);
      } else if (block.insert(13 + random_below(100), 1, name)) {
        model.push_back(name);
      } else {
        ASSERT_GT(model.size(), 5u);
      }
      ASSERT_TRUE(block.is_sane(g.inode_count));
    }
    EXPECT_FALSE(block.is_empty());
    size_t listed = 0;
    for (auto entry = block.next(0); entry; entry = block.after(*entry)) ++listed;
    EXPECT_EQ(listed, model.size() + 2);
    block.seal(99);
    EXPECT_TRUE(block.is_intact(99));
  }
}

TEST(HtreeNode, FindsInsertsAndSplits) {
  const Geometry g = small_geometry(true);
  std::vector<std::byte> raw(1024), other_raw(1024);
  HtreeNode node(g, raw, HtreeNode::Kind::Inner), other(g, other_raw, HtreeNode::Kind::Inner);
  node.initialise_inner();
  other.initialise_inner();
  node.set_block(0, 1);
  node.set_count(1);
  for (uint32_t i = 1; i < 20; ++i) node.insert(i, i * 1000, i + 1);
  EXPECT_TRUE(node.is_sane(100));
  EXPECT_FALSE(node.is_sane(10));
  EXPECT_EQ(node.find(999), 0u);
  EXPECT_EQ(node.find(1000), 1u);
  EXPECT_EQ(node.find(UINT32_MAX), 19u);
  node.move_tail(10, other);
  EXPECT_EQ(node.count(), 10u);
  EXPECT_EQ(other.count(), 10u);
  EXPECT_EQ(other.block(0), 11u);
  EXPECT_EQ(other.hash(1), 11000u);
  node.seal(3);
  EXPECT_TRUE(node.is_intact(3));
}

TEST(Attributes, ReadBackWhatWasWritten) {
  const Geometry g = small_geometry(true);
  AttributeList list;
  for (const auto& [name, value] : {std::pair{"user.a", "1"}, {"user.longer", "a value"}, {"security.selinux", ""}, {"system.posix_acl_access", "acl"}}) {
    const AttributeName split = split_attribute_name(name);
    ASSERT_TRUE(list.push_back({split.index, String::from(split.rest).take(), String::from(value).take()}).ok());
  }
  for (const AttributePlace place : {AttributePlace::Inode, AttributePlace::Block}) {
    std::vector<std::byte> raw(place == AttributePlace::Inode ? 200 : 1024);
    std::vector<const Attribute*> sorted;
    for (const Attribute& attribute : list) sorted.push_back(&attribute);
    std::sort(sorted.begin(), sorted.end(), [](const Attribute* a, const Attribute* b) { return comes_before(*a, *b); });
    write_attributes(raw, place, sorted);
    AttributeList back;
    ASSERT_TRUE(read_attributes(raw, place, back).ok());
    ASSERT_EQ(back.size(), list.size());
    for (size_t i = 0; i < back.size(); ++i) {
      EXPECT_EQ(back[i].name.view(), sorted[i]->name.view());
      EXPECT_EQ(back[i].value.view(), sorted[i]->value.view());
    }
    for (int i = 0; i < 20000; ++i) {
      std::vector<std::byte> damaged = raw;
      for (int k = 0; k < 3; ++k) damaged[random_below(static_cast<uint32_t>(raw.size()))] = static_cast<std::byte>(random_below(256));
      AttributeList any;
      (void)read_attributes(damaged, place, any).ok();
    }
    if (place == AttributePlace::Block) {
      seal_attribute_block(g, raw, 77);
      EXPECT_TRUE(attribute_block_is_intact(g, raw, 77));
      EXPECT_FALSE(attribute_block_is_intact(g, raw, 78));
    }
  }
}

TEST(Attributes, AclsKeepTheirEntries) {
  std::string acl("\2\0\0\0" "\1\0\7\0\xff\xff\xff\xff" "\2\0\5\0\xe8\3\0\0" "\4\0\5\0\xff\xff\xff\xff" "\x10\0\5\0\xff\xff\xff\xff" "\x20\0\0\0\xff\xff\xff\xff", 44);
  const String disk = acl_to_disk(acl).take();
  EXPECT_EQ(disk.size(), 4u + 4 * 4 + 8);
  EXPECT_EQ(acl_from_disk(disk.view()).take().view(), acl);
  EXPECT_EQ(acl_to_disk("\1\0\0\0").code(), EINVAL);
  EXPECT_EQ(acl_to_disk(acl.substr(0, 43)).code(), EINVAL);
}

TEST(Journal, TagsAndRevocationsReadBack) {
  for (const uint32_t incompat : {0u, journal_feature::k64Bit, journal_feature::k64Bit | journal_feature::kChecksumV3, journal_feature::kChecksumV2,
                                  journal_feature::kChecksumV2 | journal_feature::k64Bit}) {
    JournalSuperblock s;
    s.block_size = 1024;
    s.blocks = 1024;
    s.first = 1;
    s.is_version2 = true;
    s.incompat = incompat;
    std::vector<std::byte> block(1024);
    s.begin(block, JournalBlock::Descriptor, 9);
    EXPECT_EQ(s.kind_of(block, 9), JournalBlock::Descriptor);
    EXPECT_FALSE(s.kind_of(block, 10));
    size_t offset = JournalSuperblock::kFirstTag;
    const uint32_t count = s.tags_per_block();
    for (uint32_t i = 0; i < count; ++i) {
      JournalTag tag;
      tag.block = 100 + i;
      tag.is_escaped = i % 3 == 0;
      tag.is_last = i == count - 1;
      tag.checksum = i;
      s.write_tag(block, offset, tag, i == 0);
    }
    s.seal(block);
    EXPECT_TRUE(s.is_intact(block));
    offset = JournalSuperblock::kFirstTag;
    for (uint32_t i = 0; i < count; ++i) {
      const auto tag = s.read_tag(block, offset);
      ASSERT_TRUE(tag);
      EXPECT_EQ(tag->block, 100u + i);
      EXPECT_EQ(tag->is_escaped, i % 3 == 0);
      EXPECT_EQ(tag->is_last, i == count - 1);
      EXPECT_EQ(tag->checksum, i);
    }
    s.begin(block, JournalBlock::Revoke, 9);
    for (uint32_t i = 0; i < s.revokes_per_block(); ++i) s.write_revoke(block, i, 5 + i);
    s.seal(block);
    uint64_t expected = 5;
    EXPECT_TRUE(s.read_revokes(block, [&](uint64_t number) { EXPECT_EQ(number, expected++); }));
    EXPECT_EQ(expected, 5u + s.revokes_per_block());
    s.write_commit(block, 9, 1, 2);
    EXPECT_TRUE(s.commit_is_intact(block));
    EXPECT_EQ(s.next(1023), 1u);
  }
}

TEST(Superblock, RefusesWhatCannotBe) {
  std::vector<std::byte> raw(1024);
  std::string_view reason;
  EXPECT_EQ(Geometry::parse(raw, reason).code(), EINVAL);
  for (int i = 0; i < 200000; ++i) {
    for (int k = 0; k < 20; ++k) put32(raw, random_below(256) * 4, random_below(3) ? random_below(5) : random_below(1 << 24));
    put16(raw, 0x38, kSuperblockMagic);
    put32(raw, 0x64, get32(raw, 0x64) & ~ro_compat::kMetadataChecksum);
    const Result<Geometry> parsed = Geometry::parse(raw, reason);
    if (!parsed.ok()) continue;
    EXPECT_LE(parsed.value().group_count, UINT32_MAX / 64);
  }
}

TEST(Superblock, NamesFeatures) {
  char text[200];
  BufferSink sink(text);
  name_features(sink, FeatureSet::Incompatible, incompat::kInlineData | incompat::kEncrypt | 1u << 30);
  EXPECT_EQ(sink.view(), "inline_data encrypt FEATURE_I30");
}

}  // namespace
}  // namespace umk::ext4

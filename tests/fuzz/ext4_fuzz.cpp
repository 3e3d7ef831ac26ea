// Any bytes as the structures of an ext4 filesystem: the first byte chooses which. Nothing outside of the input is read, and every walk ends.
#include <vector>

#include "core/lib/ext4_format/attributes.h"
#include "core/lib/ext4_format/directory_block.h"
#include "core/lib/ext4_format/extent_node.h"
#include "core/lib/ext4_format/group_descriptor.h"
#include "core/lib/ext4_format/htree.h"
#include "core/lib/ext4_format/inode_record.h"
#include "core/lib/ext4_format/journal_format.h"
#include "fuzz/fuzz.h"

using namespace umk;
using namespace umk::ext4;

namespace {

Geometry geometry() {
  Geometry g;
  g.block_bits = 12;
  g.block_size = 4096;
  g.block_count = 1 << 20;
  g.blocks_per_group = 32768;
  g.inodes_per_group = 8192;
  g.group_count = 32;
  g.inode_count = 32 * 8192;
  g.inode_size = 256;
  g.descriptor_size = 64;
  g.incompat = incompat::kFileType | incompat::kExtents;
  g.ro_compat = ro_compat::kHugeFile;
  return g;
}

void use_extents(const Geometry& g, Bytes block) {
  ExtentNode node(block);
  if (!node.is_sane(g, std::nullopt, 0, uint64_t{1} << 32)) return;
  for (uint32_t i = 0; i < node.entries(); ++i) FUZZ_CHECK(node.is_leaf() ? node.extent(i).physical < g.block_count : node.index(i).block < g.block_count);
  (void)node.find(1000);
  if (!node.is_full()) node.insert(0);
}

void use_directory(const Geometry& g, Bytes bytes) {
  DirectoryBlock block(g, bytes);
  if (!block.is_sane(g.inode_count)) return;
  size_t count = 0;
  for (auto entry = block.next(0); entry; entry = block.next(entry->offset + 1)) {
    FUZZ_CHECK(++count <= bytes.size() / 8);
    FUZZ_CHECK(block.find(entry->name).has_value());
  }
  if (const auto first = block.next(0)) block.remove(first->offset);
  (void)block.insert(5, 1, "name");
  FUZZ_CHECK(block.is_sane(g.inode_count));
}

void use_htree(const Geometry& g, Bytes bytes) {
  for (const auto kind : {HtreeNode::Kind::Root, HtreeNode::Kind::Inner}) {
    HtreeNode node(g, bytes, kind);
    if (kind == HtreeNode::Kind::Root && !node.is_sane_root(true)) continue;
    if (!node.is_sane(1000)) continue;
    FUZZ_CHECK(node.find(0x1234) < node.count());
    if (!node.is_full()) node.insert(node.count(), 0xffffffff, 5);
  }
}

void use_journal(ConstBytes bytes) {
  std::string_view reason;
  umk::Result<JournalSuperblock> parsed = JournalSuperblock::parse(bytes, 4096, 1 << 16, reason);
  JournalSuperblock s = parsed.ok() ? parsed.take() : JournalSuperblock{};
  s.block_size = 4096;
  size_t offset = JournalSuperblock::kFirstTag, count = 0;
  while (s.read_tag(bytes, offset)) FUZZ_CHECK(++count < 4096);
  (void)s.read_revokes(bytes, [](uint64_t) {});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::vector<std::byte> block(4096);
  copy_bytes(block, std::as_bytes(std::span(data + 1, size - 1 < 4096 ? size - 1 : 4096)));
  const Geometry g = geometry();
  std::string_view reason;
  switch (data[0] % 8) {
    case 0: {
      umk::Result<Geometry> parsed = Geometry::parse(block, reason);
      if (parsed.ok()) FUZZ_CHECK(parsed.value().group_blocks(parsed.value().group_count - 1) > 0);
      break;
    }
    case 1: use_extents(g, block); break;
    case 2: use_directory(g, block); break;
    case 3: use_htree(g, block); break;
    case 4:
    case 5: {
      AttributeList list;
      const bool in_block = data[0] % 8 == 4;
      (void)read_attributes(in_block ? ConstBytes(block) : ConstBytes(block).first(100), in_block ? AttributePlace::Block : AttributePlace::Inode, list);
      for (const Attribute& attribute : list) (void)acl_from_disk(attribute.value.view());
      break;
    }
    case 6: use_journal(block); break;
    default: {
      InodeRecord inode(Bytes(block).first(256));
      (void)inode.attribute_space();
      (void)inode.birth_time();
      (void)inode.sectors(g);
      GroupDescriptor descriptor(Bytes(block).first(64));
      if (descriptor.is_sane(g, 1)) FUZZ_CHECK(descriptor.inode_table() < g.block_count);
    }
  }
  return 0;
}

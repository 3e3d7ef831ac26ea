// Extended attributes: lists of entries in the space behind an inode's fields, and in a block that inodes with the same attributes may share.
//
// Entries grow from the start, values from the end. In a block entries are sorted by name index, length of the name, and name.
//
// Linux, Documentation/filesystems/ext4/attributes.rst.
#pragma once

#include <string_view>

#include "core/base/string.h"
#include "core/lib/ext4_format/superblock.h"

namespace umk::ext4 {

struct Attribute {
  uint8_t index = 0;  // stands for the start of the name
  String name;        // the rest
  String value;

  Result<Attribute> clone() const { return Attribute{index, TRY(name.clone()), TRY(value.clone())}; }
};
using AttributeList = Vector<Attribute>;

namespace attribute_index {
inline constexpr uint8_t kUser = 1, kAclAccess = 2, kAclDefault = 3, kTrusted = 4, kSecurity = 6, kSystem = 7;
}

/// Splits "user.x" into an index and "x"; index 0 for a name that ext4 cannot store.
struct AttributeName {
  uint8_t index;
  std::string_view rest;
};
AttributeName split_attribute_name(std::string_view name);
/// "user." and so on; empty for an index that is not known.
std::string_view attribute_prefix(uint8_t index);

/// Where attributes lie: the space in an inode (with its magic), or a whole block.
enum class AttributePlace { Inode, Block };

/// Adds what is stored in `space` to `list`. EUCLEAN when it is damaged; attributes whose value lies in an inode of its own are passed over.
Result<void> read_attributes(ConstBytes space, AttributePlace place, AttributeList& list);
/// How much of `space` the attributes need.
size_t attribute_bytes(const Attribute& attribute);
inline constexpr size_t attribute_overhead(AttributePlace place) { return (place == AttributePlace::Inode ? 4 : 32) + 4; }
/// Writes exactly these, which fit. A block gets a reference count of 1 and must be sealed.
void write_attributes(Bytes space, AttributePlace place, std::span<const Attribute* const> sorted);

/// The order of entries in a block.
bool comes_before(const Attribute& a, const Attribute& b);

// Blocks.
inline uint32_t attribute_references(ConstBytes block) { return get32(block, 4); }
inline void set_attribute_references(Bytes block, uint32_t count) { put32(block, 4, count); }
bool is_attribute_block(ConstBytes block);
bool attribute_block_is_intact(const Geometry& geometry, ConstBytes block, uint64_t number);
void seal_attribute_block(const Geometry& geometry, Bytes block, uint64_t number);

/// POSIX ACLs: the form of the system call (version 2, an id in each entry) and the one on disk (version 1, ids where they mean something).
/// EINVAL for what is no ACL.
Result<String> acl_to_disk(std::string_view acl);
Result<String> acl_from_disk(std::string_view acl);

}  // namespace umk::ext4

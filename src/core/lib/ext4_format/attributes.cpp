#include "core/lib/ext4_format/attributes.h"

#include "core/abi/errno.h"
#include "core/lib/ext4_format/checksum.h"

namespace umk::ext4 {

namespace {

constexpr uint32_t kMagic = 0xea020000;
constexpr size_t kEntryHeader = 16;
constexpr size_t kBlockHeader = 32;
constexpr size_t kChecksum = 0x10;

size_t round4(size_t size) { return (size + 3) & ~size_t{3}; }

struct Prefix {
  uint8_t index;
  std::string_view text;
  bool is_whole_name;
};
constexpr Prefix kPrefixes[] = {{attribute_index::kUser, "user.", false},
                                {attribute_index::kAclAccess, "system.posix_acl_access", true},
                                {attribute_index::kAclDefault, "system.posix_acl_default", true},
                                {attribute_index::kTrusted, "trusted.", false},
                                {attribute_index::kSecurity, "security.", false},
                                {attribute_index::kSystem, "system.", false}};

std::string_view as_text(ConstBytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }
ConstBytes as_bytes_of(std::string_view text) { return std::as_bytes(std::span(text.data(), text.size())); }

uint32_t entry_hash(const Attribute& attribute) {
  uint32_t hash = 0;
  for (const char c : attribute.name.view()) hash = (hash << 5) ^ (hash >> 27) ^ static_cast<unsigned char>(c);
  const ConstBytes value = as_bytes_of(attribute.value.view());
  for (size_t i = 0; i < value.size(); i += 4) {
    uint32_t word = 0;
    __builtin_memcpy(&word, value.data() + i, value.size() - i < 4 ? value.size() - i : 4);
    hash = (hash << 16) ^ (hash >> 16) ^ word;
  }
  return hash;
}

uint32_t block_sum(const Geometry& geometry, ConstBytes block, uint64_t number) {
  uint32_t crc = crc32c_number(geometry.checksum_seed, number);
  crc = crc32c(crc, block.first(kChecksum));
  crc = crc32c_number(crc, uint32_t{0});
  return crc32c(crc, block.subspan(kChecksum + 4));
}

// ACL entries: tag, permissions, and an id for named users (2) and groups (8).
constexpr uint16_t kAclUser = 2, kAclGroup = 8;
constexpr uint32_t kAclVersionInMemory = 2, kAclVersionOnDisk = 1;
bool has_acl_id(uint16_t tag) { return tag == kAclUser || tag == kAclGroup; }
bool is_acl_tag(uint16_t tag) { return tag == 1 || tag == 2 || tag == 4 || tag == 8 || tag == 0x10 || tag == 0x20; }

Result<void> append_number(String& text, uint64_t number, size_t bytes) {
  char raw[8];
  __builtin_memcpy(raw, &number, 8);
  return text.append(std::string_view(raw, bytes));
}

}  // namespace

AttributeName split_attribute_name(std::string_view name) {
  for (const Prefix& prefix : kPrefixes) {
    if (prefix.is_whole_name ? name == prefix.text : name.starts_with(prefix.text)) return {prefix.index, name.substr(prefix.text.size())};
  }
  return {0, name};
}

std::string_view attribute_prefix(uint8_t index) {
  for (const Prefix& prefix : kPrefixes)
    if (prefix.index == index) return prefix.text;
  return {};
}

Result<void> read_attributes(ConstBytes space, AttributePlace place, AttributeList& list) {
  const size_t header = place == AttributePlace::Inode ? 4 : kBlockHeader;
  if (space.size() < header + 4 || get32(space, 0) != kMagic) {
    // An inode whose space was never used has no magic number.
    return place == AttributePlace::Inode ? Result<void>{} : error(EUCLEAN);
  }
  if (place == AttributePlace::Block && get32(space, 8) != 1) return error(EUCLEAN);
  // Offsets of values count from the first entry in an inode, from the start of a block.
  const ConstBytes base = place == AttributePlace::Inode ? space.subspan(4) : space;
  for (size_t at = header;;) {
    if (at + 4 > space.size()) return error(EUCLEAN);
    if (get32(space, at) == 0) return {};
    const size_t name_length = get8(space, at);
    if (at + kEntryHeader + name_length > space.size()) return error(EUCLEAN);
    const uint32_t value_offset = get16(space, at + 2), value_inode = get32(space, at + 4), value_size = get32(space, at + 8);
    if (value_inode == 0) {
      if (value_size != 0 && (value_offset > base.size() || value_size > base.size() - value_offset)) return error(EUCLEAN);
      Attribute attribute;
      attribute.index = get8(space, at + 1);
      attribute.name = TRY(String::from(as_text(space.subspan(at + kEntryHeader, name_length))));
      attribute.value = TRY(String::from(value_size ? as_text(base.subspan(value_offset, value_size)) : std::string_view{}));
      TRY(list.push_back(std::move(attribute)));
    }
    at += round4(kEntryHeader + name_length);
  }
}

size_t attribute_bytes(const Attribute& attribute) { return round4(kEntryHeader + attribute.name.size()) + round4(attribute.value.size()); }

bool comes_before(const Attribute& a, const Attribute& b) {
  if (a.index != b.index) return a.index < b.index;
  if (a.name.size() != b.name.size()) return a.name.size() < b.name.size();
  return a.name.view() < b.name.view();
}

void write_attributes(Bytes space, AttributePlace place, std::span<const Attribute* const> sorted) {
  fill_zero(space);
  if (sorted.empty() && place == AttributePlace::Inode) return;
  put32(space, 0, kMagic);
  size_t at = place == AttributePlace::Inode ? 4 : kBlockHeader;
  const size_t base = place == AttributePlace::Inode ? 4 : 0;
  size_t value_at = space.size();
  uint32_t all = 0;
  for (const Attribute* attribute : sorted) {
    const std::string_view name = attribute->name.view(), value = attribute->value.view();
    value_at -= round4(value.size());
    CHECK(at + round4(kEntryHeader + name.size()) + 4 <= value_at, "the attributes fit");
    const uint32_t hash = entry_hash(*attribute);
    put8(space, at, static_cast<uint8_t>(name.size()));
    put8(space, at + 1, attribute->index);
    put16(space, at + 2, static_cast<uint16_t>(value.empty() ? 0 : value_at - base));
    put32(space, at + 8, static_cast<uint32_t>(value.size()));
    put32(space, at + 12, hash);
    copy_bytes(space.subspan(at + kEntryHeader), as_bytes_of(name));
    copy_bytes(space.subspan(value_at), as_bytes_of(value));
    at += round4(kEntryHeader + name.size());
    all = (all << 16) ^ (all >> 16) ^ hash;
  }
  if (place == AttributePlace::Block) {
    put32(space, 4, 1);
    put32(space, 8, 1);
    put32(space, 12, all);
  }
}

bool is_attribute_block(ConstBytes block) { return block.size() >= kBlockHeader && get32(block, 0) == kMagic; }

bool attribute_block_is_intact(const Geometry& geometry, ConstBytes block, uint64_t number) {
  return !geometry.has_checksums() || get32(block, kChecksum) == block_sum(geometry, block, number);
}

void seal_attribute_block(const Geometry& geometry, Bytes block, uint64_t number) {
  if (geometry.has_checksums()) put32(block, kChecksum, block_sum(geometry, block, number));
}

Result<String> acl_to_disk(std::string_view acl) {
  const ConstBytes in = as_bytes_of(acl);
  if (in.size() < 4 || (in.size() - 4) % 8 != 0 || get32(in, 0) != kAclVersionInMemory) return error(EINVAL);
  String out;
  TRY(append_number(out, kAclVersionOnDisk, 4));
  for (size_t at = 4; at < in.size(); at += 8) {
    const uint16_t tag = get16(in, at), permissions = get16(in, at + 2);
    if (!is_acl_tag(tag) || permissions > 7) return error(EINVAL);
    TRY(append_number(out, tag, 2));
    TRY(append_number(out, permissions, 2));
    if (has_acl_id(tag)) TRY(append_number(out, get32(in, at + 4), 4));
  }
  return out;
}

Result<String> acl_from_disk(std::string_view acl) {
  const ConstBytes in = as_bytes_of(acl);
  if (in.size() < 4 || get32(in, 0) != kAclVersionOnDisk) return error(EINVAL);
  String out;
  TRY(append_number(out, kAclVersionInMemory, 4));
  for (size_t at = 4; at < in.size();) {
    if (in.size() - at < 4) return error(EINVAL);
    const uint16_t tag = get16(in, at);
    if (!is_acl_tag(tag) || (has_acl_id(tag) && in.size() - at < 8)) return error(EINVAL);
    TRY(append_number(out, tag, 2));
    TRY(append_number(out, get16(in, at + 2), 2));
    TRY(append_number(out, has_acl_id(tag) ? get32(in, at + 4) : UINT32_MAX, 4));
    at += has_acl_id(tag) ? 8 : 4;
  }
  return out;
}

}  // namespace umk::ext4

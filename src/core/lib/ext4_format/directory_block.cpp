#include "core/lib/ext4_format/directory_block.h"

#include "core/lib/ext4_format/checksum.h"

namespace umk::ext4 {

namespace {
constexpr uint8_t kTailType = 0xde;
constexpr uint32_t kTypeModes[] = {0, 0100000, 0040000, 0020000, 0060000, 0010000, 0140000, 0120000};
constexpr uint8_t kDirectory = 2;
}  // namespace

uint8_t file_type_code(uint32_t mode) {
  for (uint8_t code = 1; code < std::size(kTypeModes); ++code)
    if (kTypeModes[code] == (mode & 0170000)) return code;
  return 0;
}

uint32_t mode_of_type_code(uint8_t code) { return code < std::size(kTypeModes) ? kTypeModes[code] : 0; }

bool DirectoryBlock::is_entry_sane(uint32_t offset) const {
  const uint32_t length = get16(bytes_, offset + 4);
  return length >= 8 && length % 4 == 0 && length <= entries_end() - offset && (get32(bytes_, offset) == 0 || entry_size(get8(bytes_, offset + 6)) <= length) &&
         (entries_end() - offset - length >= 8 || offset + length == entries_end());
}

bool DirectoryBlock::is_sane(uint32_t inode_count) const {
  const uint32_t end = entries_end();
  for (uint32_t offset = 0; offset < end;) {
    if (!is_entry_sane(offset)) return false;
    const uint32_t inode = get32(bytes_, offset);
    if (inode > inode_count || (inode != 0 && get8(bytes_, offset + 6) == 0)) return false;
    offset += get16(bytes_, offset + 4);
  }
  return true;
}

DirectoryEntry DirectoryBlock::at(uint32_t offset) const {
  DirectoryEntry entry;
  entry.inode = get32(bytes_, offset);
  entry.record_length = get16(bytes_, offset + 4);
  entry.type = has_types_ ? get8(bytes_, offset + 7) : 0;
  const size_t length = entry.inode ? get8(bytes_, offset + 6) : 0;
  const Bytes name = bytes_.subspan(offset + 8, length);
  entry.name = {reinterpret_cast<const char*>(name.data()), name.size()};
  entry.offset = offset;
  return entry;
}

std::optional<DirectoryEntry> DirectoryBlock::first_used(uint32_t offset, uint32_t from) const {
  while (offset < entries_end()) {
    if (offset >= from && get32(bytes_, offset) != 0) return at(offset);
    offset += get16(bytes_, offset + 4);
  }
  return std::nullopt;
}

std::optional<DirectoryEntry> DirectoryBlock::next(uint32_t from) const { return first_used(0, from); }

std::optional<DirectoryEntry> DirectoryBlock::find(std::string_view name) const {
  for (uint32_t offset = 0; offset < entries_end();) {
    const uint32_t length = get16(bytes_, offset + 4);
    if (get8(bytes_, offset + 6) == name.size() && get32(bytes_, offset) != 0 && __builtin_memcmp(bytes_.data() + offset + 8, name.data(), name.size()) == 0)
      return at(offset);
    offset += length;
  }
  return std::nullopt;
}

void DirectoryBlock::put_entry(uint32_t offset, uint32_t record_length, uint32_t inode, uint8_t type, std::string_view name) {
  put32(bytes_, offset, inode);
  put16(bytes_, offset + 4, static_cast<uint16_t>(record_length));
  put8(bytes_, offset + 6, static_cast<uint8_t>(name.size()));
  put8(bytes_, offset + 7, has_types_ ? type : 0);
  copy_bytes(bytes_.subspan(offset + 8, name.size()), std::as_bytes(std::span(name.data(), name.size())));
}

bool DirectoryBlock::insert(uint32_t inode, uint8_t type, std::string_view name) {
  const uint32_t needed = entry_size(name.size());
  for (uint32_t offset = 0; offset < entries_end();) {
    const DirectoryEntry entry = at(offset);
    const uint32_t used = entry.inode ? entry_size(entry.name.size()) : 0;
    if (entry.record_length - used >= needed) {
      if (used != 0) put16(bytes_, offset + 4, static_cast<uint16_t>(used));
      put_entry(offset + used, entry.record_length - used, inode, type, name);
      return true;
    }
    offset += entry.record_length;
  }
  return false;
}

void DirectoryBlock::remove(uint32_t target) {
  const uint32_t length = get16(bytes_, target + 4);
  for (uint32_t offset = 0; offset < target;) {
    const uint32_t step = get16(bytes_, offset + 4);
    if (offset + step == target) {
      put16(bytes_, offset + 4, static_cast<uint16_t>(step + length));
      return;
    }
    offset += step;
  }
  put32(bytes_, target, 0);
}

void DirectoryBlock::set_target(uint32_t offset, uint32_t inode, uint8_t type) {
  put32(bytes_, offset, inode);
  if (has_types_) put8(bytes_, offset + 7, type);
}

void DirectoryBlock::initialise() {
  fill_zero(bytes_);
  put16(bytes_, 4, static_cast<uint16_t>(entries_end()));
  if (has_tail_) {
    put16(bytes_, entries_end() + 4, kTailSize);
    put8(bytes_, entries_end() + 7, kTailType);
  }
}

void DirectoryBlock::initialise_first(uint32_t self, uint32_t parent) {
  initialise();
  put_entry(0, 12, self, kDirectory, ".");
  put_entry(12, entries_end() - 12, parent, kDirectory, "..");
}

bool DirectoryBlock::begins_with_dots() const {
  if (bytes_.size() < 24 || get16(bytes_, 4) != 12) return false;
  const DirectoryEntry self = at(0), parent = at(12);
  return self.name == "." && parent.name == "..";
}

bool DirectoryBlock::is_empty() const {
  for (uint32_t offset = 0; offset < entries_end();) {
    const DirectoryEntry entry = at(offset);
    if (entry.inode != 0 && entry.name != "." && entry.name != "..") return false;
    offset += entry.record_length;
  }
  return true;
}

bool DirectoryBlock::is_intact(uint32_t seed) const {
  if (!has_tail_) return true;
  const uint32_t end = entries_end();
  return get32(bytes_, end) == 0 && get16(bytes_, end + 4) == kTailSize && get8(bytes_, end + 7) == kTailType &&
         get32(bytes_, end + 8) == crc32c(seed, ConstBytes(bytes_).first(end));
}

void DirectoryBlock::seal(uint32_t seed) {
  if (has_tail_) put32(bytes_, entries_end() + 8, crc32c(seed, ConstBytes(bytes_).first(entries_end())));
}

}  // namespace umk::ext4

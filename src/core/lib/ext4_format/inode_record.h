// An inode as it lies in the inode table.
//
// A view of its bytes: 128 of them, or more with `extra_size` of those in use; what follows is for extended attributes.
//
// Linux, Documentation/filesystems/ext4/inodes.rst.
#pragma once

#include <optional>

#include "core/lib/ext4_format/superblock.h"

namespace umk::ext4 {

namespace inode_flags {
inline constexpr uint32_t kSync = 0x8, kImmutable = 0x10, kAppend = 0x20, kNoDump = 0x40, kNoAccessTime = 0x80, kEncrypted = 0x800, kIndexed = 0x1000, kJournalData = 0x4000,
                          kDirSync = 0x10000, kTopDirectory = 0x20000, kHugeFile = 0x40000, kExtents = 0x80000, kVerity = 0x100000, kAttributeInode = 0x200000,
                          kInlineData = 0x10000000, kProjectInherit = 0x20000000, kCasefold = 0x40000000;
/// What FS_IOC_GETFLAGS shows and FS_IOC_SETFLAGS may change here.
inline constexpr uint32_t kVisible = 0x604bdfff;
inline constexpr uint32_t kModifiable = kSync | kImmutable | kAppend | kNoDump | kNoAccessTime | kJournalData | kDirSync | kTopDirectory;
/// What a new file takes over from its directory.
inline constexpr uint32_t kInheritedByDirectories = kSync | kNoDump | kNoAccessTime | kJournalData | kDirSync;
inline constexpr uint32_t kInheritedByFiles = kSync | kNoDump | kNoAccessTime | kJournalData;
}  // namespace inode_flags

struct Time {
  int64_t seconds = 0;
  uint32_t nanoseconds = 0;
  friend bool operator==(const Time&, const Time&) = default;
};

/// 34 bits of seconds and 30 of nanoseconds: the low half counts from 1901, the extra bits add 2^32 seconds each.
Time decode_time(uint32_t low, uint32_t extra);
void encode_time(Time time, uint32_t& low, uint32_t& extra);

class InodeRecord {
 public:
  static constexpr size_t kBlockMapSize = 60;
  static constexpr size_t kSmallSize = 128;

  explicit InodeRecord(Bytes bytes) : bytes_(bytes) {}

  uint16_t mode() const { return get16(bytes_, 0x0); }
  uint32_t uid() const { return get16(bytes_, 0x2) | uint32_t{get16(bytes_, 0x78)} << 16; }
  uint32_t gid() const { return get16(bytes_, 0x18) | uint32_t{get16(bytes_, 0x7a)} << 16; }
  uint64_t size() const { return get32(bytes_, 0x4) | uint64_t{get32(bytes_, 0x6c)} << 32; }
  uint32_t deletion_time() const { return get32(bytes_, 0x14); }
  uint16_t links() const { return get16(bytes_, 0x1a); }
  uint32_t flags() const { return get32(bytes_, 0x20); }
  uint32_t generation() const { return get32(bytes_, 0x64); }
  uint64_t attribute_block() const { return get32(bytes_, 0x68) | uint64_t{get16(bytes_, 0x76)} << 32; }
  /// Sectors of 512 bytes that the inode takes, metadata blocks included.
  uint64_t sectors(const Geometry& geometry) const;
  Bytes block_map() { return bytes_.subspan(0x28, kBlockMapSize); }
  ConstBytes block_map() const { return bytes_.subspan(0x28, kBlockMapSize); }
  Time access_time() const { return time(0x8, 0x8c); }
  Time change_time() const { return time(0xc, 0x84); }
  Time modify_time() const { return time(0x10, 0x88); }
  std::optional<Time> birth_time() const;
  /// A device's number, in the old 16-bit or the new 32-bit form.
  void device(uint32_t& major, uint32_t& minor) const;

  void set_mode(uint16_t mode) { put16(bytes_, 0x0, mode); }
  void set_uid(uint32_t uid);
  void set_gid(uint32_t gid);
  void set_size(uint64_t size);
  void set_deletion_time(uint32_t seconds) { put32(bytes_, 0x14, seconds); }
  void set_links(uint16_t links) { put16(bytes_, 0x1a, links); }
  void set_flags(uint32_t flags) { put32(bytes_, 0x20, flags); }
  void set_generation(uint32_t generation) { put32(bytes_, 0x64, generation); }
  void set_attribute_block(uint64_t block);
  /// False when the count does not fit: EFBIG.
  bool set_sectors(const Geometry& geometry, uint64_t sectors);
  void set_access_time(Time value) { set_time(0x8, 0x8c, value); }
  void set_change_time(Time value) { set_time(0xc, 0x84, value); }
  void set_modify_time(Time value) { set_time(0x10, 0x88, value); }
  void set_birth_time(Time value) { set_time(0x90, 0x94, value); }
  void set_device(uint32_t major, uint32_t minor);
  void set_extra_size(uint16_t size) {
    if (bytes_.size() > kSmallSize) put16(bytes_, 0x80, size);
  }

  /// Bytes beyond the first 128 that hold fields; 0 when the record says something impossible.
  uint32_t extra_size() const;
  bool has_sane_extra_size() const;
  /// What lies behind the fields, for extended attributes; empty when there is no room.
  Bytes attribute_space();

  bool is_intact(const Geometry& geometry, uint32_t number) const;
  void seal(const Geometry& geometry, uint32_t number);

 private:
  /// Whether the field that ends at `end` exists.
  bool has_field(size_t end) const { return bytes_.size() > kSmallSize && end <= kSmallSize + extra_size(); }
  Time time(size_t low, size_t extra) const { return decode_time(get32(bytes_, low), has_field(extra + 4) ? get32(bytes_, extra) : 0); }
  void set_time(size_t low, size_t extra, Time value);
  uint32_t sum(const Geometry& geometry, uint32_t number) const;

  Bytes bytes_;
};

}  // namespace umk::ext4

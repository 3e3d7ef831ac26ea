#include "core/lib/ext4_format/inode_record.h"

#include "core/lib/ext4_format/checksum.h"

namespace umk::ext4 {

namespace {

constexpr size_t kChecksumLow = 0x7c, kChecksumHigh = 0x82;

}  // namespace

Time decode_time(uint32_t low, uint32_t extra) {
  Time time;
  time.seconds = static_cast<int32_t>(low) + (static_cast<int64_t>(extra & 3) << 32);
  time.nanoseconds = extra >> 2;
  if (time.nanoseconds >= 1'000'000'000) time.nanoseconds = 0;
  return time;
}

void encode_time(Time time, uint32_t& low, uint32_t& extra) {
  constexpr int64_t kFirst = INT32_MIN, kLast = INT32_MAX + (int64_t{3} << 32);
  const int64_t seconds = time.seconds < kFirst ? kFirst : time.seconds > kLast ? kLast : time.seconds;
  low = static_cast<uint32_t>(seconds);
  const int64_t above = seconds - static_cast<int32_t>(low);
  extra = static_cast<uint32_t>(above >> 32 & 3) | time.nanoseconds << 2;
}

uint64_t InodeRecord::sectors(const Geometry& geometry) const {
  uint64_t count = get32(bytes_, 0x1c);
  if (!geometry.has_ro_compat(ro_compat::kHugeFile)) return count;
  count |= uint64_t{get16(bytes_, 0x74)} << 32;
  return flags() & inode_flags::kHugeFile ? count << (geometry.block_bits - 9) : count;
}

bool InodeRecord::set_sectors(const Geometry& geometry, uint64_t sectors) {
  uint32_t bits = flags() & ~inode_flags::kHugeFile;
  const bool huge = geometry.has_ro_compat(ro_compat::kHugeFile);
  if (sectors > UINT32_MAX && !huge) return false;
  if (sectors >> 48) {
    sectors >>= geometry.block_bits - 9;
    if (sectors >> 48) return false;
    bits |= inode_flags::kHugeFile;
  }
  put32(bytes_, 0x1c, static_cast<uint32_t>(sectors));
  if (huge) put16(bytes_, 0x74, static_cast<uint16_t>(sectors >> 32));
  set_flags(bits);
  return true;
}

std::optional<Time> InodeRecord::birth_time() const {
  if (!has_field(0x94)) return std::nullopt;
  return decode_time(get32(bytes_, 0x90), has_field(0x98) ? get32(bytes_, 0x94) : 0);
}

void InodeRecord::set_time(size_t low, size_t extra, Time value) {
  if (low >= kSmallSize && !has_field(low + 4)) return;
  uint32_t low_bits, extra_bits;
  if (!has_field(extra + 4)) {
    // Without the extra bits times end in 2038.
    if (value.seconds > INT32_MAX) value.seconds = INT32_MAX;
    if (value.seconds < INT32_MIN) value.seconds = INT32_MIN;
  }
  encode_time(value, low_bits, extra_bits);
  put32(bytes_, low, low_bits);
  if (has_field(extra + 4)) put32(bytes_, extra, extra_bits);
}

void InodeRecord::device(uint32_t& major, uint32_t& minor) const {
  const uint32_t old_form = get32(bytes_, 0x28), new_form = get32(bytes_, 0x2c);
  if (old_form != 0) {
    major = old_form >> 8 & 0xff;
    minor = old_form & 0xff;
  } else {
    major = new_form >> 8 & 0xfff;
    minor = (new_form & 0xff) | (new_form >> 12 & 0xfff00);
  }
}

void InodeRecord::set_device(uint32_t major, uint32_t minor) {
  const bool is_small = major < 256 && minor < 256;
  put32(bytes_, 0x28, is_small ? major << 8 | minor : 0);
  put32(bytes_, 0x2c, is_small ? 0 : (minor & 0xff) | major << 8 | (minor & ~0xffu) << 12);
}

void InodeRecord::set_uid(uint32_t uid) {
  put16(bytes_, 0x2, static_cast<uint16_t>(uid));
  put16(bytes_, 0x78, static_cast<uint16_t>(uid >> 16));
}
void InodeRecord::set_gid(uint32_t gid) {
  put16(bytes_, 0x18, static_cast<uint16_t>(gid));
  put16(bytes_, 0x7a, static_cast<uint16_t>(gid >> 16));
}
void InodeRecord::set_size(uint64_t size) {
  put32(bytes_, 0x4, static_cast<uint32_t>(size));
  put32(bytes_, 0x6c, static_cast<uint32_t>(size >> 32));
}
void InodeRecord::set_attribute_block(uint64_t block) {
  put32(bytes_, 0x68, static_cast<uint32_t>(block));
  put16(bytes_, 0x76, static_cast<uint16_t>(block >> 32));
}

uint32_t InodeRecord::extra_size() const {
  if (bytes_.size() <= kSmallSize || !has_sane_extra_size()) return 0;
  return get16(bytes_, 0x80);
}

bool InodeRecord::has_sane_extra_size() const {
  if (bytes_.size() <= kSmallSize) return true;
  const uint32_t size = get16(bytes_, 0x80);
  return size % 4 == 0 && kSmallSize + size <= bytes_.size();
}

Bytes InodeRecord::attribute_space() {
  if (bytes_.size() <= kSmallSize || !has_sane_extra_size() || extra_size() < 4) return {};
  const Bytes space = bytes_.subspan(kSmallSize + extra_size());
  return space.size() >= 8 ? space : Bytes{};
}

uint32_t InodeRecord::sum(const Geometry& geometry, uint32_t number) const {
  const ConstBytes bytes = bytes_;
  const uint16_t zero = 0;
  const ConstBytes zero_bytes = std::as_bytes(std::span(&zero, 1));
  uint32_t crc = inode_seed(geometry.checksum_seed, number, generation());
  crc = crc32c(crc, bytes.first(kChecksumLow));
  crc = crc32c(crc, zero_bytes);
  crc = crc32c(crc, bytes.subspan(kChecksumLow + 2, kSmallSize - kChecksumLow - 2));
  if (bytes.size() <= kSmallSize) return crc;
  if (!has_field(kChecksumHigh + 2)) return crc32c(crc, bytes.subspan(kSmallSize));
  crc = crc32c(crc, bytes.subspan(kSmallSize, kChecksumHigh - kSmallSize));
  crc = crc32c(crc, zero_bytes);
  return crc32c(crc, bytes.subspan(kChecksumHigh + 2));
}

bool InodeRecord::is_intact(const Geometry& geometry, uint32_t number) const {
  if (!geometry.has_checksums()) return true;
  const uint32_t wanted = sum(geometry, number);
  if (get16(bytes_, kChecksumLow) != (wanted & 0xffff)) return false;
  return !has_field(kChecksumHigh + 2) || get16(bytes_, kChecksumHigh) == wanted >> 16;
}

void InodeRecord::seal(const Geometry& geometry, uint32_t number) {
  if (!geometry.has_checksums()) return;
  const uint32_t wanted = sum(geometry, number);
  put16(bytes_, kChecksumLow, static_cast<uint16_t>(wanted));
  if (has_field(kChecksumHigh + 2)) put16(bytes_, kChecksumHigh, static_cast<uint16_t>(wanted >> 16));
}

}  // namespace umk::ext4

#include "core/lib/cpio/cpio_reader.h"

#include <algorithm>

#include "core/abi/errno.h"

namespace umk::cpio {

namespace {

constexpr size_t kMagicSize = 6;
constexpr size_t kFieldSize = 8;
constexpr std::string_view kMagic = "070701";
constexpr std::string_view kMagicWithChecksum = "070702";
constexpr std::string_view kTrailer = "TRAILER!!!";

// PATH_MAX, with the zero.
constexpr size_t kMaximumPath = 4096;

// Places of the fields behind the magic number.
enum Field {
  kInode,
  kMode,
  kUser,
  kGroup,
  kLinkCount,
  kTime,
  kDataSize,
  kMajor,
  kMinor,
  kSpecialMajor,
  kSpecialMinor,
  kNameSize,
  kChecksum,
  kFieldCount,
};
constexpr size_t kHeaderSize = kMagicSize + kFieldCount * kFieldSize;

constexpr uint32_t kTypeMask = 0170000;
constexpr uint32_t kTypeDirectory = 0040000;
constexpr uint32_t kTypeRegular = 0100000;
constexpr uint32_t kTypeSymlink = 0120000;

constexpr bool is_type(uint32_t type) {
  switch (type) {
    case 0010000:  // FIFO
    case 0020000:  // character device
    case kTypeDirectory:
    case 0060000:  // block device
    case kTypeRegular:
    case kTypeSymlink:
    case 0140000:  // socket
      return true;
    default:
      return false;
  }
}

std::string_view as_text(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

std::optional<uint32_t> parse_field(std::string_view digits) {
  uint32_t value = 0;
  for (const char c : digits) {
    uint32_t digit;
    if (c >= '0' && c <= '9') digit = static_cast<uint32_t>(c - '0');
    else if (c >= 'a' && c <= 'f') digit = static_cast<uint32_t>(c - 'a') + 10;
    else if (c >= 'A' && c <= 'F') digit = static_cast<uint32_t>(c - 'A') + 10;
    else return std::nullopt;
    value = value << 4 | digit;
  }
  return value;
}

bool leaves_root(std::string_view name) {
  for (;;) {
    const size_t slash = std::min(name.find('/'), name.size());
    if (name.substr(0, slash) == "..") return true;
    if (slash == name.size()) return false;
    name.remove_prefix(slash + 1);
  }
}

/// The name without "/" and "./" at its start.
std::string_view below_root(std::string_view name) {
  for (;;) {
    if (name.starts_with('/')) name.remove_prefix(1);
    else if (name.starts_with("./")) name.remove_prefix(2);
    else return name == "." ? std::string_view{} : name;
  }
}

size_t padding(size_t size) { return (4 - size % 4) % 4; }

}  // namespace

bool Entry::may_have_links() const { return link_count > 1 && (mode & kTypeMask) != kTypeDirectory; }

Error Reader::fail(size_t position, std::string_view reason) {
  position_ = position;
  reason_ = reason;
  return error(EINVAL);
}

Result<std::optional<Entry>> Reader::next() {
  if (!reason_.empty()) return error(EINVAL);
  for (;;) {
    if (!in_archive_) {
      while (position_ < input_.size() && input_[position_] == std::byte{0}) ++position_;
      if (position_ == input_.size()) return std::optional<Entry>{};
      in_archive_ = true;
    }
    const std::optional<Entry> entry = TRY(read_entry());
    if (entry) return entry;
    in_archive_ = false;
    ++archive_;
  }
}

Result<std::optional<Entry>> Reader::read_entry() {
  const size_t start = position_;
  const std::span<const std::byte> rest = input_.subspan(start);
  if (rest.empty()) return fail(start, "the archive ends without its trailer");
  const std::string_view text = as_text(rest);
  const std::string_view magic = text.substr(0, kMagicSize);
  if (magic != kMagic && magic != kMagicWithChecksum) return fail(start, "no header of the newc format");
  if (rest.size() < kHeaderSize) return fail(start, "a header is cut off");

  uint32_t fields[kFieldCount];
  for (size_t i = 0; i < kFieldCount; ++i) {
    const size_t at = kMagicSize + i * kFieldSize;
    const std::optional<uint32_t> value = parse_field(text.substr(at, kFieldSize));
    if (!value) return fail(start + at, "a field of a header is no hexadecimal number");
    fields[i] = *value;
  }

  // All sums below stay far under 2^64: positions lie in memory, and sizes have 32 bits.
  const size_t name_size = fields[kNameSize];
  if (name_size == 0 || name_size > kMaximumPath) return fail(start, "a name is empty or longer than 4096 bytes");
  const size_t data_start = kHeaderSize + name_size + padding(kHeaderSize + name_size);
  const size_t data_size = fields[kDataSize];
  if (rest.size() < kHeaderSize + name_size) return fail(start, "a name is cut off");
  const std::string_view padded_name = text.substr(kHeaderSize, name_size);
  const std::string_view name = padded_name.substr(0, padded_name.find('\0'));
  // Some tools align data by zeroes behind the name that count as part of it.
  if (name.size() == name_size) return fail(start + kHeaderSize, "a name does not end with a zero");
  if (padded_name.find_first_not_of('\0', name.size()) != std::string_view::npos)
    return fail(start + kHeaderSize, "a name contains a zero");
  if (name.empty()) return fail(start + kHeaderSize, "a name is empty");

  if (name == kTrailer) {
    // The padding of the very last header may be missing.
    position_ = start + std::min(data_start + data_size + padding(data_size), rest.size());
    return std::optional<Entry>{};
  }

  if (rest.size() < data_start || rest.size() - data_start < data_size) return fail(start, "data is cut off");
  const std::span<const std::byte> data = rest.subspan(data_start, data_size);
  if (leaves_root(name)) return fail(start + kHeaderSize, "a name contains \"..\"");
  const uint32_t type = fields[kMode] & kTypeMask;
  if (!is_type(type)) return fail(start, "a file has no known type");
  if (type == kTypeSymlink) {
    if (data.empty() || data.size() >= kMaximumPath) return fail(start, "the target of a symbolic link is empty or too long");
    if (std::find(data.begin(), data.end(), std::byte{0}) != data.end())
      return fail(start + data_start, "the target of a symbolic link contains a zero");
  }
  if (magic == kMagicWithChecksum && type == kTypeRegular) {
    uint32_t sum = 0;
    for (const std::byte byte : data) sum += std::to_integer<uint32_t>(byte);
    if (sum != fields[kChecksum]) return fail(start + data_start, "data does not have the checksum of its header");
  }

  position_ = start + std::min(data_start + data_size + padding(data_size), rest.size());
  return std::optional(Entry{.name = below_root(name),
                             .data = data,
                             .position = start,
                             .archive = archive_,
                             .inode = fields[kInode],
                             .mode = fields[kMode],
                             .user = fields[kUser],
                             .group = fields[kGroup],
                             .link_count = fields[kLinkCount],
                             .modification_time = fields[kTime],
                             .device_major = fields[kMajor],
                             .device_minor = fields[kMinor],
                             .special_major = fields[kSpecialMajor],
                             .special_minor = fields[kSpecialMinor]});
}

}  // namespace umk::cpio

#include "core/lib/squashfs_format/directory.h"

namespace umk::squashfs {

namespace {
constexpr uint32_t kMostInRun = 256;
constexpr size_t kHeadBytes = 12, kEntryBytes = 8;
}  // namespace

bool is_file_name(std::string_view name) {
  if (name.empty() || name == "." || name == "..") return false;
  for (const char c : name)
    if (c == '/' || c == '\0') return false;
  return true;
}

Result<bool> DirectoryReader::next(DirectoryEntry& into) {
  if (left_in_run_ == 0) {
    if (position_ >= size_) return false;
    if (size_ - position_ < kHeadBytes) return error(EIO);
    const auto head = TRY(stream_.fields<kHeadBytes>());
    left_in_run_ = head.get<uint32_t>(0) + 1;
    run_block_ = head.get<uint32_t>(4);
    run_number_ = head.get<uint32_t>(8);
    position_ += kHeadBytes;
    if (left_in_run_ == 0 || left_in_run_ > kMostInRun) return error(EIO);
  }
  if (position_ > size_ || size_ - position_ < kEntryBytes + 1) return error(EIO);
  const auto entry = TRY(stream_.fields<kEntryBytes>());
  const size_t name_bytes = size_t{entry.get<uint16_t>(6)} + 1;
  if (name_bytes > sizeof name_ || name_bytes > size_ - position_ - kEntryBytes) return error(EIO);
  TRY(stream_.read(std::as_writable_bytes(std::span(name_).first(name_bytes))));
  into.inode.raw = uint64_t{run_block_} << 16 | entry.get<uint16_t>(0);
  into.number = run_number_ + static_cast<uint32_t>(entry.get<int16_t>(2));
  const unsigned type = entry.get<uint16_t>(4);
  if (type == 0 || type > 7) return error(EIO);
  into.kind = static_cast<Kind>(type);
  into.position = position_;
  into.name = {name_, name_bytes};
  position_ += kEntryBytes + name_bytes;
  --left_in_run_;
  if (!is_file_name(into.name)) return error(EIO);
  return true;
}

}  // namespace umk::squashfs

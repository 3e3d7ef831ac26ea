#include "core/drivers/ubd/ubd_disk.h"

#include <algorithm>
#include <cstring>

#include "core/base/bits.h"
#include "core/base/log.h"
#include "core/host/calls.h"
#include "core/host/file_calls.h"

namespace umk::ubd {

namespace {

constexpr int kPunchHole = 3;  // FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE
constexpr uint32_t kMostComplaints = 10;

/// Walks the memory of a request.
class Memory {
 public:
  explicit Memory(std::span<const block::Segment> segments) : segments_(segments) {}

  /// The next pieces, of at most `limit` bytes together.
  std::span<const host::IoVector> next(uint64_t limit) {
    size_t count = 0, index = index_, skipped = skipped_;
    while (count < kVectors && index < segments_.size() && limit != 0) {
      const block::Segment& segment = segments_[index];
      const size_t bytes = static_cast<size_t>(std::min<uint64_t>(segment.bytes - skipped, limit));
      if (bytes != 0) vectors_[count++] = {segment.data + skipped, bytes};
      limit -= bytes;
      skipped = 0;
      ++index;
    }
    return std::span(vectors_).first(count);
  }
  void advance(uint64_t bytes) {
    while (bytes != 0) {
      const uint64_t here = std::min<uint64_t>(bytes, segments_[index_].bytes - skipped_);
      skipped_ += static_cast<size_t>(here);
      bytes -= here;
      if (skipped_ == segments_[index_].bytes) {
        ++index_;
        skipped_ = 0;
      }
    }
  }
  void zero(uint64_t bytes) {
    while (bytes != 0) {
      uint64_t done = 0;
      for (const host::IoVector& piece : next(bytes)) {
        memset(piece.data, 0, piece.bytes);
        done += piece.bytes;
      }
      advance(done);
      bytes -= done;
    }
  }

 private:
  static constexpr size_t kVectors = 64;
  std::span<const block::Segment> segments_;
  size_t index_ = 0, skipped_ = 0;
  host::IoVector vectors_[kVectors];
};

/// Reads into the next `bytes` of the memory. What lies beyond the end of the file is zero if it is not below `must_have`: then the file has become shorter, EIO.
Result<void> read_file(int fd, uint64_t offset, uint64_t bytes, uint64_t must_have, Memory& memory) {
  while (bytes != 0) {
    const Result<size_t> got = host::pread_vector(fd, memory.next(bytes), offset);
    if (!got.ok() && got.code() == EINTR) continue;
    if (!got.ok()) return got.failure();
    if (got.value() == 0) {
      if (offset < must_have) return error(EIO);
      memory.zero(bytes);
      return {};
    }
    memory.advance(got.value());
    offset += got.value();
    bytes -= got.value();
  }
  return {};
}

Result<void> write_file(int fd, uint64_t offset, uint64_t bytes, Memory& memory) {
  while (bytes != 0) {
    const Result<size_t> put = host::pwrite_vector(fd, memory.next(bytes), offset);
    if (!put.ok() && put.code() == EINTR) continue;
    if (!put.ok()) return put.failure();
    if (put.value() == 0) return error(EIO);
    memory.advance(put.value());
    offset += put.value();
    bytes -= put.value();
  }
  return {};
}

/// As a hole where the host's filesystem has them, else by writing.
Result<void> write_zeroes_to_file(int fd, uint64_t offset, uint64_t bytes) {
  const Result<void> punched = host::fallocate(fd, kPunchHole, offset, bytes);
  if (punched.ok() || (punched.code() != EOPNOTSUPP && punched.code() != ENOSYS && punched.code() != ENODEV)) return punched;
  static constexpr std::byte kZeroes[4096] = {};
  while (bytes != 0) {
    const size_t piece = static_cast<size_t>(std::min<uint64_t>(sizeof kZeroes, bytes));
    const Result<size_t> put = host::pwrite(fd, std::span(kZeroes).first(piece), offset);
    if (!put.ok() && put.code() == EINTR) continue;
    if (!put.ok()) return put.failure();
    offset += put.value();
    bytes -= put.value();
  }
  return {};
}

std::string_view verb_of(block::Operation operation) {
  switch (operation) {
    case block::Operation::Read: return "reading";
    case block::Operation::Write: return "writing";
    case block::Operation::Flush: return "flushing";
    case block::Operation::Discard: return "discarding";
    case block::Operation::WriteZeroes: return "zeroing";
  }
  return "";
}

}  // namespace

Result<String> disk_name(uint32_t number) {
  // As sd of Linux: a to z, then aa.
  char letters[8];
  size_t first = sizeof letters;
  for (uint64_t rest = uint64_t{number} + 1; rest != 0; rest = (rest - 1) / 26) letters[--first] = static_cast<char>('a' + (rest - 1) % 26);
  return format_string("ubd{}", std::string_view(letters + first, sizeof letters - first));
}

std::optional<uint32_t> disk_number(std::string_view name) {
  if (!name.starts_with("ubd")) return std::nullopt;
  name.remove_prefix(3);
  if (name.starts_with('/')) name.remove_prefix(1);
  if (name.empty() || name.size() > 4) return std::nullopt;
  const bool is_number = name[0] >= '0' && name[0] <= '9';
  uint32_t value = 0;
  for (const char character : name) {
    const char first = is_number ? '0' : 'a', last = is_number ? '9' : 'z';
    if (character < first || character > last) return std::nullopt;
    value = is_number ? value * 10 + static_cast<uint32_t>(character - first) : value * 26 + static_cast<uint32_t>(character - first) + 1;
  }
  return is_number ? value : value - 1;
}

UbdDisk::UbdDisk(String name, const block::Geometry& geometry, const DiskImage& image)
    : BlockDevice(std::move(name), DeviceNumber{kMajor, image.number * block::BlockDevices::kMinorsOfDisk}, geometry),
      fd_(image.fd),
      backing_fd_(image.backing_fd),
      layout_(image.layout),
      content_bytes_(image.bytes) {}

UbdDisk::~UbdDisk() {
  (void)make_durable();
  host::close(fd_);
  if (backing_fd_ >= 0) host::close(backing_fd_);
}

Result<RefPtr<UbdDisk>> UbdDisk::create(const DiskImage& image) {
  const auto make = [&]() -> Result<RefPtr<UbdDisk>> {
    const uint32_t sector = image.backing_fd >= 0 ? image.layout.sector_bytes : block::kSectorBytes;
    const block::Geometry geometry{.bytes = round_up(image.bytes, sector),
                                   .logical_block_bytes = sector,
                                   .physical_block_bytes = sector,
                                   .is_read_only = image.is_read_only,
                                   .discard_bytes = image.can_discard ? sector : 0};
    return make_ref<UbdDisk>(TRY(disk_name(image.number)), geometry, image);
  };
  Result<RefPtr<UbdDisk>> made = make();
  if (!made.ok()) {
    host::close(image.fd);
    if (image.backing_fd >= 0) host::close(image.backing_fd);
    return made;
  }
  UbdDisk& disk = *made.value();
  disk.file_ = TRY(String::from(image.file));
  disk.serial_ = TRY(String::from(image.serial));
  if (image.backing_fd >= 0) disk.bitmap_ = TRY(CowBitmap::create(image.fd, image.layout));
  return made;
}

Result<void> UbdDisk::check_open(bool for_writing) {
  if (for_writing && is_read_only()) return error(EROFS);
  notice_growth();
  return {};
}

/// An image that has become larger is a larger disk from the next open on; one that has become shorter fails where it is missing.
void UbdDisk::notice_growth() {
  if (bitmap_) return;
  const Result<host::FileStatus> status = host::status_of(fd_);
  constexpr uint16_t kTypeMask = 0170000, kRegular = 0100000;
  if (!status.ok() || (status.value().mode & kTypeMask) != kRegular) return;
  const uint64_t bytes = round_down(status.value().size, block::kSectorBytes);
  if (bytes <= size_bytes()) return;
  log(LogLevel::Notice, "{}: {} has grown from {} to {} bytes", name(), file_, size_bytes(), bytes);
  content_bytes_.store(bytes, std::memory_order_relaxed);
  set_size(bytes);
}

Result<void> UbdDisk::transfer(block::Request& request, uint64_t offset) {
  Memory memory(request.segments);
  const bool is_write = request.operation == block::Operation::Write;
  if (!bitmap_) {
    // What is past the contents is the rest of the last sector.
    const uint64_t must_have = content_bytes_.load(std::memory_order_relaxed);
    return is_write ? write_file(fd_, offset, request.bytes, memory) : read_file(fd_, offset, request.bytes, must_have, memory);
  }
  const uint64_t sector_bytes = layout_.sector_bytes;
  if (is_write) {
    TRY(bitmap_->check_room(offset / sector_bytes, request.bytes / sector_bytes));
    TRY(write_file(fd_, layout_.data_offset + offset, request.bytes, memory));
    return bitmap_->mark(offset / sector_bytes, request.bytes / sector_bytes);
  }
  for (uint64_t done = 0; done < request.bytes;) {
    const CowBitmap::Run run = TRY(bitmap_->run_at((offset + done) / sector_bytes, (request.bytes - done) / sector_bytes));
    const uint64_t bytes = run.sectors * sector_bytes;
    if (run.is_here) {
      TRY(read_file(fd_, layout_.data_offset + offset + done, bytes, 0, memory));
    } else {
      TRY(read_file(backing_fd_, offset + done, bytes, content_bytes_.load(std::memory_order_relaxed), memory));
    }
    done += bytes;
  }
  return {};
}

Result<void> UbdDisk::zero_range(uint64_t offset, uint64_t bytes) {
  if (!bitmap_) return write_zeroes_to_file(fd_, offset, bytes);
  const uint64_t first = offset / layout_.sector_bytes, count = bytes / layout_.sector_bytes;
  TRY(bitmap_->check_room(first, count));
  TRY(write_zeroes_to_file(fd_, layout_.data_offset + offset, bytes));
  return bitmap_->mark(first, count);
}

/// Gives the space of sectors in the copy-on-write file back. They stay marked and read as zeroes; those of the backing file stay as they are.
Result<void> UbdDisk::discard_copied(uint64_t offset, uint64_t bytes) {
  const uint64_t sector_bytes = layout_.sector_bytes;
  for (uint64_t done = 0; done < bytes;) {
    const CowBitmap::Run run = TRY(bitmap_->run_at((offset + done) / sector_bytes, (bytes - done) / sector_bytes));
    if (run.is_here) TRY(host::fallocate(fd_, kPunchHole, layout_.data_offset + offset + done, run.sectors * sector_bytes));
    done += run.sectors * sector_bytes;
  }
  return {};
}

Result<void> UbdDisk::make_durable() {
  if (is_read_only()) return {};
  return bitmap_ ? bitmap_->flush() : host::fsync(fd_, true);
}

Result<void> UbdDisk::do_request(block::Request& request, uint64_t offset) {
  switch (request.operation) {
    case block::Operation::Read:
    case block::Operation::Write: TRY(transfer(request, offset)); break;
    case block::Operation::Flush: return make_durable();
    case block::Operation::Discard: return bitmap_ ? discard_copied(offset, request.bytes) : host::fallocate(fd_, kPunchHole, offset, request.bytes);
    case block::Operation::WriteZeroes: TRY(zero_range(offset, request.bytes)); break;
  }
  return request.is_durable ? make_durable() : Result<void>();
}

void UbdDisk::complain(const block::Request& request, uint64_t offset, int error_code) {
  const uint32_t before = complaints_.fetch_add(1, std::memory_order_relaxed);
  if (before >= kMostComplaints) return;
  log(LogLevel::Error, "{}: {} {} bytes at {} of {} fails: errno {}{}", name(), verb_of(request.operation), request.bytes, offset, file_, error_code,
      before + 1 == kMostComplaints ? "; no more of this is told" : "");
}

void UbdDisk::start(block::Request& request, uint64_t offset) {
  const Result<void> done = do_request(request, offset);
  if (done.ok()) return finish(request, 0);
  if (done.code() == EOPNOTSUPP && request.operation == block::Operation::Discard) return finish(request, EOPNOTSUPP);
  complain(request, offset, done.code());
  // A guest knows of a medium that fails and of one that is full, and of nothing else that a host may answer.
  finish(request, done.code() == ENOSPC || done.code() == EDQUOT || done.code() == EFBIG ? ENOSPC : EIO);
}

}  // namespace umk::ubd

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
constexpr int kSeekHole = 4;
constexpr uint32_t kMostComplaints = 10;

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

UbdDisk::UbdDisk(String name, const block::Geometry& geometry, const DiskImage& image, HostQueue* queue)
    : BlockDevice(std::move(name), DeviceNumber{kMajor, image.number * block::BlockDevices::kMinorsOfDisk}, geometry),
      fd_(image.fd),
      backing_fd_(image.backing_fd),
      layout_(image.layout),
      queue_(queue),
      is_fixed_(image.is_fixed),
      content_bytes_(image.bytes) {}

UbdDisk::~UbdDisk() {
  (void)make_durable();
  host::close(fd_);
  if (backing_fd_ >= 0) host::close(backing_fd_);
}

Result<RefPtr<UbdDisk>> UbdDisk::create(const DiskImage& image, HostQueue* queue) {
  const auto make = [&]() -> Result<RefPtr<UbdDisk>> {
    const uint32_t sector = image.backing_fd >= 0 ? image.layout.sector_bytes : block::kSectorBytes;
    const block::Geometry geometry{.bytes = round_up(image.bytes, sector),
                                   .logical_block_bytes = sector,
                                   .physical_block_bytes = sector,
                                   .is_read_only = image.is_read_only,
                                   .discard_bytes = image.can_discard ? sector : 0};
    return make_ref<UbdDisk>(TRY(disk_name(image.number)), geometry, image, queue);
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

Result<void> UbdDisk::locate(Transfer& transfer, uint64_t offset, uint64_t bytes) {
  transfer.fd = fd_;
  transfer.offset = offset;
  transfer.bytes = bytes;
  // What is past the contents is the rest of the last sector.
  transfer.must_have = content_bytes_.load(std::memory_order_relaxed);
  if (!bitmap_) return {};
  const uint64_t sector_bytes = layout_.sector_bytes;
  if (!transfer.is_write) {
    const CowBitmap::Run run = TRY(bitmap_->run_at(offset / sector_bytes, bytes / sector_bytes));
    transfer.bytes = run.sectors * sector_bytes;
    if (!run.is_here) {
      transfer.fd = backing_fd_;
      return {};
    }
  }
  transfer.offset += layout_.data_offset;
  transfer.must_have = 0;
  return {};
}

Result<void> UbdDisk::transfer(block::Request& request, uint64_t offset) {
  Transfer transfer(request);
  if (transfer.is_write) TRY(prepare_write(offset, request.bytes));
  for (uint64_t done = 0; done < request.bytes;) {
    TRY(locate(transfer, offset + done, request.bytes - done));
    done += transfer.bytes;
    TRY(transfer.finish());
  }
  return transfer.is_write ? note_written(offset, request.bytes) : Result<void>();
}

mm::FixedExtent UbdDisk::find_fixed(uint64_t offset, uint64_t bytes) {
  const uint64_t content = content_bytes_.load(std::memory_order_relaxed);
  if (!is_fixed_ || offset >= content) return {};
  if (bitmap_) {
    const uint64_t sector_bytes = layout_.sector_bytes;
    if (offset % sector_bytes != 0) return {};
    const Result<CowBitmap::Run> run = bitmap_->run_at(offset / sector_bytes, (bytes + sector_bytes - 1) / sector_bytes);
    if (!run.ok() || run.value().is_here) return {};
    bytes = std::min(bytes, run.value().sectors * sector_bytes);
  }
  return {.fd = bitmap_ ? backing_fd_ : fd_, .offset = offset, .bytes = std::min(bytes, content - offset)};
}

bool UbdDisk::find_room(uint64_t offset, uint64_t bytes) {
  if (bitmap_) {
    const uint64_t sectors = bytes / layout_.sector_bytes;
    const Result<CowBitmap::Run> run = bitmap_->run_at(offset / layout_.sector_bytes, sectors);
    if (run.ok() && (!run.value().is_here || run.value().sectors < sectors)) return false;
    offset += layout_.data_offset;
  }
  // What was allocated and never written is a hole to the host as well: lseek(2), and writing there is as dear.
  const Result<uint64_t> hole = host::seek(fd_, static_cast<int64_t>(offset), kSeekHole);
  return !hole.ok() || hole.value() - offset >= bytes;
}

Result<void> UbdDisk::prepare_write(uint64_t offset, uint64_t bytes) {
  return bitmap_ ? bitmap_->prepare(offset / layout_.sector_bytes, bytes / layout_.sector_bytes) : Result<void>();
}

Result<void> UbdDisk::note_written(uint64_t offset, uint64_t bytes) {
  return bitmap_ ? bitmap_->mark(offset / layout_.sector_bytes, bytes / layout_.sector_bytes) : Result<void>();
}

Result<void> UbdDisk::zero_range(uint64_t offset, uint64_t bytes) {
  if (!bitmap_) return write_zeroes_to_file(fd_, offset, bytes);
  TRY(prepare_write(offset, bytes));
  TRY(write_zeroes_to_file(fd_, layout_.data_offset + offset, bytes));
  return note_written(offset, bytes);
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

// What was just written in one piece goes to the host's disk while the next is being written, so that a flush finds little to do. Nobody waits for it.
class UbdDisk::WriteOut final : public QueuedTransfer {
 public:
  WriteOut(UbdDisk& disk, const Transfer& first, uint64_t whole_bytes) : QueuedTransfer(first), disk_(disk) {
    is_write_out = true;
    bytes = whole_bytes;
  }
  // Where it fails, a flush will.
  void on_done(int) override { delete this; }

 private:
  const RefPtr<UbdDisk> disk_;  // has the file open
};

// A request that several transfers of the queue make up, in its pieces.
class UbdDisk::QueuedRequest {
 public:
  QueuedRequest(UbdDisk& disk, block::Request& request, uint64_t offset) : disk_(disk), request_(request), offset_(offset) {}

  /// All or nothing: ENOMEM and what locate() says leave the request to the caller.
  Result<void> split() {
    const bool is_write = request_.operation == block::Operation::Write;
    if (is_write) TRY(disk_.prepare_write(offset_, request_.bytes));
    Transfer next(request_);
    for (uint64_t done = 0; done < request_.bytes;) {
      const uint64_t left = request_.bytes - done;
      // Writes are done by several processors of the host, reads in one piece, which tells it most of what is wanted.
      TRY(disk_.locate(next, offset_ + done, is_write ? std::min(left, kWritePiece) : left));
      done += next.bytes;
      TRY(pieces_.push_back(TRY(umk::make_unique<Piece>(*this, next))));
      next.memory.advance(next.bytes);
    }
    if (is_write) write_out_ = TRY(umk::make_unique<WriteOut>(disk_, *pieces_[0], request_.bytes));
    return {};
  }
  /// Gone, or soon, when it returns.
  void submit(HostQueue& queue) {
    const size_t count = pieces_.size();
    left_.store(count, std::memory_order_relaxed);
    // With the last one this may go.
    for (size_t i = 0; i < count; ++i) queue.submit(*pieces_[i]);
  }

 private:
  class Piece final : public QueuedTransfer {
   public:
    Piece(QueuedRequest& whole, const Transfer& transfer) : QueuedTransfer(transfer), whole_(whole) {}
    void on_done(int error_code) override { whole_.piece_done(error_code); }

   private:
    QueuedRequest& whole_;
  };

  void piece_done(int error_code) {
    if (error_code != 0) error_code_.store(error_code, std::memory_order_relaxed);
    if (left_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
    Result<void> outcome;
    if (const int failure = error_code_.load(std::memory_order_relaxed); failure != 0) outcome = error(failure);
    else if (request_.operation == block::Operation::Write) outcome = disk_.note_written(offset_, request_.bytes);
    HostQueue& queue = *disk_.queue_;
    const bool writes_out = write_out_ && outcome.ok();
    disk_.finish_with(request_, offset_, outcome);
    if (writes_out) queue.submit(*write_out_.release());
    delete this;
  }

  static constexpr uint64_t kWritePiece = 256 * 1024;
  UbdDisk& disk_;
  block::Request& request_;
  const uint64_t offset_;
  Vector<std::unique_ptr<Piece>> pieces_;
  std::unique_ptr<WriteOut> write_out_;
  std::atomic<size_t> left_{0};
  std::atomic<int> error_code_{0};
};

bool UbdDisk::queue_request(block::Request& request, uint64_t offset) {
  if (!queue_ || !queue_->is_running()) return false;
  const bool is_big_write = request.operation == block::Operation::Write && request.bytes >= kBigWrite && !request.is_durable;
  if (!is_big_write && !(request.operation == block::Operation::Read && request.is_background)) return false;
  Result<std::unique_ptr<QueuedRequest>> queued = umk::make_unique<QueuedRequest>(*this, request, offset);
  if (!queued.ok() || !queued.value()->split().ok()) return false;
  queued.take().release()->submit(*queue_);
  return true;
}

void UbdDisk::start(block::Request& request, uint64_t offset) {
  if (!queue_request(request, offset)) finish_with(request, offset, do_request(request, offset));
}

void UbdDisk::finish_with(block::Request& request, uint64_t offset, const Result<void>& outcome) {
  if (outcome.ok()) return finish(request, 0);
  if (outcome.code() == EOPNOTSUPP && request.operation == block::Operation::Discard) return finish(request, EOPNOTSUPP);
  complain(request, offset, outcome.code());
  // A guest knows of a medium that fails and of one that is full, and of nothing else that a host may answer.
  finish(request, outcome.code() == ENOSPC || outcome.code() == EDQUOT || outcome.code() == EFBIG ? ENOSPC : EIO);
}

}  // namespace umk::ubd

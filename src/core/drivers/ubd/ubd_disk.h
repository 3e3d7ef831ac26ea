// UbdDisk: a disk on a file or block device of the host, with or without a copy-on-write file in front: /dev/ubda. ubd of User Mode Linux.
//
// Requests are done by the caller, with pread and pwrite on descriptors that all host processes of the machine share; what is read in the background and big
// writes go through the machine's queue (host_queue.h), where others may be done meanwhile. Where they fail the request fails with EIO
// (ENOSPC when the host is full) and the log says what happened, a few times. A file that has become shorter than it was gives EIO; what lies beyond the
// end of a copy-on-write file, or in the rest of the last sector, is zero.
//
// Locks: those of CowBitmap.
#pragma once

#include "core/drivers/ubd/cow_bitmap.h"
#include "core/drivers/ubd/disk_image.h"
#include "core/drivers/ubd/host_queue.h"
#include "core/kernel/block/block_devices.h"

namespace umk::ubd {

inline constexpr uint32_t kMajor = 98;

/// "ubda" for 0, "ubdz" for 25, "ubdaa" for 26.
Result<String> disk_name(uint32_t number);
/// The number of "ubda", "ubd0", "ubd/0": what root= may call a disk. A digit behind letters names a partition and does not belong here.
std::optional<uint32_t> disk_number(std::string_view name);

class UbdDisk final : public block::BlockDevice {
 public:
  /// Takes the image's descriptors over, also when it fails. `queue` outlives the disk; null: callers do everything.
  static Result<RefPtr<UbdDisk>> create(const DiskImage& image, HostQueue* queue = nullptr);
  UbdDisk(String name, const block::Geometry& geometry, const DiskImage& image, HostQueue* queue);
  /// Writes of this size and more are queued.
  static constexpr uint64_t kBigWrite = 512 * 1024;

  std::string_view serial() const override { return serial_.view(); }
  Result<void> check_open(bool for_writing) override;
  /// UML's disks have 128 heads of 32 sectors.
  std::optional<Shape> shape() const override { return Shape{128, 32}; }

 protected:
  ~UbdDisk() override;
  void start(block::Request& request, uint64_t offset) override;
  mm::FixedExtent find_fixed(uint64_t offset, uint64_t bytes) override;
  bool find_room(uint64_t offset, uint64_t bytes) override;

 private:
  class QueuedRequest;
  class WriteOut;

  /// Where the next bytes of a transfer lie: sets file, offset, and how many lie together.
  Result<void> locate(Transfer& transfer, uint64_t offset, uint64_t bytes);
  Result<void> transfer(block::Request& request, uint64_t offset);
  /// Before and after the bytes of a write go to the file.
  Result<void> prepare_write(uint64_t offset, uint64_t bytes);
  Result<void> note_written(uint64_t offset, uint64_t bytes);
  bool queue_request(block::Request& request, uint64_t offset);
  void finish_with(block::Request& request, uint64_t offset, const Result<void>& outcome);
  Result<void> do_request(block::Request& request, uint64_t offset);
  Result<void> zero_range(uint64_t offset, uint64_t bytes);
  Result<void> discard_copied(uint64_t offset, uint64_t bytes);
  Result<void> make_durable();
  void notice_growth();
  void complain(const block::Request& request, uint64_t offset, int error_code);

  const int fd_, backing_fd_;
  const cow_format::Layout layout_;
  HostQueue* const queue_;
  const bool is_fixed_;
  std::atomic<uint64_t> content_bytes_;  // of the backing file, or of the image: what the file must have
  std::unique_ptr<CowBitmap> bitmap_;
  String file_, serial_;
  std::atomic<uint32_t> complaints_{0};
};

}  // namespace umk::ubd

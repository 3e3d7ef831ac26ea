// BlockDevice: a disk, a partition of one, a loop device: bytes at offsets, in sectors, on something that keeps them.
//
// Life: a driver makes it and adds it to BlockDevices (block_devices.h), which gives it out by number and by name. Filesystems and open device files hold
// references. A device that goes away (`mark_removed`) fails all requests with EIO while somebody still holds it.
//
// Offsets and lengths are bytes and multiples of `logical_block_bytes()`; the memory has no alignment. Requests that are not aligned fail with EINVAL, those
// that reach past the end with EIO, writes to a read-only device with EROFS; what the medium cannot do is EIO, a full host ENOSPC. Nothing here caches: kernel
// code that wants pages uses those of the device's files (device_pages.h) or its own.
//
// Claims say who uses a device for himself: a mount, an O_EXCL open, a loop device's backing. They exclude each other, and a claim of a disk excludes those of
// its partitions (as Linux' exclusive opens). They do not keep anybody from reading and writing.
//
// Locks: `mutex_` (LockRank::Block) guards the holder; nothing is called while it is held. `listeners_mutex_` is held while listeners are called. Drivers have
// their own.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "core/abi/device_number.h"
#include "core/base/make.h"
#include "core/base/string.h"
#include "core/base/text.h"
#include "core/kernel/block/request.h"
#include "core/kernel/mm/fixed_extent.h"

namespace umk {
class Task;
}

namespace umk::block {

inline constexpr uint32_t kSectorBytes = 512;
/// ubda is 98:0, its first partitions 98:1 to 98:15.
inline constexpr uint32_t kMinorsOfDisk = 16;
/// Partitions without a number of their disk, as on Linux ("blkext").
inline constexpr uint32_t kExtendedMajor = 259;

/// What /proc/diskstats and /sys/block/.../stat show, by operation. Sectors are of 512 bytes always.
struct Statistics {
  struct Line {
    std::atomic<uint64_t> requests{0}, sectors{0}, time_ns{0};
  };
  Line lines[kOperations];
  std::atomic<uint64_t> in_flight{0};
  /// Time during which something was under way, and the sum of the times of all requests.
  std::atomic<uint64_t> busy_ns{0}, busy_since_ns{0};

  Line& of(Operation operation) { return lines[static_cast<size_t>(operation)]; }
  const Line& of(Operation operation) const { return lines[static_cast<size_t>(operation)]; }
};

/// What a device is, as far as its users ask.
struct Geometry {
  uint64_t bytes = 0;
  uint32_t logical_block_bytes = kSectorBytes;  // the least transfer
  uint32_t physical_block_bytes = kSectorBytes;  // what the medium likes
  bool is_read_only = false;
  uint32_t discard_bytes = 0;  // the least that a discard is good for; 0: it cannot
};

/// Told of changes of a device, in the context of whoever noticed, with the list of listeners locked: it notes what happened and leaves the work to others. It
/// takes no lock that its owner holds while adding or removing it.
class Listener : public ListHook<> {
 public:
  virtual void on_resized(BlockDevice& device, uint64_t new_bytes) { (void)device, (void)new_bytes; }
  virtual void on_removed(BlockDevice& device) { (void)device; }

 protected:
  ~Listener() = default;
};

/// Who has a device mounted and keeps parts of its contents in memory. Device files ask it, so that programs that look at the device of a mounted filesystem see
/// what it has, and it learns what they write. No lock is held.
class MountedUser {
 public:
  /// A reference, unless it is going.
  virtual bool try_add_user() = 0;
  virtual void drop_user() = 0;
  /// What it has changed lies on the device afterwards. The number moves on whenever it wrote such things.
  virtual uint64_t bring_up_to_date() = 0;
  /// Somebody else wrote to these bytes of the device.
  virtual void device_changed(uint64_t offset, uint64_t bytes) = 0;

 protected:
  ~MountedUser() = default;
};

class BlockDevice : public RefCounted {
 public:
  std::string_view name() const { return name_; }  // "ubda", "ubda1", "loop0"
  DeviceNumber number() const { return number_; }
  uint64_t size_bytes() const { return size_bytes_.load(std::memory_order_acquire); }
  uint64_t sectors() const { return size_bytes() / kSectorBytes; }
  uint32_t logical_block_bytes() const { return logical_block_bytes_.load(std::memory_order_relaxed); }
  uint32_t physical_block_bytes() const { return physical_block_bytes_.load(std::memory_order_relaxed); }
  uint32_t discard_bytes() const { return geometry_.discard_bytes; }
  bool is_read_only() const { return read_only_.load(std::memory_order_relaxed); }
  bool is_removed() const { return removed_.load(std::memory_order_acquire); }
  /// The disk that this is a partition of; null for a disk. `first_byte`: where on it.
  BlockDevice* disk() const { return disk_.get(); }
  uint64_t first_byte() const { return first_byte_; }
  /// 1 for ubda1; 0 for a disk.
  uint32_t partition_number() const { return partition_number_; }
  /// The numbers that a disk has behind its own for its first partitions, with its own. Further partitions get numbers of kExtendedMajor.
  virtual uint32_t minors() const { return kMinorsOfDisk; }
  /// Whether a partition table is looked for: BLKRRPART. Partitions may be added to any disk.
  virtual bool is_scanned_for_partitions() const { return !disk_; }

  /// Starts a request; `on_done` tells its end. Checks it first, so that drivers see good ones only; a bad one is done at once. Never waits for the medium in
  /// drivers that queue; a driver that does not queue has done it when this returns.
  void submit(Request& request);

  // One transfer at a time, waited for. Not interruptible.
  Result<void> read(uint64_t offset, std::span<std::byte> into);
  Result<void> write(uint64_t offset, std::span<const std::byte> from);
  Result<void> read(uint64_t offset, std::span<const Segment> into);
  Result<void> write(uint64_t offset, std::span<const Segment> from);
  /// What has been written is on the host's disk afterwards.
  Result<void> flush();
  /// EOPNOTSUPP when the device has no discard.
  Result<void> discard(uint64_t offset, uint64_t bytes);
  Result<void> write_zeroes(uint64_t offset, uint64_t bytes);

  /// The exclusive use of a device, given up by its destructor.
  class Claim {
   public:
    Claim() = default;
    Claim(Claim&& other) noexcept : device_(std::move(other.device_)), holder_(std::exchange(other.holder_, nullptr)) {}
    Claim& operator=(Claim&& other) noexcept {
      std::swap(device_, other.device_);
      std::swap(holder_, other.holder_);
      return *this;
    }
    ~Claim();
    explicit operator bool() const { return holder_ != nullptr; }

   private:
    friend class BlockDevice;
    Claim(RefPtr<BlockDevice> device, const void* holder) : device_(std::move(device)), holder_(holder) {}
    RefPtr<BlockDevice> device_;
    const void* holder_ = nullptr;
  };
  /// Claims the device for `holder` (an address that stands for who it is: a superblock, an open file; the same holder may claim twice). EBUSY when another
  /// has it, or a partition of it, or the disk that it is a partition of.
  Result<Claim> claim(const void* holder);
  /// Somebody has it, or a partition of it.
  bool is_claimed() const;

  /// Null: nobody any more. The old one may still be asked by who has a reference.
  void set_mounted_user(MountedUser* user);
  /// Calls `work` with the user if there is one. Returns whether.
  template <typename Work>
  bool with_mounted_user(Work work) {
    MountedUser* user = take_mounted_user();
    if (!user) [[likely]] return false;
    work(*user);
    user->drop_user();
    return true;
  }
  /// How far the cached pages of device files follow the mounted user's changes.
  std::atomic<uint64_t> shown_version{0};

  /// Who uses the device: open device files and claims. For BLKRRPART, and for drivers that refuse to remove what is in use.
  std::atomic<uint32_t> openers{0};
  void add_opener();
  /// The last one tells the driver. Call with no lock held.
  void drop_opener();
  /// BLKBSZGET and BLKBSZSET: nothing but remembered, as the cache works in pages.
  std::atomic<uint32_t> cache_block_bytes;

  /// Where bytes of the device lie in a file of the host that nobody writes, as many from `offset` on as lie there together, at most `bytes`.
  mm::FixedExtent fixed_extent(uint64_t offset, uint64_t bytes);

  /// False where writing is dear as the medium must find room for it first: in holes of a file of the host. True where nobody knows.
  bool has_room(uint64_t offset, uint64_t bytes);

  /// What the device calls itself, for /sys; empty when it has none.
  virtual std::string_view serial() const { return {}; }

  /// Files of the driver's own in a directory below /sys/block/NAME, which is there while has_attributes().
  struct Attribute {
    std::string_view name;
    void (*show)(const BlockDevice& device, TextSink& sink);
  };
  struct AttributeGroup {
    std::string_view directory;  // empty: none
    std::span<const Attribute> attributes;
  };
  virtual AttributeGroup attributes() const { return {}; }
  virtual bool has_attributes() const { return false; }

  // What a driver may add to its device files.
  /// Refuses an open: EROFS for what cannot be written.
  virtual Result<void> check_open(bool for_writing) {
    (void)for_writing;
    return {};
  }
  /// Nobody uses the device any more. No lock is held.
  virtual void on_last_close() {}
  /// Requests of ioctl(2) that are the driver's own; ENOTTY. `for_writing`: the file was opened so.
  virtual Result<int64_t> ioctl(Task& task, uint32_t request, uint64_t argument, bool for_writing);
  /// What HDIO_GETGEO tells of cylinders; none: ENOTTY.
  struct Shape {
    uint8_t heads = 0, sectors = 0;
  };
  virtual std::optional<Shape> shape() const { return disk_ ? disk_->shape() : std::nullopt; }

  void add_listener(Listener& listener);
  /// Afterwards the listener is not being called and will not be.
  void remove_listener(Listener& listener);

  const Statistics& statistics() const { return statistics_; }
  /// Time during which something was under way, up to now.
  uint64_t busy_ns() const;
  /// BLKROSET. What the driver cannot write stays read-only: EACCES.
  Result<void> set_read_only(bool read_only);

  /// For drivers: the medium has another size, or is gone. Tells the listeners.
  void set_size(uint64_t bytes);
  void mark_removed();
  /// Other sizes of blocks. Nothing is under way, and there are no partitions.
  void set_block_sizes(uint32_t logical_bytes, uint32_t physical_bytes);

 protected:
  BlockDevice(String name, DeviceNumber number, const Geometry& geometry);
  /// A partition: its requests go to `disk`, which it keeps alive, `first_byte` further on.
  BlockDevice(String name, DeviceNumber number, RefPtr<BlockDevice> disk, uint64_t first_byte, uint64_t bytes, uint32_t partition_number);
  ~BlockDevice() override;

  /// The driver's part of submit(): does or queues a checked request, and calls finish() once, then or later. `offset` is the request's on this disk.
  virtual void start(Request& request, uint64_t offset) = 0;
  /// The driver's part of fixed_extent(): a range within the disk. What the driver has to read for that may fail; then it knows of none.
  virtual mm::FixedExtent find_fixed(uint64_t offset, uint64_t bytes) {
    (void)offset, (void)bytes;
    return {};
  }
  /// The driver's part of has_room(): a range within the disk.
  virtual bool find_room(uint64_t offset, uint64_t bytes) {
    (void)offset, (void)bytes;
    return true;
  }
  /// Ends a request with 0 or an errno: counts it and calls its on_done.
  static void finish(Request& request, int error_code);
  static void finish(Request& request, const Result<void>& result) { finish(request, result.code()); }

 private:
  int refusal_of(const Request& request) const;
  MountedUser* take_mounted_user();
  void account_start(uint64_t now_ns);
  void account_end(const Request& request, uint64_t now_ns);
  void release_claim();
  Result<void> transfer(Operation operation, uint64_t offset, std::span<const Segment> segments, uint64_t bytes);

  const String name_;
  const DeviceNumber number_;
  const Geometry geometry_;  // as it was at first
  std::atomic<uint32_t> logical_block_bytes_, physical_block_bytes_;
  const RefPtr<BlockDevice> disk_;
  const uint64_t first_byte_ = 0;
  const uint32_t partition_number_ = 0;
  std::atomic<uint64_t> size_bytes_;
  std::atomic<bool> read_only_;
  std::atomic<bool> removed_{false};
  Statistics statistics_;
  // Of a disk: how often its contents changed, and how much of that is durable. The first flush finds what others wrote before.
  std::atomic<uint64_t> changes_{1}, durable_changes_{0};

  mutable Mutex mutex_{LockRank::Block};
  const void* holder_ GUARDED_BY(mutex_) = nullptr;
  uint32_t claims_ GUARDED_BY(mutex_) = 0;
  uint32_t partition_claims_ GUARDED_BY(mutex_) = 0;  // of a disk: claims of its partitions
  MountedUser* mounted_user_ GUARDED_BY(mutex_) = nullptr;
  Mutex listeners_mutex_{LockRank::None};
  List<Listener> listeners_ GUARDED_BY(listeners_mutex_);
};

}  // namespace umk::block

#include "core/kernel/block/block_device.h"

#include "core/base/bits.h"
#include "core/host/calls.h"

namespace umk::block {

namespace {

/// What Linux chooses: as much as divides the device, up to a page.
uint32_t first_cache_block(uint64_t bytes, uint32_t logical_block_bytes) {
  uint32_t block = logical_block_bytes;
  while (block < kPageSize && (bytes & block) == 0) block *= 2;
  return block;
}

bool is_write(Operation operation) { return operation != Operation::Read && operation != Operation::Flush; }

}  // namespace

BlockDevice::BlockDevice(String name, DeviceNumber number, const Geometry& geometry)
    : cache_block_bytes(first_cache_block(geometry.bytes, geometry.logical_block_bytes)),
      name_(std::move(name)),
      number_(number),
      geometry_(geometry),
      logical_block_bytes_(geometry.logical_block_bytes),
      physical_block_bytes_(geometry.physical_block_bytes),
      size_bytes_(geometry.bytes),
      read_only_(geometry.is_read_only) {}

BlockDevice::BlockDevice(String name, DeviceNumber number, RefPtr<BlockDevice> disk, uint64_t first_byte, uint64_t bytes, uint32_t partition_number)
    : cache_block_bytes(first_cache_block(bytes, disk->logical_block_bytes())),
      name_(std::move(name)),
      number_(number),
      geometry_(disk->geometry_),
      logical_block_bytes_(disk->logical_block_bytes()),
      physical_block_bytes_(disk->physical_block_bytes()),
      disk_(std::move(disk)),
      first_byte_(first_byte),
      partition_number_(partition_number),
      size_bytes_(bytes),
      read_only_(disk_->is_read_only()) {}

BlockDevice::~BlockDevice() { CHECK(claims_ == 0, "a claim holds a reference of its device"); }

int BlockDevice::refusal_of(const Request& request) const {
  if (is_removed() || (disk_ && disk_->is_removed())) return EIO;
  if (request.operation == Operation::Flush) return 0;
  if (is_write(request.operation) && (is_read_only() || (disk_ && disk_->is_read_only()))) return EROFS;
  const uint64_t size = size_bytes();
  // As Linux, which calls it an attempt to access beyond the end of the device.
  if (request.offset > size || request.bytes > size - request.offset) return EIO;
  if (!is_aligned(request.offset | request.bytes, logical_block_bytes())) return EINVAL;
  if (request.operation == Operation::Discard && geometry_.discard_bytes == 0) return EOPNOTSUPP;
  return 0;
}

void BlockDevice::submit(Request& request) {
  request.target_ = this;
  request.started_ns_ = 0;
  if (request.operation == Operation::Read || request.operation == Operation::Write) {
    CHECK(request.segments.size() <= Request::kMaximumSegments, "the submitter keeps to the number of segments");
    request.bytes = 0;
    for (const Segment& segment : request.segments) request.bytes += segment.bytes;
  }
  const int refusal = refusal_of(request);
  if (refusal != 0 || (request.bytes == 0 && request.operation != Operation::Flush)) return finish(request, refusal);
  BlockDevice& disk = disk_ ? *disk_ : *this;
  if (request.operation == Operation::Flush) {
    request.changes_before_ = disk.changes_.load(std::memory_order_acquire);
    if (disk.durable_changes_.load(std::memory_order_acquire) >= request.changes_before_) return finish(request, 0);
  }

  const uint64_t now_ns = host::now_ns(host::Clock::Monotonic);
  request.started_ns_ = now_ns;
  account_start(now_ns);
  if (disk_) disk.account_start(now_ns);
  disk.start(request, first_byte_ + request.offset);
}

mm::FixedExtent BlockDevice::fixed_extent(uint64_t offset, uint64_t bytes) {
  BlockDevice& disk = disk_ ? *disk_ : *this;
  const uint64_t size = size_bytes();
  if (is_removed() || disk.is_removed() || offset >= size) return {};
  return disk.find_fixed(first_byte_ + offset, bytes < size - offset ? bytes : size - offset);
}

bool BlockDevice::has_room(uint64_t offset, uint64_t bytes) {
  BlockDevice& disk = disk_ ? *disk_ : *this;
  const uint64_t size = size_bytes();
  if (is_removed() || disk.is_removed() || offset >= size || bytes > size - offset) return true;
  return disk.find_room(first_byte_ + offset, bytes);
}

void BlockDevice::finish(Request& request, int error_code) {
  request.error_code_ = error_code;
  if (request.started_ns_ != 0) {
    const uint64_t now_ns = host::now_ns(host::Clock::Monotonic);
    BlockDevice& target = *request.target_;
    target.account_end(request, now_ns);
    if (target.disk_) target.disk_->account_end(request, now_ns);
    BlockDevice& disk = target.disk_ ? *target.disk_ : target;
    if (request.operation != Operation::Flush) {
      // A failed write may have been made in part.
      if (request.operation != Operation::Read) disk.changes_.fetch_add(1, std::memory_order_acq_rel);
    } else if (error_code == 0) {
      for (uint64_t durable = disk.durable_changes_.load(std::memory_order_relaxed);
           durable < request.changes_before_ && !disk.durable_changes_.compare_exchange_weak(durable, request.changes_before_, std::memory_order_release);) {
      }
    }
  }
  request.on_done();
}

void BlockDevice::account_start(uint64_t now_ns) {
  if (statistics_.in_flight.fetch_add(1, std::memory_order_relaxed) == 0) statistics_.busy_since_ns.store(now_ns, std::memory_order_relaxed);
}

void BlockDevice::account_end(const Request& request, uint64_t now_ns) {
  Statistics::Line& line = statistics_.of(request.operation);
  line.requests.fetch_add(1, std::memory_order_relaxed);
  line.sectors.fetch_add(request.operation == Operation::Flush ? 0 : request.bytes / kSectorBytes, std::memory_order_relaxed);
  line.time_ns.fetch_add(now_ns - request.started_ns_, std::memory_order_relaxed);
  const uint64_t since_ns = statistics_.busy_since_ns.load(std::memory_order_relaxed);
  // Two that end at once may count a moment twice or not at all, which nobody can see in a figure of milliseconds.
  if (statistics_.in_flight.fetch_sub(1, std::memory_order_relaxed) == 1 && now_ns > since_ns)
    statistics_.busy_ns.fetch_add(now_ns - since_ns, std::memory_order_relaxed);
}

uint64_t BlockDevice::busy_ns() const {
  uint64_t busy_ns = statistics_.busy_ns.load(std::memory_order_relaxed);
  if (statistics_.in_flight.load(std::memory_order_relaxed) == 0) return busy_ns;
  const uint64_t now_ns = host::now_ns(host::Clock::Monotonic), since_ns = statistics_.busy_since_ns.load(std::memory_order_relaxed);
  return now_ns > since_ns ? busy_ns + (now_ns - since_ns) : busy_ns;
}

Result<void> BlockDevice::transfer(Operation operation, uint64_t offset, std::span<const Segment> segments, uint64_t bytes) {
  Batch batch;
  Batch::Item item;
  item.operation = operation;
  item.offset = offset;
  item.segments = segments;
  item.bytes = bytes;
  batch.submit(*this, item);
  return batch.wait();
}

Result<void> BlockDevice::read(uint64_t offset, std::span<std::byte> into) {
  const Segment segment{into.data(), into.size()};
  return read(offset, std::span(&segment, 1));
}

Result<void> BlockDevice::write(uint64_t offset, std::span<const std::byte> from) {
  // A write leaves the memory alone.
  const Segment segment{const_cast<std::byte*>(from.data()), from.size()};
  return write(offset, std::span(&segment, 1));
}

Result<void> BlockDevice::read(uint64_t offset, std::span<const Segment> into) { return transfer(Operation::Read, offset, into, 0); }
Result<void> BlockDevice::write(uint64_t offset, std::span<const Segment> from) { return transfer(Operation::Write, offset, from, 0); }
Result<void> BlockDevice::flush() { return transfer(Operation::Flush, 0, {}, 0); }
Result<void> BlockDevice::discard(uint64_t offset, uint64_t bytes) { return transfer(Operation::Discard, offset, {}, bytes); }
Result<void> BlockDevice::write_zeroes(uint64_t offset, uint64_t bytes) { return transfer(Operation::WriteZeroes, offset, {}, bytes); }

Result<BlockDevice::Claim> BlockDevice::claim(const void* holder) {
  CHECK(holder, "somebody claims");
  RefPtr<BlockDevice> self(this);
  if (disk_) {
    // Two partitions of a disk may have holders of their own; the disk may then have none.
    MutexLock disk_lock(disk_->mutex_);
    if (disk_->claims_ != 0) return error(EBUSY);
    MutexLock lock(mutex_);
    if (claims_ != 0 && holder_ != holder) return error(EBUSY);
    holder_ = holder;
    ++claims_;
    ++disk_->partition_claims_;
    add_opener();
    return Claim(std::move(self), holder);
  }
  MutexLock lock(mutex_);
  if (partition_claims_ != 0 || (claims_ != 0 && holder_ != holder)) return error(EBUSY);
  holder_ = holder;
  ++claims_;
  add_opener();
  return Claim(std::move(self), holder);
}

void BlockDevice::release_claim() {
  if (disk_) {
    MutexLock disk_lock(disk_->mutex_);
    --disk_->partition_claims_;
  }
  {
    MutexLock lock(mutex_);
    if (--claims_ == 0) holder_ = nullptr;
  }
  drop_opener();
}

void BlockDevice::add_opener() {
  openers.fetch_add(1, std::memory_order_acq_rel);
  if (disk_) disk_->add_opener();
}

void BlockDevice::drop_opener() {
  if (openers.fetch_sub(1, std::memory_order_acq_rel) == 1) on_last_close();
  if (disk_) disk_->drop_opener();
}

BlockDevice::Claim::~Claim() {
  if (holder_) device_->release_claim();
}

bool BlockDevice::is_claimed() const {
  MutexLock lock(mutex_);
  return claims_ != 0 || partition_claims_ != 0;
}

void BlockDevice::add_listener(Listener& listener) {
  MutexLock lock(listeners_mutex_);
  listeners_.push_back(listener);
}

void BlockDevice::remove_listener(Listener& listener) {
  MutexLock lock(listeners_mutex_);
  if (listener.is_linked()) listener.unlink();
}

Result<int64_t> BlockDevice::ioctl(Task&, uint32_t, uint64_t, bool) { return error(ENOTTY); }

Result<void> BlockDevice::set_read_only(bool read_only) {
  if (!read_only && (geometry_.is_read_only || (disk_ && disk_->is_read_only()))) return error(EACCES);
  read_only_.store(read_only, std::memory_order_relaxed);
  return {};
}

void BlockDevice::set_mounted_user(MountedUser* user) {
  MutexLock lock(mutex_);
  mounted_user_ = user;
}

MountedUser* BlockDevice::take_mounted_user() {
  MutexLock lock(mutex_);
  return mounted_user_ && mounted_user_->try_add_user() ? mounted_user_ : nullptr;
}

void BlockDevice::set_size(uint64_t bytes) {
  if (size_bytes_.exchange(bytes, std::memory_order_acq_rel) == bytes) return;
  MutexLock lock(listeners_mutex_);
  for (Listener& listener : listeners_) listener.on_resized(*this, bytes);
}

void BlockDevice::set_block_sizes(uint32_t logical_bytes, uint32_t physical_bytes) {
  logical_block_bytes_.store(logical_bytes, std::memory_order_relaxed);
  physical_block_bytes_.store(physical_bytes, std::memory_order_relaxed);
  cache_block_bytes.store(first_cache_block(size_bytes(), logical_bytes));
}

void BlockDevice::mark_removed() {
  if (removed_.exchange(true, std::memory_order_acq_rel)) return;
  MutexLock lock(listeners_mutex_);
  for (Listener& listener : listeners_) listener.on_removed(*this);
}

Batch::~Batch() { CHECK(pending_ == 0, "a batch is waited for before it goes"); }

void Batch::submit(BlockDevice& device, Item& item) {
  item.batch_ = this;
  {
    MutexLock lock(mutex_);
    ++pending_;
  }
  device.submit(item);
}

void Batch::item_done(int error_code) {
  // Under the mutex to the end: the waiter may destroy the batch as soon as it finds nothing pending.
  MutexLock lock(mutex_);
  if (first_error_ == 0) first_error_ = error_code;
  if (--pending_ == 0) done_.wake_all();
}

Result<void> Batch::wait() {
  MutexLock lock(mutex_);
  while (pending_ != 0) (void)done_.wait(mutex_, Sleep::Uninterruptible);
  const int failure = std::exchange(first_error_, 0);
  if (failure != 0) return error(failure);
  return {};
}

size_t Batch::pending() {
  MutexLock lock(mutex_);
  return pending_;
}

}  // namespace umk::block

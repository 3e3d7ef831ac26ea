#include "core/drivers/loop/loop_device.h"

#include <algorithm>
#include <cstring>

#include "core/base/bits.h"
#include "core/kernel/mm/page_source.h"
#include "core/kernel/task/kernel.h"
#include "core/kernel/task/task.h"
#include "core/kernel/vfs/vfs.h"

namespace umk::loop {

using namespace loop_abi;

namespace {

constexpr uint32_t kKnownFlags = kReadOnly | kAutoClear | kPartitionScan | kDirect;
constexpr uint32_t kPunch = static_cast<uint32_t>(vfs::FallocateMode::KeepSize) | static_cast<uint32_t>(vfs::FallocateMode::PunchHole);

/// The file's name, as its binder sees it; empty for a file without one.
Result<String> path_of(Task& task, const vfs::OpenFile& file) {
  if (!file.path().dentry) return String{};
  Vector<char> buffer;
  TRY(buffer.resize(vfs::kPathLimit));
  const Result<std::string_view> text = task.kernel().vfs->path_text(file.path(), task.fs().root(), buffer);
  return text.ok() ? String::from(text.value()) : Result<String>(String{});
}

/// What this driver does not do is refused rather than taken for done.
Result<void> check_wanted(const Status& wanted) {
  if (wanted.encryption != 0 || wanted.key_size != 0) return error(EINVAL);
  if (wanted.flags & ~kKnownFlags) return error(EINVAL);
  if (wanted.offset > INT64_MAX || wanted.size_limit > INT64_MAX) return error(EOVERFLOW);
  return {};
}

/// O_DIRECT wants whole sectors at places in memory that are multiples of them: open(2).
bool is_aligned_for_direct(uint64_t offset, std::span<const std::byte> memory) {
  return is_aligned(offset | memory.size() | reinterpret_cast<uintptr_t>(memory.data()), block::kSectorBytes);
}

Result<void> write_all(vfs::OpenFile& file, uint64_t offset, std::span<const std::byte> from, bool is_direct = false) {
  UserInBuffer buffer = UserInBuffer::kernel(from);
  const bool past_cache = is_direct && is_aligned_for_direct(offset, from);
  while (buffer.remaining() != 0) {
    const size_t put = TRY(past_cache ? file.inode().write_direct(offset, buffer, false) : file.write_at(offset, buffer, false));
    if (put == 0) return error(EIO);
    offset += put;
  }
  return {};
}

Result<void> read_all(vfs::OpenFile& file, uint64_t offset, std::span<std::byte> into, bool is_direct) {
  UserOutBuffer buffer = UserOutBuffer::kernel(into);
  const bool past_cache = is_direct && is_aligned_for_direct(offset, into);
  while (buffer.remaining() != 0) {
    const size_t got = TRY(past_cache ? file.inode().read_direct(offset, buffer) : file.read_at(offset, buffer));
    // The file has become shorter.
    if (got == 0) return error(EIO);
    offset += got;
  }
  return {};
}

Result<void> zero_range(vfs::OpenFile& file, uint64_t offset, uint64_t bytes) {
  const Result<void> punched = file.inode().allocate(kPunch, offset, bytes);
  if (punched.ok() || punched.code() != EOPNOTSUPP) return punched;
  static constexpr std::byte kZeroes[4096] = {};
  while (bytes != 0) {
    const size_t piece = static_cast<size_t>(std::min<uint64_t>(sizeof kZeroes, bytes));
    TRY(write_all(file, offset, std::span(kZeroes).first(piece)));
    offset += piece;
    bytes -= piece;
  }
  return {};
}

}  // namespace

bool is_block_size(uint64_t bytes) { return bytes >= block::kSectorBytes && bytes <= kPageSize && (bytes & (bytes - 1)) == 0; }

Result<RefPtr<LoopDevice>> LoopDevice::create(uint32_t number, block::BlockDevices& devices) {
  const block::Geometry geometry{.bytes = 0, .discard_bytes = kPageSize};
  return make_ref<LoopDevice>(TRY(format_string("loop{}", number)), number, geometry, devices);
}

LoopDevice::Binding LoopDevice::binding() const {
  MutexLock lock(mutex_);
  return binding_;
}

bool LoopDevice::is_bound() const {
  MutexLock lock(mutex_);
  return static_cast<bool>(binding_.file);
}

template <uint64_t (*kValue)(const LoopDevice::Binding&)>
void LoopDevice::show_value(const BlockDevice& device, TextSink& sink) {
  format(sink, "{}\n", kValue(static_cast<const LoopDevice&>(device).binding()));
}

void LoopDevice::show_path(const BlockDevice& device, TextSink& sink) {
  const LoopDevice& loop = static_cast<const LoopDevice&>(device);
  MutexLock lock(loop.mutex_);
  format(sink, "{}\n", loop.path_);
}

constinit const LoopDevice::Attribute LoopDevice::kAttributes[6] = {
    {"backing_file", show_path},
    {"offset", show_value<[](const Binding& binding) { return binding.offset; }>},
    {"sizelimit", show_value<[](const Binding& binding) { return binding.size_limit; }>},
    {"autoclear", show_value<[](const Binding& binding) { return uint64_t{(binding.flags & kAutoClear) != 0}; }>},
    {"partscan", show_value<[](const Binding& binding) { return uint64_t{(binding.flags & kPartitionScan) != 0}; }>},
    {"dio", show_value<[](const Binding& binding) { return uint64_t{(binding.flags & kDirect) != 0}; }>},
};

block::BlockDevice::AttributeGroup LoopDevice::attributes() const { return {"loop", kAttributes}; }

Result<uint64_t> LoopDevice::size_of(const Binding& binding) {
  // A block device says its size where its file ends.
  uint64_t bytes = binding.file->inode().size_bytes();
  if (binding.file->inode().type() == vfs::FileType::BlockDevice) {
    const uint64_t position = binding.file->position();
    bytes = TRY(binding.file->seek(0, 2));
    binding.file->set_position(position);
  } else {
    const vfs::Metadata metadata = TRY(binding.file->inode().metadata());
    bytes = metadata.size_bytes;
  }
  bytes = bytes > binding.offset ? bytes - binding.offset : 0;
  if (binding.size_limit != 0) bytes = std::min(bytes, binding.size_limit);
  // Whole sectors only: of a last part nothing could be read.
  return round_down(bytes, binding.block_bytes);
}

// A file whose bytes this kernel does not keep anyway, or one on a disk. Of a device's file, and of one in memory, no bytes go past a cache.
bool LoopDevice::can_be_direct(const Binding& binding) {
  if (!binding.file->inode().is_regular() || !is_aligned(binding.offset, block::kSectorBytes)) return false;
  if (binding.file->inode().superblock().is_never_written()) return false;  // what is packed is unpacked into the cache
  mm::PageSource* const pages = binding.file->page_source();
  return pages && (pages->source_kind() == mm::PageSource::Kind::HostFile || pages->cached());
}

// A table that cannot be read has been told in the log; the device is there without partitions.
void LoopDevice::look_for_partitions() {
  if (is_scanned_for_partitions()) (void)devices_.rescan(*this).ok();
}

Result<void> LoopDevice::bind(RefPtr<vfs::OpenFile> file, const Status& wanted, bool for_writing, String path, uint32_t block_bytes) {
  TRY(check_wanted(wanted));
  if (block_bytes != 0 && !is_block_size(block_bytes)) return error(EINVAL);
  const vfs::FileType type = file->inode().type();
  if ((type != vfs::FileType::Regular && type != vfs::FileType::BlockDevice) || !file->is_readable()) return error(EINVAL);
  // A device on itself would never come to an end.
  if (type == vfs::FileType::BlockDevice && file->inode().device() == number()) return error(EBADF);
  Binding fresh;
  fresh.file = std::move(file);
  fresh.offset = wanted.offset;
  fresh.size_limit = wanted.size_limit;
  fresh.flags = wanted.flags & (kAutoClear | kPartitionScan);
  if (block_bytes != 0) fresh.block_bytes = block_bytes;
  // A wish: losetup(8) asks whether it was granted.
  if ((wanted.flags & kDirect) && can_be_direct(fresh)) fresh.flags |= kDirect;
  if (!for_writing || !fresh.file->is_writable() || (wanted.flags & kReadOnly)) fresh.flags |= kReadOnly;
  memcpy(fresh.file_name, wanted.file_name, sizeof fresh.file_name - 1);
  const uint64_t bytes = TRY(size_of(fresh));
  const bool is_read_only = fresh.flags & kReadOnly;
  const uint32_t sector = fresh.block_bytes;
  {
    MutexLock lock(mutex_);
    if (binding_.file) return error(EBUSY);
    is_scanned_.store(fresh.flags & kPartitionScan, std::memory_order_relaxed);
    binding_ = std::move(fresh);
    path_ = std::move(path);
  }
  TRY(set_read_only(is_read_only));
  set_size(bytes);
  set_block_sizes(sector, sector);
  devices_.announce_change(*this, block::BlockDevices::Event::Changed);
  look_for_partitions();
  return {};
}

void LoopDevice::release(RefPtr<vfs::OpenFile> file) {
  // Who uses a partition uses the device, so nobody does.
  (void)devices_.remove_partitions(*this).ok();
  is_scanned_.store(false, std::memory_order_relaxed);
  set_block_sizes(block::kSectorBytes, block::kSectorBytes);
  set_size(0);
  (void)set_read_only(false);
  devices_.announce_change(*this, block::BlockDevices::Event::MediumChanged);
  if (file && file->is_writable()) (void)file->sync(true);
}

Result<void> LoopDevice::unbind(uint32_t own_openers) {
  RefPtr<vfs::OpenFile> file;
  {
    MutexLock lock(mutex_);
    if (!binding_.file) return error(ENXIO);
    if (openers.load(std::memory_order_acquire) > own_openers) {
      binding_.flags |= kAutoClear;
      return {};
    }
    file = std::move(binding_.file);
    binding_ = Binding{};
  }
  release(std::move(file));
  return {};
}

void LoopDevice::on_last_close() {
  RefPtr<vfs::OpenFile> file;
  {
    MutexLock lock(mutex_);
    if (!binding_.file || !(binding_.flags & kAutoClear) || openers.load(std::memory_order_acquire) != 0) return;
    file = std::move(binding_.file);
    binding_ = Binding{};
  }
  release(std::move(file));
}

Result<Status> LoopDevice::status() {
  const Binding bound = binding();
  if (!bound.file) return error(ENXIO);
  const vfs::Metadata metadata = TRY(bound.file->inode().metadata());
  Status status{};
  status.device = bound.file->inode().superblock().device().encoded();
  status.inode = metadata.number;
  status.node_device = bound.file->inode().device().encoded();
  status.offset = bound.offset;
  status.size_limit = bound.size_limit;
  status.number = loop_number_;
  status.flags = bound.flags;
  memcpy(status.file_name, bound.file_name, sizeof status.file_name);
  return status;
}

Result<void> LoopDevice::change(const Status& wanted) {
  TRY(check_wanted(wanted));
  Binding changed = binding();
  if (!changed.file) return error(ENXIO);
  const bool is_other_part = changed.offset != wanted.offset || changed.size_limit != wanted.size_limit;
  changed.offset = wanted.offset;
  changed.size_limit = wanted.size_limit;
  // Partitions may be asked for later, and stay: loop(4).
  const bool wants_partitions = (wanted.flags & kPartitionScan) && !(changed.flags & kPartitionScan);
  changed.flags = (changed.flags & ~kAutoClear) | (wanted.flags & (kAutoClear | kPartitionScan));
  if ((changed.flags & kDirect) && !can_be_direct(changed)) changed.flags &= ~kDirect;
  memcpy(changed.file_name, wanted.file_name, sizeof changed.file_name - 1);
  const uint64_t bytes = TRY(size_of(changed));
  {
    MutexLock lock(mutex_);
    if (binding_.file != changed.file) return error(ENXIO);
    if (wants_partitions) is_scanned_.store(true, std::memory_order_relaxed);
    binding_ = std::move(changed);
  }
  set_size(bytes);
  if (is_other_part) devices_.announce_change(*this, block::BlockDevices::Event::Changed);
  if (wants_partitions) look_for_partitions();
  return {};
}

Result<void> LoopDevice::change_block_size(uint64_t bytes) {
  Binding changed = binding();
  if (!changed.file) return error(ENXIO);
  if (!is_block_size(bytes)) return error(EINVAL);
  if (changed.block_bytes == bytes) return {};
  TRY(devices_.remove_partitions(*this));
  changed.block_bytes = static_cast<uint32_t>(bytes);
  const uint64_t size = TRY(size_of(changed));
  {
    MutexLock lock(mutex_);
    if (binding_.file != changed.file) return error(ENXIO);
    binding_ = std::move(changed);
  }
  set_size(size);
  set_block_sizes(static_cast<uint32_t>(bytes), static_cast<uint32_t>(bytes));
  look_for_partitions();
  return {};
}

Result<void> LoopDevice::set_direct(bool is_wanted) {
  const Binding bound = binding();
  if (!bound.file) return error(ENXIO);
  if (is_wanted && !can_be_direct(bound)) return error(EINVAL);
  // What lies in the cache is written first.
  if (is_wanted && bound.file->is_writable()) TRY(bound.file->sync(true));
  MutexLock lock(mutex_);
  if (binding_.file != bound.file) return error(ENXIO);
  binding_.flags = (binding_.flags & ~kDirect) | (is_wanted ? kDirect : 0);
  return {};
}

Result<void> LoopDevice::update_size() {
  const Binding bound = binding();
  if (!bound.file) return error(ENXIO);
  set_size(TRY(size_of(bound)));
  devices_.announce_change(*this, block::BlockDevices::Event::Changed);
  return {};
}

Result<int64_t> LoopDevice::ioctl(Task& task, uint32_t request, uint64_t argument, bool for_writing) {
  const bool is_administrator = task.credentials().has(Capability::SysAdmin);
  const bool may_change = for_writing || is_administrator;
  switch (request) {
    case kSetFile: {
      RefPtr<vfs::OpenFile> file = TRY(task.fds().get(Fd{static_cast<int>(argument)}));
      String path = TRY(path_of(task, *file));
      TRY(bind(std::move(file), Status{}, for_writing, std::move(path)));
      return int64_t{0};
    }
    case kConfigure: {
      const Configuration wanted = TRY(UserPtr<Configuration>(argument).read());
      RefPtr<vfs::OpenFile> file = TRY(task.fds().get(Fd{static_cast<int>(wanted.fd)}));
      String path = TRY(path_of(task, *file));
      TRY(bind(std::move(file), wanted.status, for_writing, std::move(path), wanted.block_size));
      return int64_t{0};
    }
    case kClearFile: TRY(unbind(1)); return int64_t{0};
    case kGetStatus64: {
      const Status now = TRY(status());
      TRY(UserPtr<Status>(argument).write(now));
      return int64_t{0};
    }
    case kSetStatus64:
      if (!may_change) return error(EPERM);
      TRY(change(TRY(UserPtr<Status>(argument).read())));
      return int64_t{0};
    case kSetCapacity:
      if (!may_change) return error(EPERM);
      TRY(update_size());
      return int64_t{0};
    case kSetDirect: TRY(set_direct(argument != 0)); return int64_t{0};
    case kSetBlockSize:
      if (!may_change) return error(EPERM);
      TRY(change_block_size(argument));
      return int64_t{0};
    default: return error(ENOTTY);
  }
}

Result<void> LoopDevice::do_request(block::Request& request, uint64_t offset) {
  const Binding bound = binding();
  if (!bound.file) return error(EIO);
  vfs::OpenFile& file = *bound.file;
  uint64_t at = bound.offset + offset;
  const bool is_direct = bound.flags & kDirect;
  switch (request.operation) {
    case block::Operation::Read:
      for (const block::Segment& segment : request.segments) {
        TRY(read_all(file, at, std::span(segment.data, segment.bytes), is_direct));
        at += segment.bytes;
      }
      return {};
    case block::Operation::Write:
      for (const block::Segment& segment : request.segments) {
        TRY(write_all(file, at, std::span<const std::byte>(segment.data, segment.bytes), is_direct));
        at += segment.bytes;
      }
      break;
    case block::Operation::Flush: return bound.flags & kReadOnly ? Result<void>() : file.sync(true);
    case block::Operation::Discard: return file.inode().allocate(kPunch, at, request.bytes);
    case block::Operation::WriteZeroes: TRY(zero_range(file, at, request.bytes)); break;
  }
  return request.is_durable ? file.sync(true) : Result<void>();
}

void LoopDevice::start(block::Request& request, uint64_t offset) {
  const Result<void> done = do_request(request, offset);
  const int code = done.code();
  finish(request, code == 0 || code == ENOSPC || (code == EOPNOTSUPP && request.operation == block::Operation::Discard) ? code : EIO);
}

}  // namespace umk::loop

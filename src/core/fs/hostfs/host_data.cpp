// Data of host files: reading, writing, changing size, mapping; open files.
#include "core/fs/hostfs/host_superblock.h"
#include "core/host/calls.h"
#include "core/kernel/vfs/caller.h"

namespace umk::hostfs {

namespace {

using vfs::FileType;

constexpr size_t kBounceBytes = 32 << 10;
enum : int { kSeekSet = 0, kSeekCurrent = 1, kSeekEnd = 2, kSeekData = 3, kSeekHole = 4 };

unsigned access_of(uint32_t flags) {
  switch (flags & vfs::open_flags::kAccessMask) {
    case vfs::open_flags::kReadOnly: return HostDescriptor::kRead;
    case vfs::open_flags::kWriteOnly: return HostDescriptor::kWrite;
    default: return HostDescriptor::kRead | HostDescriptor::kWrite;
  }
}

/// The host copies straight into and out of guest memory; where the guest's page is not there yet (or not accessible) it answers EFAULT, and the kernel's own copy,
/// which brings pages in, decides.
bool faulted(const Result<size_t>& outcome, const BufferCursor& buffer) { return outcome.code() == EFAULT && !buffer.is_kernel(); }

Result<size_t> read_piece(int fd, uint64_t offset, const BufferPiece& piece, bool is_kernel) {
  if (is_kernel) return host::pread(fd, std::span(reinterpret_cast<std::byte*>(piece.address), piece.length), offset);
  if (!is_user_range(piece.address, piece.length)) return error(EFAULT);
  return host::pread(fd, host::UserRange::checked(piece.address, piece.length), offset);
}

Result<size_t> write_piece(int fd, uint64_t offset, const BufferPiece& piece, bool is_kernel) {
  if (is_kernel) return host::pwrite(fd, std::span(reinterpret_cast<const std::byte*>(piece.address), piece.length), offset);
  if (!is_user_range(piece.address, piece.length)) return error(EFAULT);
  return host::pwrite(fd, host::UserRange::checked(piece.address, piece.length), offset);
}

/// Reads one chunk by way of kernel memory, advancing the buffer.
Result<size_t> read_bounced(int fd, uint64_t offset, UserOutBuffer& buffer) {
  const size_t size = buffer.remaining() < kBounceBytes ? buffer.remaining() : kBounceBytes;
  const std::unique_ptr<std::byte[]> bounce(new (std::nothrow) std::byte[size]);
  if (!bounce) return error(ENOMEM);
  const size_t got = TRY(host::pread(fd, std::span(bounce.get(), size), offset));
  if (got == 0) return size_t{0};
  return buffer.put(std::span(bounce.get(), got));
}

Result<size_t> write_bounced(int fd, uint64_t offset, UserInBuffer& buffer) {
  const size_t size = buffer.remaining() < kBounceBytes ? buffer.remaining() : kBounceBytes;
  const std::unique_ptr<std::byte[]> bounce(new (std::nothrow) std::byte[size]);
  if (!bounce) return error(ENOMEM);
  const size_t taken = TRY(buffer.get(std::span(bounce.get(), size)));
  return host::pwrite(fd, std::span<const std::byte>(bounce.get(), taken), offset);
}

}  // namespace

Result<size_t> HostInode::read_from(const HostDescriptor& file, uint64_t offset, UserOutBuffer& buffer) {
  size_t total = 0;
  while (buffer.remaining() > 0) {
    const BufferPiece piece = buffer.next_piece();
    Result<size_t> got = read_piece(file.fd(), offset + total, piece, buffer.is_kernel());
    const bool is_bounced = faulted(got, buffer);
    if (is_bounced) got = read_bounced(file.fd(), offset + total, buffer);
    if (!got.ok()) {
      if (total > 0) break;
      return got;
    }
    if (got.value() == 0) break;
    total += got.value();
    if (is_bounced) continue;
    buffer.advance(got.value());
    // Short of the piece: the end of the file, or a page of the guest that is to be brought in. The end as it is known saves asking again.
    if (got.value() < piece.length && offset + total == size_bytes()) break;
  }
  return total;
}

Result<size_t> HostInode::write_to(const HostDescriptor& file, uint64_t& offset, UserInBuffer& buffer, bool append) {
  const auto transfer = [&](uint64_t start) -> Result<size_t> {
    size_t total = 0;
    while (buffer.remaining() > 0) {
      const BufferPiece piece = buffer.next_piece();
      Result<size_t> put = write_piece(file.fd(), start + total, piece, buffer.is_kernel());
      const bool is_bounced = faulted(put, buffer);
      const size_t before = buffer.remaining();
      if (is_bounced) put = write_bounced(file.fd(), start + total, buffer);
      if (!put.ok()) {
        if (total > 0) break;
        return put;
      }
      total += put.value();
      if (is_bounced) {
        if (put.value() < before - buffer.remaining()) break;
      } else {
        buffer.advance(put.value());
      }
      if (put.value() == 0) break;
    }
    return total;
  };
  size_t total;
  if (append) {
    // Our own appenders take turns. Another process of the host that appends at the same moment is not seen: as between clients of a network filesystem.
    MutexLock lock(append_mutex_);
    offset = TRY(host::seek(file.fd(), 0, kSeekEnd));
    total = TRY(transfer(offset));
  } else {
    total = TRY(transfer(offset));
  }
  forget_fresh();
  if (has_text_copies()) drop_text_copies();
  const uint64_t end = offset + total;
  uint64_t size = size_bytes();
  while (size < end && !size_bytes_.compare_exchange_weak(size, end, std::memory_order_release)) {
  }
  return total;
}

Result<size_t> HostInode::read_at(uint64_t offset, UserOutBuffer& buffer) {
  if (is_directory()) return error(EISDIR);
  RefPtr<HostDescriptor> file = TRY(descriptor(HostDescriptor::kRead));
  return read_from(*file, offset, buffer);
}

Result<size_t> HostInode::write_at(uint64_t& offset, UserInBuffer& buffer, bool append) {
  RefPtr<HostDescriptor> file = TRY(descriptor(HostDescriptor::kWrite));
  return write_to(*file, offset, buffer, append);
}

Result<void> HostInode::allocate(uint32_t fallocate_mode, uint64_t offset, uint64_t length) {
  if (is_directory()) return error(EISDIR);
  RefPtr<HostDescriptor> file = TRY(descriptor(HostDescriptor::kWrite));
  TRY(host::fallocate(file->fd(), static_cast<int>(fallocate_mode), offset, length));
  if (has_text_copies()) drop_text_copies();
  return absorb(TRY(host::status_of(file->fd())));
}

Result<void> HostInode::sync(bool data_only) {
  RefPtr<HostDescriptor> file = TRY(descriptor(HostDescriptor::kRead));
  return host::fsync(file->fd(), data_only);
}

Result<uint64_t> HostInode::seek_data_or_hole(uint64_t offset, bool hole) {
  RefPtr<HostDescriptor> file = TRY(descriptor(HostDescriptor::kRead));
  return host::seek(file->fd(), static_cast<int64_t>(offset), hole ? kSeekHole : kSeekData);
}

// --- open files

Result<RefPtr<vfs::OpenFile>> HostInode::open(const vfs::Caller&, uint32_t flags) {
  const unsigned access = access_of(flags);
  RefPtr<HostDescriptor> file = TRY(descriptor(access));
  // The check of the name that led here serves this open only, and the next fstat must ask.
  forget_fresh();
  return RefPtr<vfs::OpenFile>(TRY(make_ref<HostFile>(RefPtr<HostInode>(this), std::move(file), access, flags)));
}

void HostInode::note_opened(unsigned access) {
  MutexLock lock(file_mutex_);
  ++open_files_;
  if (access & HostDescriptor::kWrite) ++open_writers_;
}

void HostInode::note_closed(unsigned access) {
  {
    MutexLock lock(file_mutex_);
    --open_files_;
    if (access & HostDescriptor::kWrite) --open_writers_;
    release_mapping_locked();
  }
  drop_write_access_if_unused();
}

HostFile::HostFile(RefPtr<HostInode> inode, RefPtr<HostDescriptor> descriptor, unsigned access, uint32_t flags)
    : InodeFile(std::move(inode), flags), descriptor_(std::move(descriptor)), access_(access) {
  host_inode().note_opened(access_);
}

HostFile::~HostFile() {
  descriptor_ = nullptr;
  host_inode().note_closed(access_);
}

Result<size_t> HostFile::read_at(uint64_t offset, UserOutBuffer& buffer) {
  if (!host_inode().is_regular()) return error(EISDIR);
  return host_inode().read_from(*descriptor_, offset, buffer);
}

Result<size_t> HostFile::write_at(uint64_t& offset, UserInBuffer& buffer, bool append) {
  const size_t count = TRY(host_inode().write_to(*descriptor_, offset, buffer, append));
  if (flags() & vfs::open_flags::kDataSync) TRY(sync((flags() & vfs::open_flags::kSync) != vfs::open_flags::kSync));
  return count;
}

Result<void> HostFile::refresh_size() { return host_inode().absorb(TRY(host::status_of(descriptor_->fd()))); }

Result<uint64_t> HostFile::seek(int64_t offset, int whence) {
  if (whence == kSeekEnd && inode().is_regular()) TRY(refresh_size());
  return InodeFile::seek(offset, whence);
}

Result<uint64_t> HostFile::readable_bytes() {
  if (inode().is_regular()) TRY(refresh_size());
  return InodeFile::readable_bytes();
}

Result<void> HostFile::sync(bool data_only) { return host::fsync(descriptor_->fd(), data_only); }

mm::PageSource* HostFile::page_source() { return inode().is_regular() ? host_inode().page_source_of(descriptor_) : nullptr; }

// --- mapping

mm::PageSource* HostInode::page_source_of(const RefPtr<HostDescriptor>& file) {
  MutexLock lock(file_mutex_);
  RefPtr<HostDescriptor>& slot = mapped_[file->allows(HostDescriptor::kWrite)];
  if (!slot) slot = file;
  return this;
}

mm::PageSource* HostInode::page_source() {
  if (!is_regular()) return nullptr;
  Result<RefPtr<HostDescriptor>> file = descriptor(HostDescriptor::kRead);
  return file.ok() ? page_source_of(file.value()) : nullptr;
}

int HostInode::host_fd() const {
  MutexLock lock(file_mutex_);
  // One that can be written serves every mapping, but the host lets nobody map a file that was opened for writing only.
  if (mapped_[1] && mapped_[1]->allows(HostDescriptor::kRead)) return mapped_[1]->fd();
  return mapped_[0] ? mapped_[0]->fd() : -1;
}

uint64_t HostInode::mappable_bytes() const {
  RefPtr<HostDescriptor> file;
  {
    MutexLock lock(file_mutex_);
    file = mapped_[0] ? mapped_[0] : mapped_[1] ? mapped_[1] : descriptor_;
  }
  if (!file) return size_bytes();
  Result<host::FileStatus> status = host::status_of(file->fd());
  return status.ok() ? status.value().size : size_bytes();
}

Result<size_t> HostInode::read_for_text(uint64_t offset, std::span<std::byte> into) {
  RefPtr<HostDescriptor> file;
  {
    MutexLock lock(file_mutex_);
    file = mapped_[0] ? mapped_[0] : mapped_[1];
  }
  if (!file) file = TRY(descriptor(HostDescriptor::kRead));
  size_t total = 0;
  while (total < into.size()) {
    const size_t got = TRY(host::pread(file->fd(), into.subspan(total), offset + total));
    if (got == 0) break;
    total += got;
  }
  return total;
}

void HostInode::add_mapping_reference() {
  add_reference();
  MutexLock lock(file_mutex_);
  ++mappings_;
}

void HostInode::drop_mapping_reference() {
  {
    MutexLock lock(file_mutex_);
    --mappings_;
    release_mapping_locked();
  }
  drop_reference();
}

/// Descriptors of mappings stay until nothing can map with them any more.
void HostInode::release_mapping_locked() {
  if (mappings_ > 0 || open_files_ > 0) return;
  mapped_[0] = nullptr;
  mapped_[1] = nullptr;
}

}  // namespace umk::hostfs

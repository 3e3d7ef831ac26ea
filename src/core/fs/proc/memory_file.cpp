#include "core/fs/proc/memory_file.h"

#include <algorithm>

#include "core/kernel/mm/address_space.h"
#include "core/kernel/task/inspection.h"

namespace umk::proc {

namespace {
/// Copied at once, by way of kernel memory.
constexpr size_t kPieceBytes = 64 * 1024;
}  // namespace

Result<RefPtr<vfs::OpenFile>> MemoryFile::open(RefPtr<FileNode> node, const vfs::Caller& caller, uint32_t flags) {
  const RefPtr<Task> task = TRY(node->subject().find(node->kernel()));
  TRY(check_inspection(caller.credentials, *task));
  const RefPtr<mm::AddressSpace> space = task->address_space_ref();
  const uint64_t number = space ? space->carrier.number.load(std::memory_order_relaxed) : 0;
  return RefPtr<vfs::OpenFile>(TRY(make_ref<MemoryFile>(std::move(node), number, flags)));
}

RefPtr<mm::AddressSpace> MemoryFile::space() {
  const auto& node = static_cast<const FileNode&>(inode());
  const Result<RefPtr<Task>> task = node.subject().find(node.kernel());
  if (!task.ok()) return nullptr;
  RefPtr<mm::AddressSpace> space = task.value()->address_space_ref();
  if (!space || space->carrier.number.load(std::memory_order_relaxed) != space_number_) return nullptr;
  return space;
}

Result<size_t> MemoryFile::read_at(uint64_t offset, UserOutBuffer& buffer) {
  const RefPtr<mm::AddressSpace> from = space();
  if (!from || buffer.remaining() == 0) return size_t{0};
  Vector<std::byte> bytes;
  TRY(bytes.resize(std::min(buffer.remaining(), kPieceBytes)));
  size_t total = 0;
  while (buffer.remaining() > 0) {
    const std::span<std::byte> piece(bytes.data(), std::min(buffer.remaining(), bytes.size()));
    const size_t got = from->read_foreign(offset + total, piece, mm::AddressSpace::Rights::Debugger);
    if (got == 0) {
      if (total == 0) return error(EIO);
      break;
    }
    const Result<size_t> put = buffer.put(piece.first(got));
    if (!put.ok() && total == 0) return put.failure();
    if (!put.ok()) break;
    total += put.value();
    if (put.value() < piece.size()) break;
  }
  return total;
}

Result<size_t> MemoryFile::write_at(uint64_t& offset, UserInBuffer& buffer, bool) {
  const RefPtr<mm::AddressSpace> to = space();
  if (!to || buffer.remaining() == 0) return size_t{0};
  Vector<std::byte> bytes;
  TRY(bytes.resize(std::min(buffer.remaining(), kPieceBytes)));
  size_t total = 0;
  while (buffer.remaining() > 0) {
    const Result<size_t> got = buffer.get(std::span<std::byte>(bytes.data(), std::min(buffer.remaining(), bytes.size())));
    if (!got.ok() && total == 0) return got.failure();
    if (!got.ok()) break;
    const size_t put = to->write_foreign(offset, std::span<const std::byte>(bytes.data(), got.value()), mm::AddressSpace::Rights::Debugger);
    if (put == 0 && total == 0) return error(EIO);
    total += put;
    offset += put;
    if (put < got.value()) break;
  }
  return total;
}

Result<uint64_t> MemoryFile::seek(int64_t offset, int whence) {
  if (whence != 0 && whence != 1) return error(EINVAL);
  return OpenFile::seek(offset, whence);
}

}  // namespace umk::proc

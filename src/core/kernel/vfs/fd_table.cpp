#include "core/kernel/vfs/fd_table.h"

namespace umk::vfs {

Result<RefPtr<OpenFile>> FdTable::get(Fd fd) {
  const auto number = static_cast<uint32_t>(fd.number);
  // With one reference, its holder is the only one who can change the table, and it is busy here.
  if (reference_count() == 1) return get_unguarded(number);
  MutexLock lock(mutex_);
  return get_unguarded(number);
}

Result<RefPtr<OpenFile>> FdTable::get_unguarded(uint32_t number) const {
  if (number >= slots_.size()) return error(EBADF);
  const RefPtr<OpenFile>& file = slots_.data()[number].file;
  if (!file) return error(EBADF);
  return file;
}

Result<RefPtr<OpenFile>> FdTable::usable(Fd fd) {
  RefPtr<OpenFile> file = TRY(get(fd));
  if (file->is_path_only()) return error(EBADF);
  return file;
}

Result<RefPtr<OpenFile>> FdTable::readable(Fd fd) {
  RefPtr<OpenFile> file = TRY(get(fd));
  if (!file->is_readable()) return error(EBADF);
  return file;
}

Result<RefPtr<OpenFile>> FdTable::writable(Fd fd) {
  RefPtr<OpenFile> file = TRY(get(fd));
  if (!file->is_writable()) return error(EBADF);
  return file;
}

Result<void> FdTable::grow_locked(size_t size) {
  if (size <= slots_.size()) return {};
  size_t capacity = slots_.size() < 64 ? 64 : slots_.size();
  while (capacity < size) capacity *= 2;
  return slots_.resize(capacity);
}

Result<Fd> FdTable::add(RefPtr<OpenFile> file, bool close_on_exec, uint64_t limit, int from) {
  if (limit > kMaximum) limit = kMaximum;
  MutexLock lock(mutex_);
  const bool from_start = static_cast<size_t>(from) <= lowest_free_;
  size_t number = from_start ? lowest_free_ : static_cast<size_t>(from);
  while (number < slots_.size() && slots_.data()[number].file) ++number;
  if (number >= limit) return error(EMFILE);
  TRY(grow_locked(number + 1));
  slots_[number].file = std::move(file);
  slots_[number].close_on_exec = close_on_exec;
  if (from_start) lowest_free_ = number + 1;
  return Fd{static_cast<int>(number)};
}

Result<void> FdTable::put(Fd fd, RefPtr<OpenFile> file, bool close_on_exec, uint64_t limit, const void* lock_owner) {
  if (limit > kMaximum) limit = kMaximum;
  if (fd.number < 0 || static_cast<uint64_t>(fd.number) >= limit) return error(EBADF);
  const auto number = static_cast<size_t>(fd.number);
  {
    MutexLock lock(mutex_);
    TRY(grow_locked(number + 1));
    std::swap(slots_[number].file, file);
    slots_[number].close_on_exec = close_on_exec;
    if (number == lowest_free_) lowest_free_ = number + 1;
  }
  if (file) file->on_descriptor_closed(lock_owner);
  return {};
}

RefPtr<OpenFile> FdTable::take_locked(size_t number) {
  RefPtr<OpenFile> file = std::move(slots_[number].file);
  if (file && number < lowest_free_) lowest_free_ = number;
  return file;
}

Result<void> FdTable::close(Fd fd, const void* lock_owner) {
  RefPtr<OpenFile> file;
  {
    MutexLock lock(mutex_);
    const auto number = static_cast<uint32_t>(fd.number);
    if (number >= slots_.size()) return error(EBADF);
    file = take_locked(number);
  }
  if (!file) return error(EBADF);
  file->on_descriptor_closed(lock_owner);
  return {};
}

void FdTable::close_range(uint32_t first, uint32_t last, bool mark_only, const void* lock_owner) {
  for (uint64_t number = first; number <= last; ++number) {
    RefPtr<OpenFile> file;
    {
      MutexLock lock(mutex_);
      while (number < slots_.size() && number <= last && !slots_[number].file) ++number;
      if (number >= slots_.size() || number > last) return;
      if (mark_only) {
        slots_[number].close_on_exec = true;
        continue;
      }
      file = take_locked(number);
    }
    file->on_descriptor_closed(lock_owner);
  }
}

void FdTable::close_on_exec(const void* lock_owner) {
  for (size_t number = 0;; ++number) {
    RefPtr<OpenFile> file;
    {
      MutexLock lock(mutex_);
      while (number < slots_.size() && !(slots_[number].file && slots_[number].close_on_exec)) ++number;
      if (number >= slots_.size()) return;
      file = take_locked(number);
    }
    file->on_descriptor_closed(lock_owner);
  }
}

void FdTable::close_all(const void* lock_owner) { close_range(0, UINT32_MAX, false, lock_owner); }

Result<bool> FdTable::get_close_on_exec(Fd fd) {
  MutexLock lock(mutex_);
  const auto number = static_cast<uint32_t>(fd.number);
  if (number >= slots_.size() || !slots_[number].file) return error(EBADF);
  return slots_[number].close_on_exec;
}

Result<void> FdTable::set_close_on_exec(Fd fd, bool value) {
  MutexLock lock(mutex_);
  const auto number = static_cast<uint32_t>(fd.number);
  if (number >= slots_.size() || !slots_[number].file) return error(EBADF);
  slots_[number].close_on_exec = value;
  return {};
}

Result<RefPtr<FdTable>> FdTable::clone() {
  RefPtr<FdTable> copy = TRY(make_ref<FdTable>());
  MutexLock lock(mutex_);
  size_t used = slots_.size();
  while (used > 0 && !slots_[used - 1].file) --used;
  TRY(copy->fill(std::span<const Slot>(slots_.data(), used), lowest_free_));
  return copy;
}

Result<void> FdTable::fill(std::span<const Slot> slots, size_t lowest_free) NO_THREAD_SAFETY_ANALYSIS {
  // Called on a table that nobody else knows yet.
  TRY(grow_locked(slots.size()));
  for (size_t i = 0; i < slots.size(); ++i) slots_[i] = slots[i];
  lowest_free_ = lowest_free;
  return {};
}

int FdTable::next_open(int from) {
  MutexLock lock(mutex_);
  for (size_t number = from < 0 ? 0 : static_cast<size_t>(from); number < slots_.size(); ++number)
    if (slots_[number].file) return static_cast<int>(number);
  return -1;
}

uint32_t FdTable::capacity() {
  MutexLock lock(mutex_);
  return static_cast<uint32_t>(slots_.size());
}

}  // namespace umk::vfs

// Guest memory as the kernel sees it: typed user pointers and user buffers. Raw guest addresses become bytes only here.
//
// All copies check the range against the guest's part of the address space and recover from a fault. A page that the guest
// may access but that is not there yet is brought in and the copy goes on; otherwise the copy fails with EFAULT. Copies may
// therefore sleep: no lock that a page fault needs (an address space, a page store, an inode) may be held.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "core/abi/errno.h"
#include "core/base/result.h"
#include "core/base/string.h"

namespace umk {

/// Bytes copied before the fault, and whether there was one.
struct CopyOutcome {
  size_t copied;
  bool faulted;
};

// The engine's primitives (engine/user_copy.cpp; hosted tests: fake_user_memory.cpp, where guest memory is the test's own).
CopyOutcome copy_from_user(void* to, uint64_t from, size_t size);
CopyOutcome copy_to_user(uint64_t to, const void* from, size_t size);
CopyOutcome zero_user(uint64_t to, size_t size);
/// Copies a NUL-terminated string of at most `size` bytes with the NUL. Returns its length without the NUL; EFAULT;
/// ENAMETOOLONG when no NUL was found.
Result<size_t> copy_string_from_user(char* to, uint64_t from, size_t size);
/// Atomic operations on a guest word for futexes. EFAULT when it is not accessible.
Result<uint32_t> load_user_word(uint64_t address);
/// Stores `desired` if the word holds `expected`; returns what the word held.
Result<uint32_t> compare_exchange_user_word(uint64_t address, uint32_t expected, uint32_t desired);
/// True when [address, address + size) lies in the guest's part.
bool is_user_range(uint64_t address, uint64_t size);

/// A pointer of the guest to a T. Copying a T out that has padding does not compile: padding would leak kernel bytes.
template <typename T>
class UserPtr {
 public:
  constexpr UserPtr() = default;
  explicit constexpr UserPtr(uint64_t address) : address_(address) {}

  uint64_t address() const { return address_; }
  explicit operator bool() const { return address_ != 0; }
  UserPtr operator+(size_t index) const { return UserPtr(address_ + index * sizeof(T)); }

  Result<T> read() const
    requires std::is_trivially_copyable_v<T>
  {
    T value;
    if (copy_from_user(&value, address_, sizeof(T)).faulted) return error(EFAULT);
    return value;
  }
  Result<void> write(const T& value) const
    requires(std::has_unique_object_representations_v<T> || std::is_enum_v<T>)
  {
    if (copy_to_user(address_, &value, sizeof(T)).faulted) return error(EFAULT);
    return {};
  }
  Result<void> read_array(std::span<T> into) const {
    if (into.size() > SIZE_MAX / sizeof(T)) return error(EFAULT);
    if (copy_from_user(into.data(), address_, into.size_bytes()).faulted) return error(EFAULT);
    return {};
  }
  Result<void> write_array(std::span<const T> from) const
    requires(std::has_unique_object_representations_v<T>)
  {
    if (copy_to_user(address_, from.data(), from.size_bytes()).faulted) return error(EFAULT);
    return {};
  }

 private:
  uint64_t address_ = 0;
};

/// A NUL-terminated string of the guest.
class UserString {
 public:
  constexpr UserString() = default;
  explicit constexpr UserString(uint64_t address) : address_(address) {}
  uint64_t address() const { return address_; }
  explicit operator bool() const { return address_ != 0; }
  /// The text, at most `limit` bytes: EFAULT, or ENAMETOOLONG when it is longer.
  Result<String> read(size_t limit) const;

 private:
  uint64_t address_ = 0;
};

/// One piece of a scattered buffer.
struct BufferPiece {
  uint64_t address;
  uint64_t length;
};

/// Common part of the two buffer types: a sequence of pieces of guest or kernel memory with a cursor.
class BufferCursor {
 public:
  /// Bytes not yet passed.
  size_t remaining() const { return remaining_; }
  bool is_kernel() const { return kernel_; }
  /// Bytes passed so far.
  size_t done() const { return done_; }
  /// Shortens what remains to at most `size` bytes.
  void limit(size_t size) {
    if (remaining_ > size) remaining_ = size;
  }
  /// The next contiguous piece, cut to what remains; for code that hands checked guest ranges to the host.
  BufferPiece next_piece() const;
  void advance(size_t size);

 protected:
  BufferCursor(std::span<const BufferPiece> pieces, bool kernel);
  BufferCursor(BufferPiece single, bool kernel) : single_(single), remaining_(single.length), kernel_(kernel) {}
  std::span<const BufferPiece> pieces() const { return pieces_.empty() ? std::span(&single_, 1) : pieces_; }

 private:
  BufferPiece single_{};
  std::span<const BufferPiece> pieces_;
  size_t piece_ = 0;
  size_t piece_offset_ = 0;
  size_t remaining_ = 0;
  size_t done_ = 0;
  bool kernel_;
};

/// Where a read puts its data: guest memory (one range or an iovec array that outlives the buffer), or kernel memory.
class UserOutBuffer : public BufferCursor {
 public:
  UserOutBuffer(uint64_t address, size_t size) : BufferCursor(BufferPiece{address, size}, false) {}
  explicit UserOutBuffer(std::span<const BufferPiece> user_pieces) : BufferCursor(user_pieces, false) {}
  static UserOutBuffer kernel(std::span<std::byte> memory) {
    return UserOutBuffer(BufferPiece{reinterpret_cast<uint64_t>(memory.data()), memory.size()});
  }

  /// Copies `data` (or as much of it as fits) and advances; returns the bytes copied. EFAULT only when nothing was copied
  /// before the fault, so that partial results are reported as read(2) reports them.
  Result<size_t> put(std::span<const std::byte> data);
  Result<size_t> put_zeroes(size_t size);

 private:
  explicit UserOutBuffer(BufferPiece kernel_piece) : BufferCursor(kernel_piece, true) {}
};

/// Where a write takes its data from.
class UserInBuffer : public BufferCursor {
 public:
  UserInBuffer(uint64_t address, size_t size) : BufferCursor(BufferPiece{address, size}, false) {}
  explicit UserInBuffer(std::span<const BufferPiece> user_pieces) : BufferCursor(user_pieces, false) {}
  static UserInBuffer kernel(std::span<const std::byte> memory) {
    return UserInBuffer(BufferPiece{reinterpret_cast<uint64_t>(memory.data()), memory.size()});
  }

  /// Fills `into` (or as much as there is) and advances; returns the bytes copied. EFAULT as UserOutBuffer::put.
  Result<size_t> get(std::span<std::byte> into);

 private:
  explicit UserInBuffer(BufferPiece kernel_piece) : BufferCursor(kernel_piece, true) {}
};

}  // namespace umk

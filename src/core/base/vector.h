// Vector<T>: a growing array whose growth can fail with ENOMEM.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <new>
#include <span>
#include <type_traits>
#include <utility>

#include "core/abi/errno.h"
#include "core/base/result.h"

namespace umk {

template <typename T>
class Vector {
 public:
  Vector() = default;
  Vector(Vector&& other) noexcept
      : items_(std::exchange(other.items_, nullptr)), size_(std::exchange(other.size_, 0)), capacity_(std::exchange(other.capacity_, 0)) {}
  Vector& operator=(Vector&& other) noexcept {
    if (this != &other) {
      release();
      items_ = std::exchange(other.items_, nullptr);
      size_ = std::exchange(other.size_, 0);
      capacity_ = std::exchange(other.capacity_, 0);
    }
    return *this;
  }
  Vector(const Vector&) = delete;
  Vector& operator=(const Vector&) = delete;
  ~Vector() { release(); }

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T* data() { return items_; }
  const T* data() const { return items_; }
  T* begin() { return items_; }
  T* end() { return items_ + size_; }
  const T* begin() const { return items_; }
  const T* end() const { return items_ + size_; }
  T& front() { return (*this)[0]; }
  T& back() { return (*this)[size_ - 1]; }
  const T& back() const { return (*this)[size_ - 1]; }
  T& operator[](size_t index) {
    CHECK(index < size_, "Vector index out of range");
    return items_[index];
  }
  const T& operator[](size_t index) const {
    CHECK(index < size_, "Vector index out of range");
    return items_[index];
  }
  operator std::span<T>() { return {items_, size_}; }
  operator std::span<const T>() const { return {items_, size_}; }

  /// Makes room for `capacity` items in all.
  Result<void> reserve(size_t capacity) {
    if (capacity <= capacity_) return {};
    if (capacity > kMostItems) return error(ENOMEM);
    T* grown = static_cast<T*>(::operator new(capacity * sizeof(T), std::nothrow));
    if (!grown) return error(ENOMEM);
    if constexpr (std::is_trivially_copyable_v<T>) {
      if (size_ != 0) __builtin_memcpy(grown, items_, size_ * sizeof(T));
    } else {
      for (size_t i = 0; i < size_; ++i) {
        new (&grown[i]) T(std::move(items_[i]));
        items_[i].~T();
      }
    }
    ::operator delete(items_);
    items_ = grown;
    capacity_ = capacity;
    return {};
  }

  /// Makes room for `count` more items. The room at least doubles when it grows, so that what comes in many pieces is not moved for each.
  Result<void> make_room(size_t count) {
    if (count <= capacity_ - size_) return {};
    if (count > kMostItems - size_) return error(ENOMEM);
    return reserve(size_ + count > capacity_ * 2 ? size_ + count : capacity_ * 2);
  }

  Result<void> push_back(T item) {
    if (size_ == capacity_) TRY(reserve(capacity_ == 0 ? 4 : capacity_ * 2));
    new (&items_[size_++]) T(std::move(item));
    return {};
  }

  /// Inserts before `index`, which may be size().
  Result<void> insert(size_t index, T item) {
    CHECK(index <= size_, "Vector insertion out of range");
    TRY(push_back(std::move(item)));
    for (size_t i = size_ - 1; i > index; --i) std::swap(items_[i], items_[i - 1]);
    return {};
  }

  Result<void> append(std::span<const T> items)
    requires std::is_copy_constructible_v<T>
  {
    TRY(make_room(items.size()));
    if constexpr (std::is_trivially_copyable_v<T>) {
      if (!items.empty()) __builtin_memcpy(static_cast<void*>(&items_[size_]), items.data(), items.size() * sizeof(T));
      size_ += items.size();
    } else {
      for (const T& item : items) new (&items_[size_++]) T(item);
    }
    return {};
  }

  Result<void> resize(size_t size)
    requires std::is_default_constructible_v<T>
  {
    TRY(reserve(size));
    while (size_ > size) items_[--size_].~T();
    while (size_ < size) new (&items_[size_++]) T();
    return {};
  }

  void pop_back() {
    CHECK(size_ > 0, "pop_back of an empty Vector");
    items_[--size_].~T();
  }

  void erase(size_t index) {
    CHECK(index < size_, "Vector erasure out of range");
    for (size_t i = index; i + 1 < size_; ++i) items_[i] = std::move(items_[i + 1]);
    pop_back();
  }

  void clear() {
    while (size_ > 0) items_[--size_].~T();
  }

 private:
  /// No object is larger than what the difference of two pointers can tell.
  static constexpr size_t kMostItems = PTRDIFF_MAX / sizeof(T);

  void release() {
    clear();
    ::operator delete(items_);
    items_ = nullptr;
    capacity_ = 0;
  }

  T* items_ = nullptr;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

}  // namespace umk

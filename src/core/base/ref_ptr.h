// Shared ownership: an object that counts its references, and the pointer that holds one of them.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "core/base/check.h"

namespace umk {

/// Base of shared objects. Starts with one reference, owned by the first `adopt_ref`.
/// The last reference calls `last_reference_dropped`, which deletes the object unless a class overrides it.
class RefCounted {
 public:
  RefCounted(const RefCounted&) = delete;
  RefCounted& operator=(const RefCounted&) = delete;

  void add_reference() const { references_.fetch_add(1, std::memory_order_relaxed); }

  /// Takes a reference unless the count has already reached zero; used by caches that hold no reference themselves,
  /// under the lock that `last_reference_dropped` takes before it unlinks the object.
  [[nodiscard]] bool try_add_reference() const {
    uint32_t count = references_.load(std::memory_order_relaxed);
    while (count != 0)
      if (references_.compare_exchange_weak(count, count + 1, std::memory_order_acquire, std::memory_order_relaxed)) return true;
    return false;
  }

  void drop_reference() const {
    if (references_.fetch_sub(1, std::memory_order_acq_rel) == 1) const_cast<RefCounted*>(this)->last_reference_dropped();
  }

  /// Drops a reference; true when it was the last, in which case the caller must dispose of the object (for chains that would recurse).
  [[nodiscard]] bool drop_reference_only() const { return references_.fetch_sub(1, std::memory_order_acq_rel) == 1; }

  uint32_t reference_count() const { return references_.load(std::memory_order_relaxed); }

 protected:
  RefCounted() = default;
  virtual ~RefCounted() = default;
  virtual void last_reference_dropped() { delete this; }

 private:
  mutable std::atomic<uint32_t> references_{1};
};

/// A counted pointer to a RefCounted; may be null.
template <typename T>
class RefPtr {
 public:
  RefPtr() = default;
  RefPtr(std::nullptr_t) {}
  RefPtr(T* object) : object_(object) {
    if (object_) object_->add_reference();
  }
  RefPtr(T& object) : RefPtr(&object) {}
  RefPtr(const RefPtr& other) : RefPtr(other.object_) {}
  RefPtr(RefPtr&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  template <typename U>
    requires(std::is_convertible_v<U*, T*>)
  RefPtr(const RefPtr<U>& other) : RefPtr(other.get()) {}
  template <typename U>
    requires(std::is_convertible_v<U*, T*>)
  RefPtr(RefPtr<U>&& other) noexcept : object_(other.leak()) {}
  ~RefPtr() {
    if (object_) object_->drop_reference();
  }

  RefPtr& operator=(RefPtr other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }

  /// Takes over a reference that the caller already owns.
  static RefPtr adopt(T* object) {
    RefPtr pointer;
    pointer.object_ = object;
    return pointer;
  }
  /// Gives up the reference without dropping it; the caller owns it now.
  [[nodiscard]] T* leak() { return std::exchange(object_, nullptr); }

  T* get() const { return object_; }
  T& operator*() const { return *object_; }
  T* operator->() const { return object_; }
  explicit operator bool() const { return object_ != nullptr; }
  friend bool operator==(const RefPtr& a, const RefPtr& b) { return a.object_ == b.object_; }
  friend bool operator==(const RefPtr& a, const T* b) { return a.object_ == b; }

 private:
  T* object_ = nullptr;
};

/// Wraps a freshly made object, whose first reference is the caller's.
template <typename T>
RefPtr<T> adopt_ref(T* object) {
  return RefPtr<T>::adopt(object);
}

}  // namespace umk

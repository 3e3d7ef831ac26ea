// operator new and delete of the kernel image.
#include <new>

#include "core/base/check.h"
#include "core/memory/kernel_heap.h"

namespace std {
const nothrow_t nothrow{};
}

namespace {

void* allocate_or_panic(size_t bytes, size_t alignment) {
  void* object = umk::KernelHeap::global().allocate(bytes, alignment);
  CHECK(object, "memory for a kernel object that may not fail");
  return object;
}

void release(void* object) {
  if (object) umk::KernelHeap::global().free(object);
}

}  // namespace

void* operator new(size_t bytes) { return allocate_or_panic(bytes, 16); }
void* operator new[](size_t bytes) { return allocate_or_panic(bytes, 16); }
void* operator new(size_t bytes, std::align_val_t alignment) { return allocate_or_panic(bytes, static_cast<size_t>(alignment)); }
void* operator new[](size_t bytes, std::align_val_t alignment) { return allocate_or_panic(bytes, static_cast<size_t>(alignment)); }
void* operator new(size_t bytes, const std::nothrow_t&) noexcept { return umk::KernelHeap::global().allocate(bytes); }
void* operator new[](size_t bytes, const std::nothrow_t&) noexcept { return umk::KernelHeap::global().allocate(bytes); }
void* operator new(size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return umk::KernelHeap::global().allocate(bytes, static_cast<size_t>(alignment));
}
void* operator new[](size_t bytes, std::align_val_t alignment, const std::nothrow_t&) noexcept {
  return umk::KernelHeap::global().allocate(bytes, static_cast<size_t>(alignment));
}

void operator delete(void* object) noexcept { release(object); }
void operator delete[](void* object) noexcept { release(object); }
void operator delete(void* object, size_t) noexcept { release(object); }
void operator delete[](void* object, size_t) noexcept { release(object); }
void operator delete(void* object, std::align_val_t) noexcept { release(object); }
void operator delete[](void* object, std::align_val_t) noexcept { release(object); }
void operator delete(void* object, size_t, std::align_val_t) noexcept { release(object); }
void operator delete[](void* object, size_t, std::align_val_t) noexcept { release(object); }
void operator delete(void* object, const std::nothrow_t&) noexcept { release(object); }
void operator delete[](void* object, const std::nothrow_t&) noexcept { release(object); }
void operator delete(void* object, std::align_val_t, const std::nothrow_t&) noexcept { release(object); }
void operator delete[](void* object, std::align_val_t, const std::nothrow_t&) noexcept { release(object); }

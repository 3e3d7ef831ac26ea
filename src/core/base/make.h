// Allocation that can fail: ENOMEM instead of an exception.
#pragma once

#include <memory>
#include <new>
#include <utility>

#include "core/abi/errno.h"
#include "core/base/ref_ptr.h"
#include "core/base/result.h"

namespace umk {

/// A new T with one owner, or ENOMEM.
template <typename T, typename... Arguments>
Result<std::unique_ptr<T>> make_unique(Arguments&&... arguments) {
  T* object = new (std::nothrow) T(std::forward<Arguments>(arguments)...);
  if (!object) return error(ENOMEM);
  return std::unique_ptr<T>(object);
}

/// A new counted T, or ENOMEM.
template <typename T, typename... Arguments>
Result<RefPtr<T>> make_ref(Arguments&&... arguments) {
  T* object = new (std::nothrow) T(std::forward<Arguments>(arguments)...);
  if (!object) return error(ENOMEM);
  return adopt_ref(object);
}

}  // namespace umk

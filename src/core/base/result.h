// Result<T>: what every function that can fail returns, and TRY, which passes a failure up.
//
// An Error is a Linux errno together with the place where it was made, so that an unexpected EIO can be traced to the line
// that decided it. Wrong input from a guest, a disk or a packet is an Error; a broken invariant of ours is CHECK (check.h).
#pragma once

#include <new>
#include <type_traits>
#include <utility>

#include "core/base/check.h"

namespace umk {

/// A failure: a Linux errno (positive) and the source line that raised it.
struct [[nodiscard]] Error {
  int code;
  int line;
  const char* file;
};

/// Makes a failure with `code`, an errno such as ENOENT, remembering the caller's place.
constexpr Error error(int code, const char* file = __builtin_FILE(), int line = __builtin_LINE()) { return Error{code, line, file}; }

// How TRY carries what it took out of its statement expression, which can only yield values: references travel as
// pointers, and nothing as an empty struct.
template <typename T>
struct TakenReference {
  T* object;
};
struct TakenNothing {};

template <typename T>
  requires(!std::is_reference_v<T>)
T unwrap_taken(T&& value) {
  return std::forward<T>(value);
}
template <typename T>
T& unwrap_taken(TakenReference<T>&& reference) {
  return *reference.object;
}
inline void unwrap_taken(TakenNothing&&) {}

/// Either a value or the Error that prevented it. Must be looked at: it is [[nodiscard]].
template <typename T>
class [[nodiscard]] Result {
 public:
  using Value = T;

  Result(Error failure) : failure_(failure), ok_(false) {}
  template <typename U = T>
    requires(std::is_constructible_v<T, U &&> && !std::is_same_v<std::remove_cvref_t<U>, Result> &&
             !std::is_same_v<std::remove_cvref_t<U>, Error>)
  Result(U&& value) : value_(std::forward<U>(value)), ok_(true) {}

  Result(Result&& other) noexcept : ok_(other.ok_) {
    if (ok_) {
      new (&value_) T(std::move(other.value_));
    } else {
      failure_ = other.failure_;
    }
  }
  Result& operator=(Result&& other) noexcept {
    if (this != &other) {
      this->~Result();
      new (this) Result(std::move(other));
    }
    return *this;
  }
  ~Result() {
    if (ok_) value_.~T();
  }

  bool ok() const { return ok_; }
  explicit operator bool() const { return ok_; }

  /// The value. Calling it on a failure is a bug of ours and panics.
  T& value() {
    CHECK(ok_, "Result::value() of a failure");
    return value_;
  }
  const T& value() const {
    CHECK(ok_, "Result::value() of a failure");
    return value_;
  }
  T take() { return std::move(value()); }
  T take_wrapped() { return take(); }
  T value_or(T fallback) { return ok_ ? std::move(value_) : std::move(fallback); }

  Error failure() const {
    CHECK(!ok_, "Result::failure() of a success");
    return failure_;
  }
  /// The errno, or 0 for success.
  int code() const { return ok_ ? 0 : failure_.code; }

 private:
  union {
    T value_;
    Error failure_;
  };
  bool ok_;
};

/// References travel as pointers inside.
template <typename T>
class [[nodiscard]] Result<T&> {
 public:
  using Value = T&;

  Result(Error failure) : failure_(failure) {}
  Result(T& value) : value_(&value) {}

  bool ok() const { return value_ != nullptr; }
  explicit operator bool() const { return ok(); }
  T& value() const {
    CHECK(value_, "Result::value() of a failure");
    return *value_;
  }
  T& take() const { return value(); }
  TakenReference<T> take_wrapped() const { return {&value()}; }
  Error failure() const { return failure_; }
  int code() const { return value_ ? 0 : failure_.code; }

 private:
  T* value_ = nullptr;
  Error failure_{};
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using Value = void;

  Result() = default;
  Result(Error failure) : failure_(failure) {}

  bool ok() const { return failure_.code == 0; }
  explicit operator bool() const { return ok(); }
  void value() const { CHECK(ok(), "Result::value() of a failure"); }
  void take() const { value(); }
  TakenNothing take_wrapped() const {
    value();
    return {};
  }
  Error failure() const { return failure_; }
  int code() const { return failure_.code; }

 private:
  Error failure_{};
};

}  // namespace umk

#define UMK_JOIN_(a, b) a##b
#define UMK_JOIN(a, b) UMK_JOIN_(a, b)

/// The value of `expression` (a Result), or an immediate return of its failure from the enclosing function.
/// The counter gives each use a name of its own, so that uses nest.
#define TRY(expression) TRY_NAMED(UMK_JOIN(try_result_, __COUNTER__), expression)
#define TRY_NAMED(name, expression)   \
  ::umk::unwrap_taken(__extension__({ \
    auto&& name = (expression);       \
    if (!name.ok()) [[unlikely]]      \
      return name.failure();          \
    name.take_wrapped();              \
  }))

/// The value of `expression`, which cannot fail here for the stated reason; panics if it does.
#define MUST(expression, why) MUST_NAMED(UMK_JOIN(must_result_, __COUNTER__), expression, why)
#define MUST_NAMED(name, expression, why)  \
  ::umk::unwrap_taken(__extension__({      \
    auto&& name = (expression);            \
    CHECK(name.ok(), "cannot fail: " why); \
    name.take_wrapped();                   \
  }))

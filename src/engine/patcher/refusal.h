// Refusal: why a call site is left alone. A refused site is not an error: it goes on trapping, slowly and exactly.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace umk::patcher {

enum class RefusalReason : uint8_t {
  OutsideText,       // the site, or a byte of its function, is not in the text that was given
  NotASyscall,       // no `syscall` (or wanted `cpuid`) instruction at the site
  Restorer,          // a signal restorer: debuggers and unwinders recognise it by its bytes
  NoFunction,        // no unwind entry covers the site, and no constant is loaded into rax directly before it
  FunctionTooLarge,  // decoding would take too long
  Undecodable,       // the function holds bytes that are no instruction
  NotABoundary,      // decoding its function from the start does not meet the site
  UnexpectedRax,     // the code before the site loads another number than the one that trapped; another trap may differ
  TooCloseToStart,   // the function begins less than five bytes before the site
  Entered,           // a direct branch goes to where the window would have to be
  NotMovable,        // the instructions before the site cannot run elsewhere
  Taken,             // overlaps the window of another site
  OutOfReach,        // the trampoline, or what a moved instruction refers to, is more than 2 GiB away
  NoRoom,            // no free place for the trampoline would do; more room may help
};

inline constexpr size_t kRefusalReasons = static_cast<size_t>(RefusalReason::NoRoom) + 1;

struct Refusal {
  RefusalReason reason;

  /// A few words for counters and logs.
  std::string_view text() const;
  /// A later trap on the same site may be planned with success.
  bool may_pass_later() const { return reason == RefusalReason::UnexpectedRax || reason == RefusalReason::NoRoom; }
};

}  // namespace umk::patcher

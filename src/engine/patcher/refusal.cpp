#include "engine/patcher/refusal.h"

namespace umk::patcher {

std::string_view Refusal::text() const {
  switch (reason) {
    case RefusalReason::OutsideText: return "outside the text";
    case RefusalReason::NotASyscall: return "not a syscall instruction";
    case RefusalReason::Restorer: return "signal restorer";
    case RefusalReason::NoFunction: return "function unknown";
    case RefusalReason::FunctionTooLarge: return "function too large";
    case RefusalReason::Undecodable: return "undecodable bytes in function";
    case RefusalReason::NotABoundary: return "not at an instruction boundary";
    case RefusalReason::UnexpectedRax: return "unexpected rax";
    case RefusalReason::TooCloseToStart: return "too close to function start";
    case RefusalReason::Entered: return "branch into window";
    case RefusalReason::NotMovable: return "instructions not movable";
    case RefusalReason::Taken: return "overlaps another window";
    case RefusalReason::OutOfReach: return "out of reach";
    case RefusalReason::NoRoom: return "no room for trampoline";
  }
  return "unknown";
}

}  // namespace umk::patcher

// ArgumentText: the kernel's copy of the arguments that a program was started with.
//
// A program's arguments lie on its stack, where it may change them; /proc/PID/cmdline of the reader itself is read from there. The memory of another process
// cannot be read without its help, so what others see is this copy: the beginning of the arguments as they were at exec, each with its NUL. It is made by
// exec, shared with forked children, and never changes.
#pragma once

#include "core/base/ref_ptr.h"
#include "core/base/vector.h"

namespace umk::mm {

class ArgumentText : public RefCounted {
 public:
  static constexpr size_t kMaximumBytes = 4096;
  Vector<char> bytes;
};

}  // namespace umk::mm

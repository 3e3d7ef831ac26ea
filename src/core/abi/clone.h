// Arguments of clone3(2), in its last form; callers with older ones pass a smaller size.
#pragma once

#include <cstddef>
#include <cstdint>

namespace umk {

struct KernelCloneArguments {
  uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
  uint64_t set_tid, set_tid_size;
  uint64_t cgroup;
};
static_assert(sizeof(KernelCloneArguments) == 88);
inline constexpr size_t kCloneArgumentsFirstSize = 64;

}  // namespace umk

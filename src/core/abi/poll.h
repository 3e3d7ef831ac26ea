// What poll(2), select(2) and epoll_wait(2) exchange with guests.
#pragma once

#include <cstdint>

namespace umk {

struct KernelPollFd {
  int32_t fd;
  uint16_t events;
  uint16_t returned;
};
static_assert(sizeof(KernelPollFd) == 8);

/// struct epoll_event: packed on x86-64.
struct [[gnu::packed]] KernelEpollEvent {
  uint32_t events;
  uint64_t data;
};
static_assert(sizeof(KernelEpollEvent) == 12);

/// The sixth argument of pselect6(2).
struct KernelMaskArgument {
  uint64_t mask;
  uint64_t size;
};
static_assert(sizeof(KernelMaskArgument) == 16);

namespace epoll_operations {
inline constexpr int kAdd = 1, kRemove = 2, kModify = 3;
}

}  // namespace umk

// What netlink sockets exchange with guests: netlink(7).
#pragma once

#include <cstddef>
#include <cstdint>

namespace umk {

/// struct sockaddr_nl
struct KernelNetlinkAddress {
  uint16_t family;
  uint16_t padding;
  uint32_t port;    // nl_pid; 0: the kernel
  uint32_t groups;  // a bit for each
};
static_assert(sizeof(KernelNetlinkAddress) == 12);

/// struct nlmsghdr
struct KernelNetlinkHeader {
  uint32_t length;  // with the header
  uint16_t type;
  uint16_t flags;
  uint32_t sequence;
  uint32_t port;
};
static_assert(sizeof(KernelNetlinkHeader) == 16);

namespace netlink {
inline constexpr int kObjectEvents = 15;  // NETLINK_KOBJECT_UEVENT
inline constexpr int kProtocols = 32;     // MAX_LINKS
inline constexpr uint32_t kGroups = 32;
inline constexpr int kLevel = 270;  // SOL_NETLINK
inline constexpr int kAddMembership = 1, kDropMembership = 2, kNoOverrunError = 5, kListMemberships = 9;
inline constexpr uint16_t kFirstOwnType = 16;  // NLMSG_MIN_TYPE
inline constexpr uint16_t kRequest = 1;        // NLM_F_REQUEST
}  // namespace netlink

}  // namespace umk

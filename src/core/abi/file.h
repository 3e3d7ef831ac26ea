// What file calls pass: open_how, flock, f_owner_ex, and the numbers of fcntl(2).
#pragma once

#include <cstdint>

namespace umk::abi {

/// struct open_how of openat2(2).
struct OpenHow {
  uint64_t flags;
  uint64_t mode;
  uint64_t resolve;
};
static_assert(sizeof(OpenHow) == 24);

namespace resolve {
inline constexpr uint64_t kNoMountCrossing = 1, kNoMagicLinks = 2, kNoSymlinks = 4, kBeneath = 8, kInRoot = 16, kCached = 32;
}

/// struct flock of fcntl(2).
struct RecordLockArgument {
  int16_t type;
  int16_t whence;
  int32_t padding;
  int64_t start;
  int64_t length;
  int32_t pid;
  int32_t padding_after;
};
static_assert(sizeof(RecordLockArgument) == 32);
inline constexpr int16_t kReadLock = 0, kWriteLock = 1, kUnlock = 2;

/// struct f_owner_ex.
struct OwnerArgument {
  int32_t type;
  int32_t pid;
};
inline constexpr int32_t kOwnerThread = 0, kOwnerProcess = 1, kOwnerGroup = 2;

namespace fcntl {
inline constexpr int kDuplicate = 0, kGetDescriptorFlags = 1, kSetDescriptorFlags = 2, kGetStatusFlags = 3, kSetStatusFlags = 4;
inline constexpr int kGetLock = 5, kSetLock = 6, kSetLockWait = 7, kSetOwner = 8, kGetOwner = 9, kSetSignal = 10, kGetSignal = 11;
inline constexpr int kSetOwnerExtended = 15, kGetOwnerExtended = 16, kGetFileLock = 36, kSetFileLock = 37, kSetFileLockWait = 38;
inline constexpr int kSetLease = 1024, kGetLease = 1025;
inline constexpr int kDuplicateQuery = 1027, kDuplicateCloseOnExec = 1030, kSetPipeSize = 1031, kGetPipeSize = 1032, kAddSeals = 1033, kGetSeals = 1034;
}  // namespace fcntl

/// Flags of preadv2(2) and pwritev2(2).
namespace transfer_flags {
inline constexpr uint32_t kHighPriority = 1, kDataSync = 2, kSync = 4, kNoWait = 8, kAppend = 16, kAll = 31;
}

/// Flags of close_range(2), memfd_create(2), flock(2).
inline constexpr uint32_t kCloseRangeUnshare = 2, kCloseRangeMark = 4;
inline constexpr uint32_t kMemfdCloseOnExec = 1, kMemfdAllowSealing = 2, kMemfdHugeTlb = 4, kMemfdNoExecSeal = 8, kMemfdExec = 16;
inline constexpr int kFlockShared = 1, kFlockExclusive = 2, kFlockNonBlock = 4, kFlockUnlock = 8;

}  // namespace umk::abi

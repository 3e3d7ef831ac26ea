// Waiting for files: poll, ppoll, select, pselect6, and the epoll family.
#include <array>
#include <iterator>

#include "core/abi/poll.h"
#include "core/abi/time.h"
#include "core/kernel/syscall/call_mask.h"
#include "core/kernel/syscall/families.h"
#include "core/kernel/syscall/new_file.h"
#include "core/kernel/vfs/epoll.h"
#include "core/kernel/vfs/poll_wait.h"

namespace umk {

namespace {

using vfs::EpollFile;
using vfs::OpenFile;
using vfs::PolledFile;
using namespace vfs::poll_bits;

/// A deadline that has passed already: look, and do not sleep.
constexpr Deadline kAtOnce{0};

Deadline deadline_in_ms(int32_t milliseconds) {
  if (milliseconds < 0) return Deadline::never();
  if (milliseconds == 0) return kAtOnce;
  return Deadline::after_ns(static_cast<uint64_t>(milliseconds) * 1'000'000);
}

// A relative timeout of the guest, absent for ever. EINVAL, EFAULT.
Result<Deadline> deadline_from(UserPtr<KernelTimespec> timeout) {
  if (!timeout) return Deadline::never();
  const KernelTimespec value = TRY(timeout.read());
  if (!value.is_valid()) return error(EINVAL);
  return value.to_ns() == 0 ? kAtOnce : Deadline::after_ns(value.to_ns());
}

uint64_t remaining_ns(Deadline deadline) {
  const uint64_t now = host::now_ns(host::Clock::Monotonic);
  return deadline.monotonic_ns > now ? deadline.monotonic_ns - now : 0;
}

// --- poll

// The files of one call, few of them without an allocation.
class PolledFiles {
 public:
  Result<std::span<PolledFile>> make(size_t count) {
    if (count <= inline_.size()) return std::span(inline_.data(), count);
    TRY(more_.resize(count));
    return std::span<PolledFile>(more_);
  }

 private:
  std::array<PolledFile, 8> inline_;
  Vector<PolledFile> more_;
};

Result<int64_t> poll_descriptors(Task& task, UserPtr<KernelPollFd> address, uint64_t count, Deadline deadline) {
  if (count > task.process().limits.soft(Resource::OpenFiles)) return error(EINVAL);
  std::array<KernelPollFd, 8> few;
  Vector<KernelPollFd> many;
  std::span<KernelPollFd> asked(few.data(), count <= few.size() ? count : 0);
  if (count > few.size()) {
    TRY(many.resize(count));
    asked = many;
  }
  TRY(address.read_array(asked));
  PolledFiles storage;
  const std::span<PolledFile> files = TRY(storage.make(count));

  size_t invalid = 0;
  for (size_t i = 0; i < count; ++i) {
    asked[i].returned = 0;
    if (asked[i].fd < 0) continue;
    Result<RefPtr<OpenFile>> file = task.fds().usable(Fd{asked[i].fd});
    if (file.ok()) {
      files[i].file = file.take();
      // Errors and hang-ups are reported even when nobody asks.
      files[i].wanted = asked[i].events | kError | kHangUp;
    } else {
      asked[i].returned = kInvalid;
      ++invalid;
    }
  }
  const size_t ready = TRY(vfs::wait_for_files(files, invalid > 0 ? kAtOnce : deadline));
  for (size_t i = 0; i < count; ++i) {
    if (files[i].file) asked[i].returned = static_cast<uint16_t>(files[i].ready);
    // Other threads may change the rest of the structure meanwhile, so only the answer is written.
    const uint16_t returned = asked[i].returned;
    TRY(UserPtr<uint16_t>((address + i).address() + offsetof(KernelPollFd, returned)).write(returned));
  }
  return static_cast<int64_t>(ready + invalid);
}

// restart_syscall(2) of poll: the deadline stays what it was.
Result<int64_t> restart_poll(Task& task);

Result<int64_t> poll_until(Task& task, UserPtr<KernelPollFd> address, uint64_t count, Deadline deadline) {
  Result<int64_t> ready = poll_descriptors(task, address, count, deadline);
  if (ready.ok() || ready.code() != ERESTARTSYS) return ready;
  task.restart_function = restart_poll;
  task.restart_data[0] = address.address();
  task.restart_data[1] = count;
  task.restart_data[2] = deadline.monotonic_ns;
  return error(ERESTART_RESTARTBLOCK);
}

Result<int64_t> restart_poll(Task& task) {
  return poll_until(task, UserPtr<KernelPollFd>(task.restart_data[0]), task.restart_data[1], Deadline{task.restart_data[2]});
}

// poll(2)
Result<int64_t> sys_poll(Task& task, UserPtr<KernelPollFd> files, uint32_t count, int32_t timeout_ms) {
  return poll_until(task, files, count, deadline_in_ms(timeout_ms));
}

// The time that is left goes back to the guest; where it cannot be written the call cannot be restarted either.
template <typename T, typename Spell>
Result<int64_t> finish_timed(Result<int64_t> outcome, UserPtr<T> timeout, Deadline deadline, Spell spell) {
  const bool interrupted = !outcome.ok() && outcome.code() == ERESTARTSYS;
  if (timeout) {
    const bool written = timeout.write(spell(remaining_ns(deadline))).ok();
    if (interrupted && !written) return error(EINTR);
  }
  if (interrupted) return error(ERESTARTNOHAND);
  return outcome;
}

// ppoll(2)
Result<int64_t> sys_ppoll(Task& task, UserPtr<KernelPollFd> files, uint32_t count, UserPtr<KernelTimespec> timeout, UserPtr<uint64_t> mask, uint64_t mask_size) {
  const Deadline deadline = TRY(deadline_from(timeout));
  const CallMask call_mask = TRY(CallMask::set(task, mask, mask_size));
  Result<int64_t> ready = poll_descriptors(task, files, count, deadline);
  call_mask.finish(task, !ready.ok() && ready.code() == ERESTARTSYS);
  return finish_timed(std::move(ready), timeout, deadline, &KernelTimespec::from_ns);
}

// --- select

constexpr uint32_t kSelectRead = kIn | kReadNormal | kReadBand | kHangUp | kError;
constexpr uint32_t kSelectWrite = kOut | kWriteNormal | kWriteBand | kError;
constexpr uint32_t kSelectExcept = kPriority;

// The three bit sets of select(2), in and out.
struct SelectSets {
  static constexpr size_t kSets = 3;
  UserPtr<uint64_t> address[kSets];
  Vector<uint64_t> asked[kSets];
  size_t words = 0;

  Result<void> read(int count) {
    words = (static_cast<size_t>(count) + 63) / 64;
    for (size_t i = 0; i < kSets; ++i) {
      TRY(asked[i].resize(words));
      if (address[i]) TRY(address[i].read_array(asked[i]));
    }
    return {};
  }
  bool has(size_t set, int fd) const { return (asked[set][static_cast<size_t>(fd) / 64] >> (fd % 64)) & 1; }
  void keep(size_t set, int fd, bool ready) {
    if (!ready) asked[set][static_cast<size_t>(fd) / 64] &= ~(uint64_t{1} << (fd % 64));
  }
  Result<void> write() {
    for (size_t i = 0; i < kSets; ++i)
      if (address[i]) TRY(address[i].write_array(asked[i]));
    return {};
  }
};

Result<int64_t> select_descriptors(Task& task, int count, SelectSets& sets, Deadline deadline) {
  if (count < 0) return error(EINVAL);
  // Descriptors beyond the table cannot be open and are not looked at, as on Linux.
  if (const auto capacity = static_cast<int>(task.fds().capacity()); count > capacity) count = capacity;
  TRY(sets.read(count));

  Vector<int> descriptors;
  Vector<PolledFile> files;
  for (int fd = 0; fd < count; ++fd) {
    uint32_t wanted = 0;
    if (sets.has(0, fd)) wanted |= kSelectRead;
    if (sets.has(1, fd)) wanted |= kSelectWrite;
    if (sets.has(2, fd)) wanted |= kSelectExcept;
    if (wanted == 0) continue;
    TRY(files.push_back(PolledFile{TRY(task.fds().usable(Fd{fd})), wanted, 0}));
    TRY(descriptors.push_back(fd));
  }
  TRY(vfs::wait_for_files(files, deadline));

  int64_t total = 0;
  constexpr uint32_t kBits[] = {kSelectRead, kSelectWrite, kSelectExcept};
  for (size_t i = 0; i < files.size(); ++i)
    for (size_t set = 0; set < SelectSets::kSets; ++set) {
      if (!sets.has(set, descriptors[i])) continue;
      const bool ready = (files[i].ready & kBits[set]) != 0;
      sets.keep(set, descriptors[i], ready);
      if (ready) ++total;
    }
  TRY(sets.write());
  return total;
}

// select(2)
Result<int64_t> sys_select(Task& task, int count, UserPtr<uint64_t> read, UserPtr<uint64_t> write, UserPtr<uint64_t> except, UserPtr<KernelTimeval> timeout) {
  Deadline deadline = Deadline::never();
  if (timeout) {
    const KernelTimeval value = TRY(timeout.read());
    if (value.seconds < 0 || value.microseconds < 0) return error(EINVAL);
    // select(2): microseconds may exceed a second.
    const KernelTimespec spec{value.seconds + value.microseconds / 1'000'000, value.microseconds % 1'000'000 * 1000};
    deadline = spec.to_ns() == 0 ? kAtOnce : Deadline::after_ns(spec.to_ns());
  }
  SelectSets sets{{read, write, except}, {}, 0};
  return finish_timed(select_descriptors(task, count, sets, deadline), timeout, deadline, &KernelTimeval::from_ns);
}

// pselect6(2)
Result<int64_t> sys_pselect6(Task& task, int count, UserPtr<uint64_t> read, UserPtr<uint64_t> write, UserPtr<uint64_t> except, UserPtr<KernelTimespec> timeout,
                             UserPtr<KernelMaskArgument> mask_argument) {
  KernelMaskArgument argument{};
  if (mask_argument) argument = TRY(mask_argument.read());
  const Deadline deadline = TRY(deadline_from(timeout));
  const CallMask call_mask = TRY(CallMask::set(task, UserPtr<uint64_t>(argument.mask), argument.size));
  SelectSets sets{{read, write, except}, {}, 0};
  Result<int64_t> ready = select_descriptors(task, count, sets, deadline);
  call_mask.finish(task, !ready.ok() && ready.code() == ERESTARTSYS);
  return finish_timed(std::move(ready), timeout, deadline, &KernelTimespec::from_ns);
}

// --- epoll

// epoll_create1(2)
Result<Fd> sys_epoll_create1(Task& task, uint32_t flags) {
  if (flags & ~vfs::open_flags::kCloseOnExec) return error(EINVAL);
  RefPtr<vfs::AnonymousInode> inode = TRY(make_anonymous_inode(task, vfs::AnonymousKind::Event, 0600));
  return add_descriptor(task, TRY(EpollFile::create(std::move(inode))), flags != 0);
}

// epoll_create(2): the size is a hint that must be positive.
Result<Fd> sys_epoll_create(Task& task, int32_t size) {
  if (size <= 0) return error(EINVAL);
  return sys_epoll_create1(task, 0);
}

// epoll_ctl(2)
Result<void> sys_epoll_ctl(Task& task, Fd epoll_fd, int32_t operation, Fd fd, UserPtr<KernelEpollEvent> pointer) {
  KernelEpollEvent event{};
  if (operation != epoll_operations::kRemove) event = TRY(pointer.read());
  RefPtr<OpenFile> epoll_file = TRY(task.fds().usable(epoll_fd));
  RefPtr<OpenFile> file = TRY(task.fds().usable(fd));
  if (!file->is_pollable()) return error(EPERM);
  if (epoll_file->kind() != vfs::FileKind::Epoll) return error(EINVAL);
  auto& epoll = static_cast<EpollFile&>(*epoll_file);
  switch (operation) {
    case epoll_operations::kAdd: return epoll.add(fd.number, *file, event.events, event.data);
    case epoll_operations::kRemove: return epoll.remove(fd.number, *file);
    case epoll_operations::kModify: return epoll.modify(fd.number, *file, event.events, event.data);
    default: return error(EINVAL);
  }
}

class EventWriter final : public vfs::EpollSink {
 public:
  explicit EventWriter(UserPtr<KernelEpollEvent> address) : next_(address) {}
  Result<void> put(uint32_t events, uint64_t data) override {
    TRY(next_.write(KernelEpollEvent{events, data}));
    next_ = next_ + 1;
    return {};
  }

 private:
  UserPtr<KernelEpollEvent> next_;
};

Result<int64_t> wait_epoll(Task& task, Fd epoll_fd, UserPtr<KernelEpollEvent> events, int32_t limit, Deadline deadline) {
  constexpr int32_t kMaximumEvents = INT32_MAX / static_cast<int32_t>(sizeof(KernelEpollEvent));
  if (limit <= 0 || limit > kMaximumEvents) return error(EINVAL);
  if (!is_user_range(events.address(), static_cast<uint64_t>(limit) * sizeof(KernelEpollEvent))) return error(EFAULT);
  RefPtr<OpenFile> file = TRY(task.fds().usable(epoll_fd));
  if (file->kind() != vfs::FileKind::Epoll) return error(EINVAL);
  EventWriter writer(events);
  Result<size_t> reported = static_cast<EpollFile&>(*file).wait(writer, static_cast<size_t>(limit), deadline);
  // epoll_wait is never restarted: signal(7).
  if (!reported.ok() && reported.code() == ERESTARTSYS) return error(EINTR);
  return static_cast<int64_t>(TRY(std::move(reported)));
}

// epoll_wait(2)
Result<int64_t> sys_epoll_wait(Task& task, Fd epoll_fd, UserPtr<KernelEpollEvent> events, int32_t limit, int32_t timeout_ms) {
  return wait_epoll(task, epoll_fd, events, limit, deadline_in_ms(timeout_ms));
}

Result<int64_t> wait_epoll_masked(Task& task, Fd epoll_fd, UserPtr<KernelEpollEvent> events, int32_t limit, Deadline deadline, UserPtr<uint64_t> mask,
                                  uint64_t mask_size) {
  const CallMask call_mask = TRY(CallMask::set(task, mask, mask_size));
  Result<int64_t> reported = wait_epoll(task, epoll_fd, events, limit, deadline);
  call_mask.finish(task, !reported.ok() && reported.code() == EINTR);
  return reported;
}

// epoll_pwait(2)
Result<int64_t> sys_epoll_pwait(Task& task, Fd epoll_fd, UserPtr<KernelEpollEvent> events, int32_t limit, int32_t timeout_ms, UserPtr<uint64_t> mask,
                                uint64_t mask_size) {
  return wait_epoll_masked(task, epoll_fd, events, limit, deadline_in_ms(timeout_ms), mask, mask_size);
}

// epoll_pwait2(2)
Result<int64_t> sys_epoll_pwait2(Task& task, Fd epoll_fd, UserPtr<KernelEpollEvent> events, int32_t limit, UserPtr<KernelTimespec> timeout,
                                 UserPtr<uint64_t> mask, uint64_t mask_size) {
  return wait_epoll_masked(task, epoll_fd, events, limit, TRY(deadline_from(timeout)), mask, mask_size);
}

}  // namespace

const SyscallRow kSysPollRows[] = {
    full<sys_poll>(7, "poll"),
    full<sys_select>(23, "select"),
    full<sys_epoll_create>(213, "epoll_create"),
    full<sys_epoll_wait>(232, "epoll_wait"),
    full<sys_epoll_ctl>(233, "epoll_ctl"),
    full<sys_pselect6>(270, "pselect6"),
    full<sys_ppoll>(271, "ppoll"),
    full<sys_epoll_pwait>(281, "epoll_pwait"),
    full<sys_epoll_create1>(291, "epoll_create1"),
    full<sys_epoll_pwait2>(441, "epoll_pwait2"),
};
const size_t kSysPollRowCount = std::size(kSysPollRows);

}  // namespace umk

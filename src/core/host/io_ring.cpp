#include "core/host/io_ring.h"

#include <errno.h>

#include <new>

#include "core/host/calls.h"

namespace umk::host {

namespace {

// io_uring_setup(2).
constexpr uint32_t kCooperative = 1 << 8, kSingleIssuer = 1 << 12, kDeferred = 1 << 13;
constexpr uint32_t kHasSingleMapping = 1 << 0, kHasStableSubmissions = 1 << 2;
constexpr uint64_t kRingsPlace = 0, kSubmissionsPlace = 0x10000000;
// io_uring_enter(2).
constexpr uint64_t kGetEvents = 1;
// mmap(2), eventfd(2).
constexpr int kReadWriteMemory = 3, kSharedPopulated = 0x8001;
constexpr uint64_t kCloseOnExec = 02000000;

struct SubmissionOffsets {
  uint32_t head, tail, ring_mask, ring_entries, flags, dropped, array, reserved;
  uint64_t user_address;
};
struct EventOffsets {
  uint32_t head, tail, ring_mask, ring_entries, overflow, events, flags, reserved;
  uint64_t user_address;
};
struct Parameters {
  uint32_t submission_entries, event_entries, flags, thread_cpu, thread_idle, features, queue_fd, reserved[3];
  SubmissionOffsets submissions;
  EventOffsets events;
};
static_assert(sizeof(Parameters) == 120);

}  // namespace

struct IoRing::Submission {
  uint8_t operation, flags;
  uint16_t priority;
  int32_t fd;
  uint64_t offset, address;
  uint32_t length, operation_flags;
  uint64_t tag;
  uint64_t rest[3];
};

struct IoRing::Event {
  uint64_t tag;
  int32_t result;
  uint32_t flags;
};

Result<std::unique_ptr<IoRing>> IoRing::create(uint32_t entries) {
  std::unique_ptr<IoRing> ring(new (std::nothrow) IoRing);
  if (!ring) return error(ENOMEM);
  TRY(ring->open(entries));
  return ring;
}

Result<void> IoRing::open(uint32_t entries) {
  static_assert(sizeof(Submission) == 64 && sizeof(Event) == 16);
  Parameters parameters{};
  // Completions are worked on when the thread waits for them, and interrupt nobody: Linux 6.1.
  parameters.flags = kCooperative | kSingleIssuer | kDeferred;
  const auto setup = [&] { return raw_call(Call::IoUringSetup, entries, reinterpret_cast<uint64_t>(&parameters)); };
  int64_t fd = setup();
  if (fd == -EINVAL) {
    parameters = Parameters{};
    fd = setup();
  }
  fd_ = static_cast<int>(TRY(checked(fd)));
  constexpr uint32_t kNeeded = kHasSingleMapping | kHasStableSubmissions;
  if ((parameters.features & kNeeded) != kNeeded) return error(EOPNOTSUPP);

  const size_t submission_end = parameters.submissions.array + parameters.submission_entries * sizeof(uint32_t);
  const size_t event_end = parameters.events.events + parameters.event_entries * sizeof(Event);
  const size_t bytes = submission_end > event_end ? submission_end : event_end;
  rings_ = reinterpret_cast<std::byte*>(TRY(mmap(0, bytes, kReadWriteMemory, kSharedPopulated, fd_, kRingsPlace)));
  ring_bytes_ = bytes;
  const size_t submission_bytes = parameters.submission_entries * sizeof(Submission);
  submissions_ = reinterpret_cast<Submission*>(TRY(mmap(0, submission_bytes, kReadWriteMemory, kSharedPopulated, fd_, kSubmissionsPlace)));
  entries_ = parameters.submission_entries;
  const auto word = [&](uint32_t offset) { return reinterpret_cast<uint32_t*>(rings_ + offset); };
  submission_tail_ = word(parameters.submissions.tail);
  event_head_ = word(parameters.events.head);
  event_tail_ = word(parameters.events.tail);
  event_mask_ = *word(parameters.events.ring_mask);
  events_ = reinterpret_cast<const Event*>(rings_ + parameters.events.events);
  tail_ = *submission_tail_;
  // Entries are used in turn.
  for (uint32_t i = 0; i < entries_; ++i) word(parameters.submissions.array)[i] = i;
  return {};
}

IoRing::~IoRing() {
  if (submissions_) (void)munmap(reinterpret_cast<uint64_t>(submissions_), entries_ * sizeof(Submission));
  if (rings_) (void)munmap(reinterpret_cast<uint64_t>(rings_), ring_bytes_);
  if (fd_ >= 0) close(fd_);
}

void IoRing::start_write_out(int fd, uint64_t offset, uint32_t bytes, uint64_t tag) { add(kSyncFileRange, fd, 0, bytes, offset, kStartWriteOut, tag); }

void IoRing::add(Operation operation, int fd, uint64_t address, uint32_t length, uint64_t offset, uint32_t flags, uint64_t tag) {
  CHECK(has_room(), "operations are taken from the ring before more are put in");
  Submission& submission = submissions_[tail_ & (entries_ - 1)];
  submission = Submission{};
  submission.operation = operation;
  submission.fd = fd;
  submission.offset = offset;
  submission.address = address;
  submission.length = length;
  submission.operation_flags = flags;
  submission.tag = tag;
  ++tail_, ++unsubmitted_, ++in_flight_;
  __atomic_store_n(submission_tail_, tail_, __ATOMIC_RELEASE);
}

void IoRing::submit_and_wait() {
  do {
    const int64_t taken = raw_call(Call::IoUringEnter, static_cast<uint64_t>(fd_), unsubmitted_, 1, kGetEvents, 0, 0);
    if (taken > 0) unsubmitted_ -= static_cast<uint32_t>(taken);
    // The host has no memory for the moment, or wants completions to be taken first.
    if (taken == -EAGAIN || taken == -EBUSY) return sched_yield();
    CHECK(taken >= 0 || taken == -EINTR, "a ring that was made can be used");
  } while (unsubmitted_ != 0);
}

std::optional<IoRing::Completion> IoRing::next() {
  const uint32_t head = *event_head_;
  if (head == __atomic_load_n(event_tail_, __ATOMIC_ACQUIRE)) return std::nullopt;
  const Event& event = events_[head & event_mask_];
  const Completion completion{event.tag, event.result};
  __atomic_store_n(event_head_, head + 1, __ATOMIC_RELEASE);
  --in_flight_;
  return completion;
}

Result<int> make_event() { return static_cast<int>(TRY(checked(raw_call(Call::Eventfd, 0, kCloseOnExec)))); }

}  // namespace umk::host

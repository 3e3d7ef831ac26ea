// Signal-driven I/O: who is told by a signal that a file changed. fcntl(2), O_ASYNC, F_SETOWN and F_SETSIG.
//
// A pipe, socket or terminal has AsyncLists; an open file of it enters them when O_ASYNC is set and leaves them when it is cleared or the file goes.
// AsyncIo is an open file's part: its owner, its signal, its places in the lists. The first call that needs it makes it (OpenFile::make_async).
//
// Signals are sent at once, by the context that changed the file: so what a program writes to itself has arrived when its call returns. notify() is
// therefore called with no lock held that comes after LockRank::AsyncIo, which is after the changes are made and their locks free.
#pragma once

#include <atomic>

#include "core/base/list.h"
#include "core/sync/mutex.h"

namespace umk::vfs {

/// What happened: the codes of SIGIO, sigaction(2).
enum class AsyncEvent : int32_t { Input = 1, Output = 2, Message = 3, Error = 4, Priority = 5, HangUp = 6 };

/// Whom to signal, and in whose name.
struct AsyncOwner {
  enum class Kind : uint8_t { Nobody, Thread, Process, Group } kind = Kind::Nobody;
  int32_t id = 0;
  /// When the thread or process started: its number may be another's by now.
  uint64_t start_time_ns = 0;
  /// Of the process that set the owner, at that time: F_SETOWN in fcntl(2).
  uint32_t uid = 0, euid = 0;
};

/// Sends the signals; the layer of tasks has it.
class AsyncSender {
 public:
  /// `signal` 0: SIGIO without further information.
  virtual void send(const AsyncOwner& owner, int signal, int fd, AsyncEvent event) = 0;

 protected:
  ~AsyncSender() = default;
};

class AsyncIo;

/// Those who want to hear of one kind of change, input or output.
class AsyncList {
 public:
  AsyncList() = default;
  AsyncList(const AsyncList&) = delete;
  AsyncList& operator=(const AsyncList&) = delete;

  void notify(AsyncEvent event) {
    if (count_.load(std::memory_order_relaxed) != 0) [[unlikely]] notify_members(event);
  }
  /// All leave.
  void clear();

 private:
  friend class AsyncIo;
  struct Member : ListHook<> {
    AsyncIo* io = nullptr;
  };
  void notify_members(AsyncEvent event);
  void add(Member& member);
  void remove(Member& member);

  Mutex mutex_{LockRank::AsyncIo};
  List<Member> members_ GUARDED_BY(mutex_);
  std::atomic<uint32_t> count_{0};
};

/// The lists that an open file enters; none for files that never tell, one where input and output are told together.
struct AsyncLists {
  AsyncList* input = nullptr;
  AsyncList* output = nullptr;
  bool can_tell() const { return input || output; }
};

class AsyncIo {
 public:
  explicit AsyncIo(AsyncSender& sender) : sender_(sender) {
    for (AsyncList::Member& place : places_) place.io = this;
  }

  AsyncOwner owner();
  void set_owner(const AsyncOwner& owner);
  /// Only when nobody owns it yet.
  void set_first_owner(const AsyncOwner& owner);
  int signal() const { return signal_.load(std::memory_order_relaxed); }
  void set_signal(int signal) { signal_.store(signal, std::memory_order_relaxed); }

  /// From now on changes are told; `fd` is the descriptor that the signals name.
  void enter(const AsyncLists& lists, int fd);
  void leave(const AsyncLists& lists);

 private:
  friend class AsyncList;
  void tell(AsyncEvent event);

  AsyncSender& sender_;
  Mutex owner_mutex_{LockRank::None};
  AsyncOwner owner_ GUARDED_BY(owner_mutex_);
  std::atomic<int> signal_{0};
  std::atomic<int> fd_{-1};
  AsyncList::Member places_[2];
};

}  // namespace umk::vfs

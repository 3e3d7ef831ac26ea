// Files in flight: what SCM_RIGHTS messages carry while they wait in a queue. unix(7).
//
// A socket that is sent over itself, or two that are sent over each other, keep one another alive although nobody can reach them any more. So the sockets
// in flight are counted, and whenever one is closed a collection looks for those that are referred to from queues alone, and not from a queue that somebody can
// still read; their queues are emptied.
//
// Locks: the mutex here comes before the mutexes of endpoints, and nothing is dropped under it.
#pragma once

#include "core/base/list.h"
#include "core/base/vector.h"
#include "core/kernel/security/credentials.h"
#include "core/kernel/vfs/open_file.h"
#include "core/sync/mutex.h"

namespace umk::socket {

class UnixSocket;
class UnixEndpoint;
class InFlight;
struct InFlightTag;

/// The files of one message, counted as in flight as long as it exists.
class PassedFiles {
 public:
  /// ETOOMANYREFS when `user` would have more than `limit` files in flight.
  static Result<std::unique_ptr<PassedFiles>> create(InFlight& in_flight, Vector<RefPtr<vfs::OpenFile>> files, UserId user, uint64_t limit);
  ~PassedFiles();
  PassedFiles(const PassedFiles&) = delete;
  PassedFiles& operator=(const PassedFiles&) = delete;

  /// Further references, for MSG_PEEK.
  Result<Vector<RefPtr<vfs::OpenFile>>> copy() const;
  /// Takes the files out of flight.
  Vector<RefPtr<vfs::OpenFile>> arrive();

  std::span<const RefPtr<vfs::OpenFile>> files() const { return files_; }

  PassedFiles(InFlight& in_flight, Vector<RefPtr<vfs::OpenFile>> files, UserId user)
      : in_flight_(in_flight), files_(std::move(files)), user_(user) {}

 private:
  friend class InFlight;
  InFlight& in_flight_;
  Vector<RefPtr<vfs::OpenFile>> files_;
  UserId user_;
};

/// What each AF_UNIX socket carries for the collection; guarded by InFlight's mutex.
struct FlightState : ListHook<InFlightTag> {
  uint32_t in_flight = 0;
  // During a collection:
  bool is_candidate = false;
  bool is_reachable = false;
  uint32_t unexplained = 0;  // references in flight that no queue of a candidate explains
};

class InFlight {
 public:
  ~InFlight();

  /// Frees what is unreachable. Call without locks, after a socket was closed.
  void collect();

 private:
  friend class PassedFiles;
  struct UserCount {
    UserId user;
    uint64_t files;
  };

  Result<void> add(std::span<const RefPtr<vfs::OpenFile>> files, UserId user, uint64_t limit);
  void remove(std::span<const RefPtr<vfs::OpenFile>> files, UserId user);
  UserCount* count_of(UserId user) REQUIRES(mutex_);
  bool find_garbage(Vector<RefPtr<UnixEndpoint>>& garbage) REQUIRES(mutex_);
  void mark_reachable(UnixSocket& socket) REQUIRES(mutex_);

  Mutex mutex_{LockRank::None};
  List<FlightState, InFlightTag> sockets_ GUARDED_BY(mutex_);
  Vector<UserCount> users_ GUARDED_BY(mutex_);
  bool is_collecting_ GUARDED_BY(mutex_) = false;
  std::atomic<bool> has_sockets_{false};
};

}  // namespace umk::socket

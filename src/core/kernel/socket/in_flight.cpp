#include "core/kernel/socket/in_flight.h"

#include "core/base/make.h"
#include "core/kernel/socket/unix_endpoint.h"

namespace umk::socket {

namespace {

// The AF_UNIX socket behind a file, or null: only these can hold files themselves.
UnixSocket* unix_socket_of(vfs::OpenFile& file) {
  if (file.kind() != vfs::FileKind::Socket || static_cast<Socket&>(file).family() != address_families::kUnix) return nullptr;
  return static_cast<UnixSocket*>(&file);
}

UnixSocket& socket_of_flight(FlightState& state) { return static_cast<UnixSocket::Flight&>(state).socket; }

}  // namespace

// --- the files of one message

Result<std::unique_ptr<PassedFiles>> PassedFiles::create(InFlight& in_flight, Vector<RefPtr<vfs::OpenFile>> files, UserId user, uint64_t limit) {
  TRY(in_flight.add(files, user, limit));
  std::span<const RefPtr<vfs::OpenFile>> counted = files;
  auto* passed = new (std::nothrow) PassedFiles(in_flight, std::move(files), user);
  if (!passed) {
    in_flight.remove(counted, user);
    return error(ENOMEM);
  }
  return std::unique_ptr<PassedFiles>(passed);
}

PassedFiles::~PassedFiles() {
  if (!files_.empty()) in_flight_.remove(files_, user_);
}

Result<Vector<RefPtr<vfs::OpenFile>>> PassedFiles::copy() const {
  Vector<RefPtr<vfs::OpenFile>> copies;
  TRY(copies.append(files_));
  return copies;
}

Vector<RefPtr<vfs::OpenFile>> PassedFiles::arrive() {
  in_flight_.remove(files_, user_);
  return std::move(files_);
}

// --- counting

InFlight::~InFlight() { CHECK(sockets_.empty(), "no message is left when the layer goes"); }

InFlight::UserCount* InFlight::count_of(UserId user) {
  for (UserCount& count : users_)
    if (count.user == user) return &count;
  return nullptr;
}

Result<void> InFlight::add(std::span<const RefPtr<vfs::OpenFile>> files, UserId user, uint64_t limit) {
  MutexLock lock(mutex_);
  UserCount* count = count_of(user);
  if (!count) {
    TRY(users_.push_back({user, 0}));
    count = &users_.back();
  }
  // unix(7): the limit is that of open descriptors, and is looked at before this message is added.
  if (count->files > limit) return error(ETOOMANYREFS);
  count->files += files.size();
  for (const RefPtr<vfs::OpenFile>& file : files) {
    UnixSocket* socket = unix_socket_of(*file);
    if (socket && socket->flight.in_flight++ == 0) sockets_.push_back(socket->flight);
  }
  has_sockets_.store(!sockets_.empty(), std::memory_order_relaxed);
  return {};
}

void InFlight::remove(std::span<const RefPtr<vfs::OpenFile>> files, UserId user) {
  MutexLock lock(mutex_);
  if (UserCount* count = count_of(user)) {
    count->files -= files.size();
    if (count->files == 0) {
      std::swap(*count, users_.back());
      users_.pop_back();
    }
  }
  for (const RefPtr<vfs::OpenFile>& file : files) {
    UnixSocket* socket = unix_socket_of(*file);
    if (socket && --socket->flight.in_flight == 0) sockets_.erase(sockets_.iterator_to(socket->flight));
  }
  has_sockets_.store(!sockets_.empty(), std::memory_order_relaxed);
}

// --- collecting

void InFlight::mark_reachable(UnixSocket& start) {
  // Depth first through the queues, with the path kept in the list itself: what is reached and not yet looked through stands at the front.
  start.flight.is_reachable = true;
  sockets_.erase(sockets_.iterator_to(start.flight));
  sockets_.push_front(start.flight);
  for (;;) {
    FlightState& state = sockets_.front();
    if (!state.is_candidate || !state.is_reachable) return;
    state.is_candidate = false;
    sockets_.erase(sockets_.iterator_to(state));
    sockets_.push_back(state);
    socket_of_flight(state).endpoint().for_each_passed_files([this](PassedFiles& passed) NO_THREAD_SAFETY_ANALYSIS {
      for (const RefPtr<vfs::OpenFile>& file : passed.files()) {
        UnixSocket* reached = unix_socket_of(*file);
        if (!reached || !reached->flight.is_candidate || reached->flight.is_reachable) continue;
        reached->flight.is_reachable = true;
        sockets_.erase(sockets_.iterator_to(reached->flight));
        sockets_.push_front(reached->flight);
      }
    });
  }
}

bool InFlight::find_garbage(Vector<RefPtr<UnixEndpoint>>& garbage) {
  // Only sockets to which nothing but messages refers can be garbage. Nobody can read their queues, so these do not change now; a reference that comes and
  // goes for a moment only makes a socket look alive.
  bool has_candidates = false;
  for (FlightState& state : sockets_) {
    state.is_reachable = false;
    state.unexplained = state.in_flight;
    state.is_candidate = socket_of_flight(state).reference_count() == state.in_flight;
    has_candidates = has_candidates || state.is_candidate;
  }
  if (!has_candidates) return false;
  for (FlightState& state : sockets_) {
    if (!state.is_candidate) continue;
    socket_of_flight(state).endpoint().for_each_passed_files([](PassedFiles& passed) {
      for (const RefPtr<vfs::OpenFile>& file : passed.files())
        if (UnixSocket* socket = unix_socket_of(*file)) --socket->flight.unexplained;
    });
  }
  // What is referred to from elsewhere is reachable, and what its queue holds.
  for (bool found = true; found;) {
    found = false;
    for (FlightState& state : sockets_) {
      if (!state.is_candidate || state.is_reachable || state.unexplained == 0) continue;
      mark_reachable(socket_of_flight(state));
      found = true;
      break;
    }
  }
  for (FlightState& state : sockets_) {
    if (!state.is_candidate) continue;
    // Without memory it stays until the next collection.
    if (!garbage.push_back(RefPtr<UnixEndpoint>(socket_of_flight(state).endpoint())).ok()) break;
  }
  return !garbage.empty();
}

void InFlight::collect() {
  if (!has_sockets_.load(std::memory_order_relaxed)) return;
  Vector<RefPtr<UnixEndpoint>> garbage;
  {
    MutexLock lock(mutex_);
    // Emptying queues closes sockets, which asks for a collection again.
    if (is_collecting_ || !find_garbage(garbage)) return;
    is_collecting_ = true;
  }
  {
    PacketList packets;
    for (RefPtr<UnixEndpoint>& endpoint : garbage) endpoint->take_packets(packets);
  }
  MutexLock lock(mutex_);
  is_collecting_ = false;
}

}  // namespace umk::socket

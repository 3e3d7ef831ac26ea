// Uevents: what programs hear of devices that come, change and go. udev(7) and mdev live on them; what they say is as Linux's kobjects say it
// (Documentation/ABI/testing/sysfs-uevent).
//
// An event gets the next number where it happens and is handed to all receivers, in the order of the numbers: netlink sockets that listen, and a helper program.
//
// Life: receivers are added at boot and stay. Locks: `mutex_` orders the events and is held while receivers take them, which may take LockRank::Socket and what
// comes after it. Who holds a lock of these may not send.
#pragma once

#include <atomic>

#include "core/base/ref_ptr.h"
#include "core/base/string.h"
#include "core/base/vector.h"
#include "core/sync/mutex.h"

namespace umk::device {

enum class UeventAction : uint8_t { Add, Remove, Change, Move, Online, Offline, Bind, Unbind };

struct Uevent {
  UeventAction action;
  std::string_view place;  // below /sys, without a slash in front: "devices/virtual/block/ubda"
  std::string_view subsystem;  // "block", "tty"
  std::string_view properties;  // NAME=value lines, as the device's file `uevent` shows them
  std::string_view remarks;  // such lines of this event alone
};

/// The text of an event: "add@/devices/..." and NAME=value strings, each with its NUL.
class UeventMessage final : public RefCounted {
 public:
  explicit UeventMessage(String text) : text_(std::move(text)) {}
  std::string_view text() const { return text_.view(); }

 private:
  const String text_;
};

class UeventReceiver {
 public:
  /// False when nobody is behind it: spares the making of a message.
  virtual bool is_listening() = 0;
  virtual void receive(RefPtr<UeventMessage> message) = 0;

 protected:
  ~UeventReceiver() = default;
};

class Uevents {
 public:
  /// As Linux bounds a message: UEVENT_BUFFER_SIZE.
  static constexpr size_t kMaximumBytes = 2048;
  /// UEVENT_HELPER_PATH_LEN
  static constexpr size_t kMaximumHelper = 256;

  Result<void> add_receiver(UeventReceiver& receiver) EXCLUDES(mutex_);
  /// ENOMEM, also for one that would be too long.
  Result<void> send(const Uevent& event) EXCLUDES(mutex_);
  /// What is written to a device's file `uevent`: "ACTION [UUID [NAME=value ...]]" sends an event whose other parts are given. EINVAL.
  Result<void> send_as_asked(std::string_view request, Uevent event) EXCLUDES(mutex_);

  /// Of the last event; /sys/kernel/uevent_seqnum.
  uint64_t last_number() const { return last_number_.load(std::memory_order_relaxed); }

  /// The program that is run for each event, /sys/kernel/uevent_helper; empty: none. ENOENT when the path is too long.
  Result<void> set_helper(std::string_view path) EXCLUDES(helper_mutex_);
  Result<String> helper() EXCLUDES(helper_mutex_);
  bool has_helper() const { return has_helper_.load(std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> last_number_{0};
  std::atomic<bool> has_helper_{false};
  Mutex mutex_{LockRank::None};
  Vector<UeventReceiver*> receivers_ GUARDED_BY(mutex_);
  Mutex helper_mutex_{LockRank::None};  // a leaf
  String helper_ GUARDED_BY(helper_mutex_);
};

}  // namespace umk::device

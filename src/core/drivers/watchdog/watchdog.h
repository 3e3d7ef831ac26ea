// Watchdog: /dev/watchdog as User Mode Linux has it. The dog is a program of the host, uml_watchdog: while the device is open it wants to hear of the machine once
// in a minute, and else interrupts the machine or tells the listener of mconsole=notify:.
//
// The monitor starts and stops the dog, on this driver's order; pets go straight from here to its pipe, a descriptor of the table that all host processes share.
//
//   Idle -> (open) Wanted -> (monitor takes the order) Starting -> (the dog says that it is ready) Running -> (last close) Unwanted -> Stopping -> Idle
//
// An open that is given up while the dog starts leaves the order to stop it. One who opens while it stops waits. Any close stops the dog: there is no magic one.
//
// Locks: `mutex_` guards the state; nothing is called under it.
#pragma once

#include "core/drivers/watchdog/order.h"
#include "core/kernel/device/device_registry.h"
#include "core/sync/wait_queue.h"

namespace umk::watchdog {

class Watchdog final : public device::Driver {
 public:
  static constexpr vfs::DeviceNumber kNumber{10, 130};

  /// `monitor_event`: the eventfd that tells the monitor of an order.
  explicit Watchdog(int monitor_event) : monitor_event_(monitor_event) {}
  Result<void> attach(device::DeviceRegistry& registry);

  std::string_view name() const override { return "misc"; }
  /// EBUSY while it is open, EIO when the dog could not be started.
  Result<RefPtr<vfs::OpenFile>> open(const vfs::Caller& caller, RefPtr<vfs::Inode> inode, vfs::DeviceNumber number, const vfs::Path& path,
                                     uint32_t flags) override;

  // For the monitor.
  Order take_order() EXCLUDES(mutex_);
  /// The dog that was ordered listens to `fd`; negative: there is none.
  void note_started(int fd) EXCLUDES(mutex_);
  /// The dog is gone, its descriptors closed.
  void note_stopped() EXCLUDES(mutex_);

  // For the open file.
  /// EIO when the dog is gone.
  Result<void> pet() EXCLUDES(mutex_);
  void close() EXCLUDES(mutex_);

 private:
  enum class State : uint8_t { Idle, Wanted, Starting, Running, Unwanted, Stopping };
  void wake_monitor() const;

  const int monitor_event_;
  Mutex mutex_{LockRank::None};
  State state_ GUARDED_BY(mutex_) = State::Idle;
  bool is_given_up_ GUARDED_BY(mutex_) = false;  // nobody waits for the dog that starts
  int fd_ GUARDED_BY(mutex_) = -1;
  WaitQueue changed_;
};

}  // namespace umk::watchdog

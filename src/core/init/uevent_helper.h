// UeventHelper: runs the program of /sys/kernel/uevent_helper for each event of a device, as Linux does: `mdev` as hotplug helper.
//
// Events happen under locks of whoever adds or removes a device, so they are queued here and the timers' thread starts the programs. The program gets the subsystem
// as its argument and the event as its environment; the superuser's credentials, init's root and working directory, and no files. Nobody waits for it.
#pragma once

#include "core/kernel/device/uevents.h"
#include "core/kernel/task/kernel.h"

namespace umk::init {

class UeventHelper final : public device::UeventReceiver, public time::Timer {
 public:
  UeventHelper(Kernel& kernel, device::Uevents& uevents) : kernel_(kernel), uevents_(uevents) {}
  /// Before the first event. There is one helper in an image: its programs find it by a variable.
  Result<void> attach();

  bool is_listening() override { return uevents_.has_helper() && kernel_.tasks.init; }
  void receive(RefPtr<device::UeventMessage> message) override EXCLUDES(mutex_);

 private:
  /// As many programs as may wait to be started; later events are not run.
  static constexpr size_t kMostWaiting = 256;

  void on_expired() override EXCLUDES(mutex_);
  Result<void> start_one() EXCLUDES(mutex_);
  static void become_program(Task& task);
  Result<void> run(Task& task) EXCLUDES(mutex_);

  Kernel& kernel_;
  device::Uevents& uevents_;
  Mutex mutex_{LockRank::None};  // a leaf
  Vector<RefPtr<device::UeventMessage>> waiting_ GUARDED_BY(mutex_);  // for a process
  Vector<RefPtr<device::UeventMessage>> starting_ GUARDED_BY(mutex_);  // for the processes that have been made: the first gets the first
};

}  // namespace umk::init

// A disk in memory for hosted tests of what stands on disks: fails when told to, and remembers what was written in which order, so that a test can look at
// every state in which a crash may leave the medium.
//
//   fake::MemoryDevice& disk = ...;      disk.record();
//   ... filesystem at work ...
//   for (size_t cut = 0; cut <= disk.events().size(); ++cut)
//     for (uint64_t seed = 0; seed < 8; ++seed) { auto image = disk.image_after_crash(cut, seed); ... recover, check ... }
#pragma once

#include <functional>
#include <vector>

#include "core/kernel/block/block_device.h"

namespace umk::block::fake {

class MemoryDevice final : public BlockDevice {
 public:
  struct Options {
    const char* name = "ubda";
    DeviceNumber number{98, 0};
    uint32_t logical_block_bytes = kSectorBytes;
    bool is_read_only = false;
    bool can_discard = true;
  };
  static RefPtr<MemoryDevice> make(uint64_t bytes) { return make(bytes, Options()); }
  static RefPtr<MemoryDevice> make(uint64_t bytes, const Options& options);
  /// A disk with these contents, for images.
  static RefPtr<MemoryDevice> make(std::vector<std::byte> contents, const Options& options);
  static RefPtr<MemoryDevice> make(std::vector<std::byte> contents) { return make(std::move(contents), Options()); }

  /// The present contents. Changing them behind the device's back is a corruption of the medium.
  std::vector<std::byte>& contents() { return contents_; }
  /// Another size; told to listeners.
  void resize(uint64_t bytes);

  // Faults. Requests are counted from 0 at each of these calls.
  /// The request with this number fails with `error_code`; with `lasts`, all after it as well.
  void fail_at(uint64_t request_number, int error_code, bool lasts = false);
  /// Requests for which this returns an errno fail with it; 0 lets them pass.
  void set_filter(std::function<int(const Request&)> filter);
  void stop_failing();
  uint64_t requests_seen();

  // Order.
  /// Writes of this size and more are not done until they are released, so that several are under way; UINT64_MAX: none.
  void hold_writes(uint64_t least_bytes);
  size_t held_writes();
  /// Does one of those that wait, modulo their number. False: there is none.
  bool release_write(size_t which);

  // The record.
  struct Event {
    Operation operation;  // Write, WriteZeroes, Discard (recorded as it changed the contents) or Flush
    uint64_t offset = 0;
    std::vector<std::byte> data;
    bool is_durable = false;
  };
  /// Forgets what was recorded and starts from the present contents.
  void record();
  std::vector<Event> events();
  /// What may be on the medium after a crash when the first `cut` events had been done: all that came before the last flush among them, and of what came later
  /// a part that `seed` chooses, sector by sector. Seed 0 chooses nothing, seed 1 everything.
  std::vector<std::byte> image_after_crash(size_t cut, uint64_t seed);

  MemoryDevice(String name, const Geometry& geometry, const Options& options, std::vector<std::byte> contents);

 protected:
  void start(Request& request, uint64_t offset) override;
  /// Sectors of zeroes are holes.
  bool find_room(uint64_t offset, uint64_t bytes) override;

 private:
  void perform(Request& request, uint64_t offset);
  int fault_of_locked(const Request& request) REQUIRES(contents_mutex_);
  void apply_locked(Request& request, uint64_t offset) REQUIRES(contents_mutex_);

  Mutex contents_mutex_{LockRank::Block};
  std::vector<std::byte> contents_;
  std::vector<std::byte> recorded_from_;
  std::vector<Event> events_;
  bool is_recording_ = false;
  std::function<int(const Request&)> filter_;
  uint64_t seen_ = 0, fail_at_ = UINT64_MAX;
  int fail_with_ = 0;
  bool failure_lasts_ = false;
  struct Held {
    Request* request;
    uint64_t offset;
  };
  std::vector<Held> held_;
  uint64_t least_held_ = UINT64_MAX;
};

}  // namespace umk::block::fake

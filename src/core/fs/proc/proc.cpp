#include "core/fs/proc/proc.h"

#include "core/fs/proc/root_directory.h"

namespace umk::proc {

namespace {

constexpr int64_t kMagic = 0x9fa0;

Result<void> check_options(std::string_view text) {
  while (!text.empty()) {
    const std::string_view option = split_first(text, ',');
    if (!option.empty() && option != "hidepid=0" && option != "hidepid=off") return error(EINVAL);
  }
  return {};
}

}  // namespace

// The usual exponentially damped average, one step every five seconds: 2048 * exp(-5 s / minutes).
LoadAverage::Values LoadAverage::update(uint64_t now_ns, uint64_t running) {
  constexpr uint64_t kStepNs = 5'000'000'000;
  constexpr uint64_t kOne = 1 << kFractionBits;
  constexpr uint64_t kDecay[3] = {1884, 2014, 2037};
  constexpr uint64_t kEnoughSteps = 12 * 60;  // an hour: the past is forgotten
  MutexLock lock(mutex_);
  if (last_ns_ == 0 || now_ns < last_ns_) last_ns_ = now_ns;
  uint64_t steps = (now_ns - last_ns_) / kStepNs;
  last_ns_ += steps * kStepNs;
  if (steps > kEnoughSteps) steps = kEnoughSteps;
  for (; steps > 0; --steps) {
    for (unsigned i = 0; i < 3; ++i) {
      const uint64_t active = running * kOne;
      uint64_t scaled = values_.minutes[i] * kDecay[i] + active * (kOne - kDecay[i]);
      // A rising average is rounded up, or it would never reach its value.
      if (active >= values_.minutes[i]) scaled += kOne - 1;
      values_.minutes[i] = scaled >> kFractionBits;
    }
  }
  return values_;
}

Result<RefPtr<Superblock>> Superblock::create(Kernel& kernel, vfs::DeviceNumber device) {
  RefPtr<Superblock> superblock = TRY(make_ref<Superblock>(kernel, device));
  host::get_random(std::as_writable_bytes(std::span(superblock->boot_id)));
  superblock->root_ = RefPtr<vfs::Inode>(TRY(make_ref<RootDirectory>(*superblock)));
  return superblock;
}

Result<vfs::FilesystemStatistics> Superblock::statistics() {
  vfs::FilesystemStatistics statistics;
  statistics.type_magic = kMagic;
  return statistics;
}

Result<void> Superblock::remount(std::string_view options, bool) { return check_options(options); }

Result<RefPtr<vfs::Superblock>> Type::mount(const vfs::MountRequest& request) {
  TRY(check_options(request.options));
  MutexLock lock(mutex_);
  if (!superblock_) superblock_ = TRY(Superblock::create(kernel_, request.anonymous_device));
  return RefPtr<vfs::Superblock>(superblock_);
}

}  // namespace umk::proc

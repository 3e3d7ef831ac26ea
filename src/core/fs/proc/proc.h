// proc: what the kernel knows, as text files. proc(5).
//
// The tree is tables of entries (entry.h), joined by two kinds of directory whose entries come and go: processes and threads (task_directory.h), and
// descriptors (fd_directory.h). All mounts show one superblock. Nothing here keeps a task alive: files remember a number and a start time (Subject) and
// look the task up each time they are read.
//
// A file's text is made when it is read from its beginning and then read from memory, so that one reader sees one state (text_file.h).
//
// Locks: directories and open files have ranks of their own (ProcDirectory, ProcFile), before all others: tasks, descriptors, mounts and areas are asked
// while they are held. No lock of the kernel's is held while text goes to the reader.
#pragma once

#include <array>

#include "core/kernel/task/kernel.h"
#include "core/kernel/vfs/superblock.h"

namespace umk::proc {

inline constexpr vfs::InodeNumber kRootNumber = 1;

/// The load averages of getloadavg(3): tasks that run, or would, over 1, 5 and 15 minutes. They are brought up to date when somebody looks; the time
/// since the last look counts as if it had been as busy as now.
class LoadAverage {
 public:
  static constexpr unsigned kFractionBits = 11;
  struct Values {
    uint64_t minutes[3];  // in units of 1/2048
  };
  Values update(uint64_t now_ns, uint64_t running);

 private:
  Mutex mutex_{LockRank::None};
  uint64_t last_ns_ GUARDED_BY(mutex_) = 0;
  Values values_ GUARDED_BY(mutex_) = {};
};

class Superblock final : public vfs::Superblock {
 public:
  static Result<RefPtr<Superblock>> create(Kernel& kernel, vfs::DeviceNumber device);
  Superblock(Kernel& kernel, vfs::DeviceNumber device) : vfs::Superblock("proc", device), kernel(kernel) {}

  RefPtr<vfs::Inode> root() override { return root_; }
  Result<vfs::FilesystemStatistics> statistics() override;
  Result<void> remount(std::string_view options, bool read_only) override;

  Kernel& kernel;
  LoadAverage load;
  /// Random, the same until the machine ends.
  std::array<uint8_t, 16> boot_id;

 private:
  RefPtr<vfs::Inode> root_;
};

/// `mount -t proc`. Options of Linux that hide processes are not known here: EINVAL, but for `hidepid=0`.
class Type final : public vfs::FilesystemType {
 public:
  explicit Type(Kernel& kernel) : kernel_(kernel) {}
  std::string_view name() const override { return "proc"; }
  Result<RefPtr<vfs::Superblock>> mount(const vfs::MountRequest& request) override;

 private:
  Kernel& kernel_;
  Mutex mutex_{LockRank::None};
  RefPtr<Superblock> superblock_ GUARDED_BY(mutex_);
};

}  // namespace umk::proc

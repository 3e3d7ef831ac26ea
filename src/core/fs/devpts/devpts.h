// devpts: the file system of pseudo-terminals, /dev/pts. pts(4).
//
// Each mount is an instance of its own with numbers from 0, as in Linux since 4.7; `newinstance` is accepted and says nothing new. An instance
// lists its `ptmx` and the slaves whose master is open.
//
// Options: uid= gid= mode= of new slaves (the opener's, and 0600), ptmxmode= (0000), max= (how many at once).
//
// Locks: `mutex_` guards the table; it is taken under inode and terminal locks and takes none itself.
#pragma once

#include "core/kernel/tty/pty.h"
#include "core/kernel/tty/tty_registry.h"
#include "core/kernel/vfs/superblock.h"

namespace umk::devpts {

inline constexpr uint32_t kMaximumSlaves = 4096;  // kernel.pty.max

struct Options {
  std::optional<UserId> uid;
  std::optional<GroupId> gid;
  uint32_t mode = 0600;
  uint32_t multiplexer_mode = 0;
  uint32_t maximum = kMaximumSlaves;

  /// EINVAL for what it does not know.
  static Result<Options> parse(std::string_view text);
};

class Instance final : public vfs::Superblock, public tty::PtyOwner, public tty::PseudoTerminalSource {
 public:
  static constexpr uint32_t kRootNumber = 1, kMultiplexerNumber = 2, kFirstSlaveNumber = 3;

  static Result<RefPtr<Instance>> create(tty::TtyRegistry& registry, vfs::DeviceNumber device, const Options& options, const Credentials& who);
  Instance(tty::TtyRegistry& registry, vfs::DeviceNumber device, const Options& options)
      : Superblock("devpts", device), registry_(registry), options_(options) {}
  ~Instance() override;

  // Superblock
  RefPtr<vfs::Inode> root() override { return root_; }
  Result<vfs::FilesystemStatistics> statistics() override;
  Result<void> remount(std::string_view options, bool read_only) override;
  void show_options(TextSink& sink) override;

  // PtyOwner
  void on_master_closed(unsigned number) override;
  void free_number(unsigned number) override;
  RefPtr<vfs::Inode> slave_inode(unsigned number) override;
  RefPtr<RefCounted> hold() override { return RefPtr<RefCounted>(static_cast<Superblock*>(this)); }

  // PseudoTerminalSource
  vfs::Superblock& superblock() override { return *this; }
  Result<RefPtr<vfs::OpenFile>> open_master(RefPtr<vfs::Inode> inode, uint32_t flags, const Credentials& who) override;
  Result<RefPtr<vfs::OpenFile>> open_slave(unsigned number, RefPtr<vfs::Inode> inode, uint32_t flags) override;

  // What the root directory asks.
  /// The node of a name; null when there is none.
  RefPtr<vfs::Inode> find(std::string_view name);
  struct Listed {
    unsigned number;
    vfs::InodeNumber inode_number;
  };
  /// The first listed slave with a number >= `from`.
  std::optional<Listed> next_slave(unsigned from);

 private:
  struct Slot {
    bool is_used = false;          // the number is taken;
    RefPtr<vfs::Inode> inode;      // the name is there while the master is open,
    tty::PtySlave* slave = nullptr;  // which keeps the slave alive
  };
  Result<unsigned> take_number();

  tty::TtyRegistry& registry_;
  Mutex mutex_{LockRank::None};
  Options options_ GUARDED_BY(mutex_);
  Vector<Slot> slots_ GUARDED_BY(mutex_);
  RefPtr<vfs::Inode> root_, multiplexer_;
};

/// `mount -t devpts`.
class Type final : public vfs::FilesystemType {
 public:
  explicit Type(tty::TtyRegistry& registry) : registry_(registry) {}
  std::string_view name() const override { return "devpts"; }
  Result<RefPtr<vfs::Superblock>> mount(const vfs::MountRequest& request) override;

 private:
  tty::TtyRegistry& registry_;
};

}  // namespace umk::devpts

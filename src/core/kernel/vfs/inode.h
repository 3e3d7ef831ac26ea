// Inode: a file of any type, apart from its names. One object exists per file of a mounted filesystem while somebody uses it.
//
// Life: the filesystem makes it (lookup, create), dentries and open files hold references; the last reference calls
// `last_reference_dropped`, where a filesystem writes it back or frees an unlinked file.
//
// Locks: `mutex()` guards the metadata (mode, owner, times, size, link count) and, of a directory, its entries: operations
// documented "directory locked" are called by the VFS with it held. Data is read and written without it unless the
// filesystem takes it itself: user memory must not be copied under it, as a page fault may need it.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

#include "core/abi/device_number.h"
#include "core/base/bits.h"
#include "core/base/ref_ptr.h"
#include "core/base/string.h"
#include "core/base/text.h"
#include "core/kernel/guest/user_memory.h"
#include "core/kernel/security/credentials.h"
#include "core/sync/mutex.h"

namespace umk::mm {
class PageSource;
}

namespace umk::vfs {

class Superblock;
class OpenFile;
struct Caller;
struct Path;
class NotifyMarks;   // inotify watches on an inode (notify.h)
class FileLockTable;  // flock and record locks (file_locks.h)
class LeaseList;      // leases of open files (leases.h)

using InodeNumber = uint64_t;

/// File type bits of st_mode.
enum class FileType : uint32_t {
  Fifo = 0010000, CharacterDevice = 0020000, Directory = 0040000, BlockDevice = 0060000, Regular = 0100000, Symlink = 0120000, Socket = 0140000,
};
inline constexpr uint32_t kFileTypeMask = 0170000;
inline constexpr uint32_t kPermissionMask = 07777;
namespace mode {
inline constexpr uint32_t kSetUid = 04000, kSetGid = 02000, kSticky = 01000;
}

using umk::DeviceNumber;

struct Timestamp {
  int64_t seconds = 0;
  uint32_t nanoseconds = 0;
  static Timestamp from_ns(uint64_t ns) { return {static_cast<int64_t>(ns / 1'000'000'000), static_cast<uint32_t>(ns % 1'000'000'000)}; }
};

struct Metadata {
  InodeNumber number = 0;
  uint32_t mode = 0;  // type and permissions
  uint32_t links = 1;
  UserId uid = 0;
  GroupId gid = 0;
  DeviceNumber device;  // of device files
  uint64_t size_bytes = 0;
  uint64_t blocks = 0;  // of 512 bytes
  uint32_t block_size = kPageSize;
  Timestamp access_time, modify_time, change_time, birth_time;
  uint32_t attributes = 0;  // STATX_ATTR_*
};

/// What setattr is asked to change; absent members stay. Permission was checked by the VFS.
struct MetadataChange {
  std::optional<uint32_t> permissions;
  std::optional<UserId> uid;
  std::optional<GroupId> gid;
  std::optional<uint64_t> size_bytes;
  std::optional<Timestamp> access_time, modify_time;
  /// The time that is set is the present one. A filesystem whose clock is not ours takes its own, lest a file become older by being touched.
  bool access_is_now = false, modify_is_now = false;
};

/// One name handed to readdir's caller. `emit` returns false when it has no more room; the entry is then offered again.
class DirectorySink {
 public:
  virtual bool emit(std::string_view name, InodeNumber number, FileType type, uint64_t next_position) = 0;

 protected:
  ~DirectorySink() = default;
};

/// `.` and `..` are listed first, at positions 0 and 1: what follows them begins here.
inline constexpr uint64_t kFirstNamePosition = 2;
/// Lists those two as far as `position` has not passed them, and moves it on. False when the sink is full.
bool list_self_and_parent(uint64_t& position, InodeNumber self, InodeNumber parent, DirectorySink& sink);

enum class FallocateMode : uint32_t { KeepSize = 1, PunchHole = 2, CollapseRange = 8, ZeroRange = 16, InsertRange = 32 };

class Inode : public RefCounted {
 public:
  Superblock& superblock() const { return superblock_; }
  Mutex& mutex() { return mutex_; }

  FileType type() const { return static_cast<FileType>(mode_.load(std::memory_order_relaxed) & kFileTypeMask); }
  bool is_directory() const { return type() == FileType::Directory; }
  bool is_regular() const { return type() == FileType::Regular; }
  bool is_symlink() const { return type() == FileType::Symlink; }
  uint32_t mode() const { return mode_.load(std::memory_order_relaxed); }
  UserId uid() const { return uid_.load(std::memory_order_relaxed); }
  GroupId gid() const { return gid_.load(std::memory_order_relaxed); }
  InodeNumber number() const { return number_; }
  DeviceNumber device() const { return device_; }
  uint64_t size_bytes() const { return size_bytes_.load(std::memory_order_acquire); }
  uint32_t links() const { return links_.load(std::memory_order_relaxed); }

  /// Everything stat(2) tells. The default answers from the members below; hostfs and proc refresh them first.
  virtual Result<Metadata> metadata();
  /// Changes metadata; truncation and growth included. Inode locked by the callee.
  virtual Result<void> change(const MetadataChange& wanted);
  /// Checks `want` (bits 4 read, 2 write, 1 execute) for the caller: mode bits, owner, groups, capabilities; EACCES.
  /// The default does what path_resolution(7) says; filesystems with ACLs or maps override it.
  virtual Result<void> check_access(const Credentials& who, unsigned want);

  // Directories. Called with this directory locked. The default fails with ENOTDIR (or EPERM where Linux says so).
  virtual Result<RefPtr<Inode>> lookup(std::string_view name);
  virtual Result<RefPtr<Inode>> create(const Caller& caller, std::string_view name, uint32_t mode);
  virtual Result<RefPtr<Inode>> make_directory(const Caller& caller, std::string_view name, uint32_t mode);
  virtual Result<RefPtr<Inode>> make_node(const Caller& caller, std::string_view name, uint32_t mode, DeviceNumber device);
  virtual Result<RefPtr<Inode>> make_symlink(const Caller& caller, std::string_view name, std::string_view target);
  virtual Result<void> link(std::string_view name, Inode& target);
  virtual Result<void> unlink(std::string_view name, Inode& victim);
  virtual Result<void> remove_directory(std::string_view name, Inode& victim);
  /// Moves `name` (which is `moved`) to `new_parent` as `new_name`, replacing `replaced` if not null; `exchange` swaps the two. Both directories
  /// are locked, checks of kind and emptiness that need no filesystem knowledge were made.
  virtual Result<void> rename(std::string_view name, Inode& moved, Inode& new_parent, std::string_view new_name, Inode* replaced, bool exchange);
  /// Makes a file without a name (O_TMPFILE), with a link count of 0.
  virtual Result<RefPtr<Inode>> create_temporary(const Caller& caller, uint32_t mode, bool linkable);
  /// Lists entries from `position` on (0 is the start; `.` and `..` are emitted by the directory itself) until the sink is full or the
  /// directory ends; returns the position to go on from. `parent_number` is what `..` shall show.
  virtual Result<uint64_t> list(uint64_t position, InodeNumber parent_number, DirectorySink& sink);
  /// True when a cached name may be used without asking lookup again (false for proc and for host directories that others change).
  virtual bool names_are_stable() const { return true; }
  /// For !names_are_stable(): whether a cached child (null: a cached absence) is still right for `name`. Not locked.
  virtual bool revalidate(std::string_view name, Inode* child);

  // Symlinks.
  virtual Result<String> read_link();
  /// The target when it lies in memory and stays there as long as the inode lives: saves path walks a copy. Empty: ask read_link.
  virtual std::string_view link_in_memory() const { return {}; }
  /// Magic links of /proc: following them leads to magic_target() directly, whatever text read_link() shows.
  virtual bool is_magic_link() const { return false; }
  virtual Result<Path> magic_target(const Caller& caller);

  /// Makes the open file of a regular file or directory (a proc file may be anything). Permission was checked; `flags` are open(2)'s.
  /// Devices and FIFOs do not come here: the Vfs gives those to the device registry and to open_fifo.
  /// The default makes a file that calls read_at and write_at below.
  virtual Result<RefPtr<OpenFile>> open(const Caller& caller, uint32_t flags);

  /// For a FIFO: true when open() makes its files, as its bytes go elsewhere than through a pipe of this kernel.
  virtual bool has_own_pipe() const { return false; }

  // Data of regular files. Not locked by the VFS; positions were checked against overflow.
  virtual Result<size_t> read_at(uint64_t offset, UserOutBuffer& buffer);
  /// Writes at `offset`, or at the end when `append`, in which case the chosen offset is stored back.
  virtual Result<size_t> write_at(uint64_t& offset, UserInBuffer& buffer, bool append);
  /// The same for files open with O_DIRECT. The default does what Linux's filesystems without direct access do: it goes through memory.
  virtual Result<size_t> read_direct(uint64_t offset, UserOutBuffer& buffer) { return read_at(offset, buffer); }
  virtual Result<size_t> write_direct(uint64_t& offset, UserInBuffer& buffer, bool append) { return write_at(offset, buffer, append); }
  virtual Result<void> allocate(uint32_t fallocate_mode, uint64_t offset, uint64_t length);
  /// Makes the file durable. Errors of writing its data in the background are not told here: the open file reports them (mm/error_sequence.h).
  virtual Result<void> sync(bool data_only);
  /// lseek's SEEK_DATA and SEEK_HOLE. ENXIO past the end.
  virtual Result<uint64_t> seek_data_or_hole(uint64_t offset, bool hole);
  /// How the file's pages are mapped; null when it cannot be mapped (ENODEV).
  virtual mm::PageSource* page_source() { return nullptr; }

  /// Seals of memfd_create(2) files, fcntl(2) F_GET_SEALS and F_ADD_SEALS. EINVAL by default.
  virtual Result<uint32_t> seals();
  virtual Result<void> add_seals(uint32_t seals);

  // Writers and executions exclude each other: ETXTBSY. A positive count is open files with write permission, a negative one running programs.
  /// ETXTBSY while the file is being executed. Undone by drop_writer.
  Result<void> add_writer();
  void drop_writer() { writers_.fetch_sub(1, std::memory_order_release); }
  /// ETXTBSY while the file is open for writing. Undone by allow_writers.
  Result<void> deny_writers();
  void allow_writers() { writers_.fetch_add(1, std::memory_order_release); }
  int32_t writers() const { return writers_.load(); }
  // Open files of a regular file that may only read it: leases ask for them.
  void add_reader() { readers_.fetch_add(1); }
  void drop_reader() { readers_.fetch_sub(1, std::memory_order_release); }
  int32_t readers() const { return readers_.load(); }

  /// True for a file made by O_TMPFILE without O_EXCL that has no name yet: link(2) may give it one although its link count is 0.
  virtual bool may_be_linked() const { return false; }

  /// Set for a directory that was removed while in use: nothing can be made in it any more. Under mutex().
  void mark_removed() { removed_.store(true, std::memory_order_relaxed); }
  bool is_removed() const { return removed_.load(std::memory_order_relaxed); }

  // Extended attributes, xattr(7). The default fails with EOPNOTSUPP. Called with the inode locked.
  virtual Result<String> get_attribute(std::string_view name);
  /// flags: 1 XATTR_CREATE, 2 XATTR_REPLACE.
  virtual Result<void> set_attribute(std::string_view name, std::string_view value, int flags);
  virtual Result<void> remove_attribute(std::string_view name);
  /// Names, each followed by NUL.
  virtual Result<String> list_attributes();

  /// Side objects that the VFS hangs on an inode on first use; null while there is none.
  std::atomic<NotifyMarks*> notify_marks{nullptr};
  std::atomic<FileLockTable*> file_locks{nullptr};
  std::atomic<LeaseList*> leases{nullptr};
  /// An AF_UNIX socket bound to this inode; owned by kernel/socket, under mutex().
  RefPtr<RefCounted> bound_socket;
  /// The pipe of a FIFO or of pipe(2) while it is open; owned by kernel/vfs/fifo, under mutex().
  RefPtr<RefCounted> fifo_pipe;

  // Helpers for filesystems.
  /// As relatime (mount(8)): only when the file changed since it was last read, or a day has passed.
  void touch_access_time();
  void touch_modify_and_change_time();
  void touch_change_time();

 protected:
  /// `rank` is for directories whose entries are taken from other parts of the kernel, with those parts' locks (proc).
  Inode(Superblock& superblock, InodeNumber number, uint32_t mode, UserId uid, GroupId gid, DeviceNumber device = {}, LockRank rank = LockRank::Inode);
  ~Inode() override;

  Superblock& superblock_;
  Mutex mutex_;
  InodeNumber number_;
  DeviceNumber device_;
  std::atomic<uint32_t> mode_;
  std::atomic<UserId> uid_;
  std::atomic<GroupId> gid_;
  std::atomic<uint32_t> links_{1};
  std::atomic<uint64_t> size_bytes_{0};
  std::atomic<int32_t> writers_{0};
  std::atomic<int32_t> readers_{0};
  /// Until which second a read need not look at the times, under relatime; 0 after each change.
  std::atomic<int64_t> access_time_fresh_until_{0};
  std::atomic<bool> removed_{false};
  uint64_t blocks_ GUARDED_BY(mutex_) = 0;
  /// Stores times, modify and change together, with the lock held.
  void stamp_change_locked(bool modified) REQUIRES(mutex_);

  Timestamp access_time_ GUARDED_BY(mutex_), modify_time_ GUARDED_BY(mutex_), change_time_ GUARDED_BY(mutex_), birth_time_ GUARDED_BY(mutex_);
};

/// Owner and mode of something new in `directory`: the caller's file ids, and with a set-group-id directory its group (and its bit, for
/// directories). `mode` is as requested with the umask already applied.
struct NewOwner {
  UserId uid;
  GroupId gid;
  uint32_t mode;
};
NewOwner owner_of_new(const Inode& directory, const Caller& caller, uint32_t mode);

/// Now, as file times are stamped: the coarse real-time clock.
Timestamp file_time_now();

}  // namespace umk::vfs

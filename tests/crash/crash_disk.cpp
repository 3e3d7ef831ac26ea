// Usage: crash_disk DIRECTORY MOUNT-POINT
//
// Shows the files of a directory under a mount point, as a disk that can lose power and fail. What is written stays apart, in memory, until it is synced (fsync,
// fdatasync, O_SYNC); only then it reaches the directory. So whoever writes may be killed, and what he did not sync is lost as it would be by a power failure,
// which a kill alone does not do: the host's page cache survives it. Names (creation, rename, removal) are durable at once. Nothing is cached by the host.
//
// Commands are written to the file `.control`:
//   crash none|all|some SEED   loses nothing, all, or some of what is not synced, sector by sector but for what lies in one block of 4 KiB, and puts the rest
//                              into the directory
//   fail read|write|sync|any FIRST COUNT ERRNO
//                              the FIRST-th such request from now on fails with the errno, and COUNT - 1 further ones; COUNT 0: all that follow
//   room BYTES ERRNO           writes to what is a hole now fail once BYTES have been put there, as on a full host; what fits is written
//   mend                       nothing fails any more
// It reads as "reads N writes N syncs N unsynced N".
#define FUSE_USE_VERSION 31
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <linux/falloc.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace {

constexpr uint64_t kSector = 512, kBlock = 4096;
constexpr const char* kControl = "/.control";

/// Something done to a file and not synced yet.
struct Change {
  enum class Kind { Write, Zero, Size } kind;
  uint64_t offset;  // or the size
  uint64_t bytes = 0;
  std::string data;
};

struct File {
  int durable = -1;  // in the directory
  int current = -1;  // in memory, from the first change on
  std::vector<Change> unsynced;
  std::vector<bool> is_filled;  // by blocks: what counts against the room

  ~File() {
    close(durable);
    if (current >= 0) close(current);
  }
  int readable() const { return current >= 0 ? current : durable; }
};

enum Operation { kRead, kWrite, kSync, kOperations };

struct Fault {
  uint64_t first = 0, count = 0, seen = 0;
  int code = 0;
  bool any = false;
};

std::string directory;
std::map<std::string, std::shared_ptr<File>> files;
uint64_t requests[kOperations];
std::vector<std::pair<int, Fault>> faults;  // by operation; kOperations: any
bool has_room_limit = false;
uint64_t room = 0;
int room_code = ENOSPC;

void apply(int fd, const Change& change) {
  switch (change.kind) {
    case Change::Kind::Write:
      if (pwrite(fd, change.data.data(), change.data.size(), static_cast<off_t>(change.offset)) < 0) perror("crash_disk: pwrite");
      break;
    case Change::Kind::Zero:
      if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(change.offset), static_cast<off_t>(change.bytes)) !=
          0)
        perror("crash_disk: fallocate");
      break;
    case Change::Kind::Size:
      if (ftruncate(fd, static_cast<off_t>(change.offset)) != 0) perror("crash_disk: ftruncate");
      break;
  }
}

std::shared_ptr<File> find(const char* path) {
  const auto found = files.find(path);
  if (found != files.end()) return found->second;
  const int fd = open((directory + path).c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return nullptr;
  auto file = std::make_shared<File>();
  file->durable = fd;
  files[path] = file;
  return file;
}

/// Runs over the parts of a file that are data.
template <typename F>
void for_data(int fd, F&& on_data) {
  struct stat status {};
  fstat(fd, &status);
  off_t at = 0;
  while (at < status.st_size) {
    const off_t data = lseek(fd, at, SEEK_DATA);
    if (data < 0) break;
    const off_t hole = lseek(fd, data, SEEK_HOLE);
    on_data(static_cast<uint64_t>(data), static_cast<uint64_t>(hole));
    at = hole;
  }
}

void prepare_change(File& file) {
  if (file.current >= 0) return;
  file.current = memfd_create("crash_disk", MFD_CLOEXEC);
  struct stat status {};
  fstat(file.durable, &status);
  if (ftruncate(file.current, status.st_size) != 0) perror("crash_disk: ftruncate");
  std::vector<char> block(1 << 20);
  for_data(file.durable, [&](uint64_t from, uint64_t to) {
    while (from < to) {
      const ssize_t got = pread(file.durable, block.data(), std::min<uint64_t>(block.size(), to - from), static_cast<off_t>(from));
      if (got <= 0) break;
      if (pwrite(file.current, block.data(), static_cast<size_t>(got), static_cast<off_t>(from)) != got) perror("crash_disk: copy");
      from += static_cast<uint64_t>(got);
    }
  });
}

void change(File& file, Change what) {
  prepare_change(file);
  apply(file.current, what);
  file.unsynced.push_back(std::move(what));
}

/// 0, or the errno with which this request has to fail.
int fault_of(Operation operation) {
  ++requests[operation];
  int code = 0;
  for (auto& [which, fault] : faults) {
    if (which != operation && which != kOperations) continue;
    ++fault.seen;
    if (fault.seen >= fault.first && (fault.count == 0 || fault.seen < fault.first + fault.count)) code = fault.code;
  }
  return code;
}

/// How many of these bytes there is room for; what is counted is marked as filled.
uint64_t take_room(File& file, uint64_t offset, uint64_t bytes) {
  if (!has_room_limit) return bytes;
  if (file.is_filled.empty()) {
    file.is_filled.resize(1);
    for_data(file.readable(), [&](uint64_t from, uint64_t to) {
      if (file.is_filled.size() < to / kBlock + 1) file.is_filled.resize(to / kBlock + 1);
      for (uint64_t block = from / kBlock; block <= (to - 1) / kBlock; ++block) file.is_filled[block] = true;
    });
  }
  for (uint64_t block = offset / kBlock; block <= (offset + bytes - 1) / kBlock; ++block) {
    if (file.is_filled.size() <= block) file.is_filled.resize(block + 1);
    if (file.is_filled[block]) continue;
    if (room < kBlock) return block * kBlock > offset ? block * kBlock - offset : 0;
    room -= kBlock;
    file.is_filled[block] = true;
  }
  return bytes;
}

void lose(File& file, const std::string& how, std::mt19937_64& random) {
  for (Change& each : file.unsynced) {
    if (how == "all") break;
    const uint64_t fate = how == "none" ? 1 : random() % 3;
    if (fate == 0) continue;
    // What lies in one block of today's disks is written whole: a superblock above all, which has no journal at the mount.
    const bool is_one_block = each.offset / kBlock == (each.offset + each.data.size() - 1) / kBlock;
    if (fate == 1 || each.kind != Change::Kind::Write || is_one_block) {
      apply(file.durable, each);
      continue;
    }
    for (uint64_t at = 0; at < each.data.size(); at += kSector)
      if (random() % 2) apply(file.durable, {Change::Kind::Write, each.offset + at, 0, each.data.substr(at, kSector)});
  }
  file.unsynced.clear();
  if (file.current >= 0) close(file.current);
  file.current = -1;
}

int command(const std::string& text) {
  char word[32], other[32];
  unsigned long long first = 0, count = 0;
  int code = 0;
  if (sscanf(text.c_str(), "crash %31s %llu", word, &first) == 2) {
    std::mt19937_64 random(first);
    for (auto& [path, file] : files) lose(*file, word, random);
    return 0;
  }
  if (sscanf(text.c_str(), "fail %31s %llu %llu %d", word, &first, &count, &code) == 4) {
    const std::string name = word;
    const int operation = name == "read" ? kRead : name == "write" ? kWrite : name == "sync" ? kSync : kOperations;
    faults.push_back({operation, Fault{first, count, 0, code, false}});
    return 0;
  }
  if (sscanf(text.c_str(), "room %llu %d", &first, &code) == 2) {
    has_room_limit = true;
    room = first;
    room_code = code;
    return 0;
  }
  if (sscanf(text.c_str(), "%31s", other) == 1 && std::string(other) == "mend") {
    faults.clear();
    has_room_limit = false;
    return 0;
  }
  return -EINVAL;
}

bool is_control(const char* path) { return strcmp(path, kControl) == 0; }

int do_getattr(const char* path, struct stat* status, fuse_file_info*) {
  *status = {};
  if (is_control(path)) {
    status->st_mode = S_IFREG | 0600;
    status->st_nlink = 1;
    status->st_size = 4096;
    return 0;
  }
  if (lstat((directory + path).c_str(), status) != 0) return -errno;
  if (!S_ISREG(status->st_mode)) return 0;
  const auto found = files.find(path);
  if (found == files.end()) return 0;
  struct stat now {};
  fstat(found->second->readable(), &now);
  status->st_size = now.st_size;
  return 0;
}

int do_readdir(const char*, void* buffer, fuse_fill_dir_t fill, off_t, fuse_file_info*, fuse_readdir_flags) {
  fill(buffer, ".", nullptr, 0, {});
  fill(buffer, "..", nullptr, 0, {});
  fill(buffer, kControl + 1, nullptr, 0, {});
  return 0;
}

int do_open(const char* path, fuse_file_info* info) {
  info->direct_io = 1;
  if (is_control(path)) return 0;
  return find(path) ? 0 : -errno;
}

int do_create(const char* path, mode_t mode, fuse_file_info* info) {
  const int fd = open((directory + path).c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  if (fd < 0) return -errno;
  close(fd);
  return do_open(path, info);
}

int do_read(const char* path, char* into, size_t bytes, off_t offset, fuse_file_info*) {
  if (is_control(path)) {
    uint64_t unsynced = 0;
    for (const auto& [name, file] : files) unsynced += file->unsynced.size();
    char text[200];
    const int length = snprintf(text, sizeof text, "reads %lu writes %lu syncs %lu unsynced %lu\n", requests[kRead], requests[kWrite],
                                requests[kSync], unsynced);
    if (offset >= length) return 0;
    const size_t count = std::min(bytes, static_cast<size_t>(length - offset));
    memcpy(into, text + offset, count);
    return static_cast<int>(count);
  }
  if (const int code = fault_of(kRead)) return -code;
  const std::shared_ptr<File> file = find(path);
  if (!file) return -EIO;
  const ssize_t got = pread(file->readable(), into, bytes, offset);
  return got < 0 ? -errno : static_cast<int>(got);
}

int do_write(const char* path, const char* from, size_t bytes, off_t offset, fuse_file_info*) {
  if (is_control(path)) {
    const int code = command(std::string(from, bytes));
    return code < 0 ? code : static_cast<int>(bytes);
  }
  if (const int code = fault_of(kWrite)) return -code;
  const std::shared_ptr<File> file = find(path);
  if (!file) return -EIO;
  const uint64_t fits = bytes == 0 ? 0 : take_room(*file, static_cast<uint64_t>(offset), bytes);
  if (fits == 0 && bytes > 0) return -room_code;
  change(*file, {Change::Kind::Write, static_cast<uint64_t>(offset), 0, std::string(from, fits)});
  return static_cast<int>(fits);
}

int do_fsync(const char* path, int, fuse_file_info*) {
  if (is_control(path)) return 0;
  if (const int code = fault_of(kSync)) return -code;
  const std::shared_ptr<File> file = find(path);
  if (!file) return -EIO;
  for (const Change& each : file->unsynced) apply(file->durable, each);
  file->unsynced.clear();
  return 0;
}

int do_truncate(const char* path, off_t size, fuse_file_info*) {
  if (is_control(path)) return 0;
  const std::shared_ptr<File> file = find(path);
  if (!file) return -errno;
  change(*file, {Change::Kind::Size, static_cast<uint64_t>(size), 0, {}});
  return 0;
}

int do_fallocate(const char* path, int mode, off_t offset, off_t bytes, fuse_file_info*) {
  if (mode != (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)) return -EOPNOTSUPP;
  if (const int code = fault_of(kWrite)) return -code;
  const std::shared_ptr<File> file = find(path);
  if (!file) return -errno;
  change(*file, {Change::Kind::Zero, static_cast<uint64_t>(offset), static_cast<uint64_t>(bytes), {}});
  return 0;
}

int do_rename(const char* from, const char* to, unsigned flags) {
  if (flags != 0) return -EINVAL;
  if (rename((directory + from).c_str(), (directory + to).c_str()) != 0) return -errno;
  files.erase(to);
  if (auto node = files.extract(from)) {
    node.key() = to;
    files.insert(std::move(node));
  }
  return 0;
}

int do_unlink(const char* path) {
  if (unlink((directory + path).c_str()) != 0) return -errno;
  files.erase(path);
  return 0;
}

int do_chmod(const char* path, mode_t mode, fuse_file_info*) { return chmod((directory + path).c_str(), mode) != 0 ? -errno : 0; }
int do_utimens(const char* path, const timespec times[2], fuse_file_info*) {
  return utimensat(AT_FDCWD, (directory + path).c_str(), times, 0) != 0 ? -errno : 0;
}
off_t do_seek(const char* path, off_t offset, int whence, fuse_file_info*) {
  const std::shared_ptr<File> file = find(path);
  if (!file) return -ENOENT;
  const off_t place = lseek(file->readable(), offset, whence);
  return place < 0 ? -errno : place;
}

int do_statfs(const char*, struct statvfs* status) { return statvfs(directory.c_str(), status) != 0 ? -errno : 0; }

void* do_init(fuse_conn_info*, fuse_config* config) {
  config->direct_io = 1;
  config->attr_timeout = config->entry_timeout = config->negative_timeout = 0;
  config->hard_remove = 1;
  return nullptr;
}

}  // namespace

int main(int count, char** words) {
  if (count != 3) {
    fprintf(stderr, "usage: crash_disk DIRECTORY MOUNT-POINT\n");
    return 2;
  }
  directory = words[1];
  fuse_operations operations{};
  operations.init = do_init;
  operations.getattr = do_getattr;
  operations.readdir = do_readdir;
  operations.open = do_open;
  operations.create = do_create;
  operations.read = do_read;
  operations.write = do_write;
  operations.fsync = do_fsync;
  operations.truncate = do_truncate;
  operations.fallocate = do_fallocate;
  operations.rename = do_rename;
  operations.unlink = do_unlink;
  operations.chmod = do_chmod;
  operations.utimens = do_utimens;
  operations.statfs = do_statfs;
  operations.lseek = do_seek;
  std::string program = words[0], place = words[2], single = "-s", foreground = "-f";
  char* arguments[] = {program.data(), single.data(), foreground.data(), place.data(), nullptr};
  return fuse_main(4, arguments, &operations, nullptr);
}

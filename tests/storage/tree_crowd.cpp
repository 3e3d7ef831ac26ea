// Usage: tree_crowd SEED OPERATIONS WORKERS [full]
//
// Many processes change the same few hundred names of one tree in the working directory, all at once: no one knows what is there, so each call may fail in
// the ways that such a race allows, and in no other. With `full` the disk is smaller than what is written, and ENOSPC is one of these ways. Files are
// filled so that each block tells its own place, and what is read must be such a block, or zero. Prints how many calls succeeded, and "done".
#include <dirent.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <initializer_list>

#include "model.h"

namespace {

constexpr size_t kBlock = 1024;
constexpr uint64_t kBlocks = 400;
model::History history;
bool may_be_full = false;
unsigned long succeeded = 0, failed = 0;

[[noreturn]] void fail(const std::string& what) {
  fprintf(stderr, "wrong: %s (%s); what this process did before:\n", what.c_str(), strerrorname_np(errno));
  history.print();
  exit(1);
}

/// Counts a call; ends the test when it failed with an errno that is not among the allowed ones.
bool call(const char* name, const std::string& path, long result, std::initializer_list<int> allowed) {
  const int code = result < 0 ? errno : 0;
  history.note("%s %s: %s", name, path.c_str(), code ? strerrorname_np(code) : "ok");
  if (code == 0) {
    ++succeeded;
    return true;
  }
  ++failed;
  errno = code;
  if (code == ENOSPC && may_be_full) return false;
  if (std::find(allowed.begin(), allowed.end(), code) == allowed.end()) fail(std::string(name) + " " + path);
  return false;
}

class Worker {
 public:
  explicit Worker(uint64_t seed) : random_(seed) {}

  void step() {
    const std::string path = any_path(), other = any_path();
    switch (random_.below(24)) {
      case 0:
      case 1:
      case 2:
      case 3: return write_file(path);
      case 4:
      case 5:
      case 6: return read_file(path);
      case 7:
      case 8: call("unlink", path, unlink(path.c_str()), {ENOENT, EISDIR, ENOTDIR}); return;
      case 9:
      case 10: call("mkdir", path, mkdir(path.c_str(), 0755), {EEXIST, ENOENT, ENOTDIR, EMLINK}); return;
      case 11: call("rmdir", path, rmdir(path.c_str()), {ENOENT, ENOTEMPTY, ENOTDIR}); return;
      case 12:
      case 13:
      case 14:
      case 15:
        call("rename", path + " " + other,
             renameat2(AT_FDCWD, path.c_str(), AT_FDCWD, other.c_str(), random_.one_in(4) ? RENAME_EXCHANGE : 0),
             {ENOENT, ENOTEMPTY, EEXIST, ENOTDIR, EISDIR, EINVAL});
        return;
      case 16: call("link", path + " " + other, link(path.c_str(), other.c_str()), {ENOENT, EEXIST, EPERM, ENOTDIR}); return;
      case 17: call("symlink", path, symlink("/nowhere/at/all", path.c_str()), {EEXIST, ENOENT, ENOTDIR}); return;
      case 18: return list(path);
      case 19: return change_size(path);
      case 20: call("setxattr", path, lsetxattr(path.c_str(), "user.x", path.data(), path.size(), 0), {ENOENT, ENOTDIR, EPERM}); return;
      case 21: return synchronise(path);
      case 22: return map_file(path);
      default: {
        struct stat status {};
        call("lstat", path, lstat(path.c_str(), &status), {ENOENT, ENOTDIR});
      }
    }
  }

 private:
  std::string any_path() {
    std::string path = "shared";
    for (uint64_t depth = 1 + random_.below(3); depth > 0; --depth) path += "/" + std::to_string(random_.below(8));
    return path;
  }

  static int open_file(const std::string& path, int flags) {
    const int fd = open(path.c_str(), flags | O_NOFOLLOW, 0644);
    call("open", path, fd, {ENOENT, ENOTDIR, EISDIR, ELOOP});
    return fd;
  }

  /// A block of any file tells its own place and a number that makes up its bytes.
  void fill(char* block, uint64_t index) {
    const uint64_t key = random_.next();
    memcpy(block, &index, sizeof index);
    memcpy(block + 8, &key, sizeof key);
    for (size_t i = 16; i < kBlock; ++i) block[i] = static_cast<char>(key >> (i % 8 * 8));
  }

  /// Whether a block of a file is one that was written there, with zeroes where something was cut off.
  static bool is_whole(const char* block, uint64_t index, const std::string& path) {
    uint64_t place = 0, key = 0;
    memcpy(&place, block, sizeof place);
    memcpy(&key, block + 8, sizeof key);
    if (place != index && place != 0) fail(path + ": block " + std::to_string(index) + " says it is block " + std::to_string(place));
    for (size_t i = 16; i < kBlock; ++i)
      if (block[i] != 0 && block[i] != static_cast<char>(key >> (i % 8 * 8))) return false;
    return true;
  }

  void write_file(const std::string& path) {
    const int fd = open_file(path, O_RDWR | O_CREAT | (random_.one_in(8) ? O_TRUNC : 0));
    if (fd < 0) return;
    std::string bytes((1 + random_.size_below(60)) * kBlock, '\0');
    const uint64_t first = random_.below(kBlocks);
    for (uint64_t i = 0; i < bytes.size() / kBlock; ++i) fill(bytes.data() + i * kBlock, first + i);
    call("pwrite", path, pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(first * kBlock)), {});
    if (random_.one_in(20)) call("fsync", path, fsync(fd), {});
    close(fd);
  }

  void read_file(const std::string& path) {
    const int fd = open_file(path, O_RDONLY);
    if (fd < 0) return;
    std::string bytes(20 * kBlock, '\0');
    const uint64_t first = random_.below(kBlocks);
    const ssize_t got = pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(first * kBlock));
    // A directory opened for reading.
    if (!call("pread", path, got, {EISDIR})) {
      close(fd);
      return;
    }
    for (size_t i = 0; i < static_cast<size_t>(got) / kBlock; ++i) {
      // A read may see half of a write that goes on at the same time, but not again and again.
      char* block = bytes.data() + i * kBlock;
      for (int looks = 0; !is_whole(block, first + i, path); ++looks) {
        if (looks == 100) fail(path + ": block " + std::to_string(first + i) + " is mixed of two");
        usleep(1000);
        memset(block, 0, kBlock);
        if (pread(fd, block, kBlock, static_cast<off_t>((first + i) * kBlock)) < 0) fail("pread again");
      }
    }
    close(fd);
  }

  void list(const std::string& path) {
    DIR* directory = opendir(path.c_str());
    if (!call("opendir", path, directory ? 0 : -1, {ENOENT, ENOTDIR})) return;
    while (const dirent* entry = readdir(directory))
      if (strlen(entry->d_name) > 2) fail(path + " shows the name " + entry->d_name);
    closedir(directory);
  }

  void change_size(const std::string& path) {
    const int fd = open_file(path, O_RDWR);
    if (fd < 0) return;
    const auto offset = static_cast<off_t>(random_.below(kBlocks) * kBlock), bytes = static_cast<off_t>((1 + random_.below(40)) * kBlock);
    switch (random_.below(4)) {
      case 0: call("ftruncate", path, ftruncate(fd, offset), {}); break;
      case 1: call("punch", path, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, bytes), {EOPNOTSUPP}); break;
      case 2: call("zero", path, fallocate(fd, FALLOC_FL_ZERO_RANGE, offset, bytes), {EOPNOTSUPP}); break;
      default: call("fallocate", path, fallocate(fd, 0, offset, bytes), {EOPNOTSUPP}); break;
    }
    close(fd);
  }

  void synchronise(const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    if (!call("open", path, fd, {ENOENT, ENOTDIR, ELOOP})) return;
    if (model::is_in_guest() || random_.one_in(50)) call("fsync", path, fsync(fd), {});
    close(fd);
  }

  void map_file(const std::string& path) {
    const int fd = open_file(path, O_RDONLY);
    if (fd < 0) return;
    struct stat status {};
    char* map = nullptr;
    if (fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0)
      map = static_cast<char*>(mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ, MAP_SHARED, fd, 0));
    // Nothing of it is touched, since another may cut the file: it must only come and go.
    if (map && map != MAP_FAILED) munmap(map, static_cast<size_t>(status.st_size));
    close(fd);
  }

  model::Random random_;
};

}  // namespace

int main(int count, char** words) {
  if (count != 4 && count != 5) {
    fprintf(stderr, "usage: tree_crowd SEED OPERATIONS WORKERS [full]\n");
    return 2;
  }
  const uint64_t seed = strtoull(words[1], nullptr, 0), operations = strtoull(words[2], nullptr, 0),
                 workers = strtoull(words[3], nullptr, 0);
  may_be_full = count == 5;
  if (mkdir("shared", 0755) != 0) fail("mkdir");
  std::vector<pid_t> children;
  for (uint64_t i = 0; i < workers; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      Worker worker(seed * 1000 + i);
      for (uint64_t n = 0; n < operations; ++n) worker.step();
      printf("worker %lu: %lu calls succeeded, %lu failed\n", i, succeeded, failed);
      fflush(stdout);
      _exit(0);
    }
    children.push_back(child);
  }
  bool ok = true;
  for (const pid_t child : children) {
    int status = 0;
    if (waitpid(child, &status, 0) < 0 || status != 0) ok = false;
  }
  if (!ok) return 1;
  puts("done");
  return 0;
}

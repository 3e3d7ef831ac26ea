// Usage: tree_model SEED OPERATIONS WORKERS
//
// Changes trees of files in the working directory in random order, one tree a worker, all at once, and compares them with what they must be, which each worker
// keeps in memory: names, kinds, links, owners, modes, times, attributes, contents, and which error a call that cannot be must give. At the end all is compared
// without caches. Prints a line for each file, sorted by name:
//
//   PATH KIND MODE UID:GID LINKS SIZE CHECKSUM ATTRIBUTES
//
// with the checksums of a file's contents and of its attributes `user.*` ("NAME=VALUE;" sorted), and "done".
#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <map>
#include <memory>

#include "model.h"

namespace {

constexpr uint64_t kLargestFile = 60'000;
constexpr unsigned kDeepest = 7;

model::History history;

[[noreturn]] void fail(const std::string& what) {
  fprintf(stderr, "wrong: %s (%s); what went before:\n", what.c_str(), strerrorname_np(errno));
  history.print();
  exit(1);
}

struct Node {
  mode_t mode = 0;  // with the kind
  uid_t uid = 0;
  gid_t gid = 0;
  unsigned links = 1;  // but of a directory
  std::string contents;  // or a symlink's target
  std::map<std::string, std::string> attributes;
  timespec changed{0, UTIME_OMIT};  // of the contents, as far as it is known
  std::map<std::string, std::shared_ptr<Node>> children;
  Node* parent = nullptr;  // a directory's

  bool is_directory() const { return S_ISDIR(mode); }
  unsigned link_count() const {
    if (!is_directory()) return links;
    return 2 + static_cast<unsigned>(
                   std::count_if(children.begin(), children.end(), [](const auto& child) { return child.second->is_directory(); }));
  }
  bool is_below(const Node* other) const {
    for (const Node* node = this; node; node = node->parent)
      if (node == other) return true;
    return false;
  }
};

/// A name, and what has it, if anything.
struct Place {
  Node* directory;
  std::string path, name;
  std::shared_ptr<Node> node;
};

class Tree {
 public:
  Tree(std::string root, uint64_t seed) : root_path_(std::move(root)), random_(seed), root_(std::make_shared<Node>()) {
    if (mkdir(root_path_.c_str(), 0755) != 0) fail("mkdir " + root_path_);
    root_->mode = S_IFDIR | 0755;
    root_->uid = geteuid();
    root_->gid = getegid();
  }

  void change() {
    const Place place = any_place();
    switch (random_.below(26)) {
      case 0:
      case 1:
      case 2:
      case 3: return create(place);
      case 4:
      case 5:
      case 6: return write(place);
      case 7: return truncate(place);
      case 8:
      case 9: return remove(place, false);
      case 10:
      case 11: return make_directory(place);
      case 12: return remove(place, true);
      case 13:
      case 14:
      case 15: return rename(place, any_place(), 0);
      case 16: return rename(place, any_place(), random_.one_in(2) ? RENAME_EXCHANGE : RENAME_NOREPLACE);
      case 17: return link(place, any_place());
      case 18: return make_symlink(place);
      case 19: return make_fifo(place);
      case 20: return set_mode(place);
      case 21: return set_attribute(place);
      case 22: return set_time(place);
      case 23: return synchronise(place);
      case 24: return random_.one_in(10) ? many(place) : keep_open(place);
      default: return place.node ? compare(*place.node, place.path) : void();
    }
  }

  void compare_all() const { compare_below(*root_, root_path_); }

  void print() const { print_below(*root_, root_path_); }

  void close_kept() {
    while (!kept_.empty()) check_kept();
  }

 private:
  struct Kept {
    int fd;
    std::shared_ptr<Node> node;
  };

  Place any_place() {
    Node* directory = root_.get();
    std::string path = root_path_;
    for (unsigned depth = 0; depth < kDeepest && !random_.one_in(4); ++depth) {
      std::vector<std::pair<const std::string*, Node*>> below;
      for (const auto& [name, child] : directory->children)
        if (child->is_directory()) below.emplace_back(&name, child.get());
      if (below.empty()) break;
      const auto& chosen = below[random_.below(below.size())];
      path += "/" + *chosen.first;
      directory = chosen.second;
    }
    std::string name;
    if (!directory->children.empty() && !random_.one_in(3)) {
      auto at = directory->children.begin();
      std::advance(at, static_cast<long>(random_.below(directory->children.size())));
      name = at->first;
    } else {
      name = "n" + std::to_string(random_.below(40));
      if (random_.one_in(6)) name += std::string(random_.below(250), static_cast<char>('a' + random_.below(26)));
    }
    const auto found = directory->children.find(name);
    return {directory, path + "/" + name, name, found == directory->children.end() ? nullptr : found->second};
  }

  /// Ends the test unless the call did what was expected: 0 or an errno.
  void expect(int status, int wanted, const char* call) {
    const int got = status == 0 ? 0 : errno;
    if (got == wanted) return;
    errno = got;
    fail(std::string(call) + " gives " + (got ? strerrorname_np(got) : "success") + ", not " +
         (wanted ? strerrorname_np(wanted) : "success"));
  }

  std::shared_ptr<Node> add(const Place& place, mode_t mode) {
    auto node = std::make_shared<Node>();
    node->mode = mode;
    node->uid = geteuid();
    node->gid = place.directory->mode & S_ISGID ? place.directory->gid : getegid();
    if (node->is_directory()) {
      node->mode |= place.directory->mode & S_ISGID;
      node->parent = place.directory;
    }
    place.directory->children[place.name] = node;
    return node;
  }

  std::string make_bytes(uint64_t bytes) {
    std::string made(bytes, '\0');
    const uint64_t key = random_.next();
    for (uint64_t i = 0; i < bytes; ++i) made[i] = static_cast<char>(key + i * 11 + (i >> 7) * 3);
    return made;
  }

  void create(const Place& place) {
    history.note("create %s", place.path.c_str());
    const int fd = open(place.path.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0640);
    expect(fd < 0 ? -1 : 0, place.node ? EEXIST : 0, "open O_EXCL");
    if (fd < 0) return;
    const auto node = add(place, S_IFREG | 0640);
    node->contents = make_bytes(random_.size_below(kLargestFile));
    if (::write(fd, node->contents.data(), node->contents.size()) != static_cast<ssize_t>(node->contents.size())) fail("write");
    close(fd);
  }

  /// An ordinary user's change of a file takes its set-user-ID bit, and the set-group-ID bit where it means that: chmod(2), inode(7).
  static void drop_set_id(Node& node) {
    if (geteuid() != 0) node.mode &= ~static_cast<mode_t>(S_ISUID | (node.mode & S_IXGRP ? S_ISGID : 0));
  }

  void write(const Place& place) {
    if (!place.node || !S_ISREG(place.node->mode)) return;
    Node& node = *place.node;
    const uint64_t offset = random_.one_in(2) ? node.contents.size() : random_.below(kLargestFile);
    const std::string bytes = make_bytes(1 + random_.size_below(kLargestFile / 4));
    history.note("write %zu at %lu of %s", bytes.size(), offset, place.path.c_str());
    const int fd = open(place.path.c_str(), O_WRONLY | (random_.one_in(20) ? O_SYNC : 0));
    if (fd < 0 || pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset)) != static_cast<ssize_t>(bytes.size())) fail("pwrite");
    close(fd);
    if (node.contents.size() < offset + bytes.size()) node.contents.resize(offset + bytes.size(), '\0');
    memcpy(node.contents.data() + offset, bytes.data(), bytes.size());
    node.changed.tv_nsec = UTIME_OMIT;
    drop_set_id(node);
  }

  void truncate(const Place& place) {
    if (!place.node || S_ISLNK(place.node->mode) || S_ISFIFO(place.node->mode)) return;
    const uint64_t size = random_.size_below(kLargestFile);
    history.note("truncate %s to %lu", place.path.c_str(), size);
    expect(::truncate(place.path.c_str(), static_cast<off_t>(size)), place.node->is_directory() ? EISDIR : 0, "truncate");
    if (place.node->is_directory()) return;
    drop_set_id(*place.node);
    place.node->contents.resize(size, '\0');
    place.node->changed.tv_nsec = UTIME_OMIT;
  }

  static void forget(const Place& place) {
    if (!place.node->is_directory()) --place.node->links;
    place.directory->children.erase(place.name);
  }

  void remove(const Place& place, bool directory) {
    history.note("%s %s", directory ? "rmdir" : "unlink", place.path.c_str());
    if (directory) {
      const int wanted = !place.node ? ENOENT : !place.node->is_directory() ? ENOTDIR : place.node->children.empty() ? 0 : ENOTEMPTY;
      expect(rmdir(place.path.c_str()), wanted, "rmdir");
      if (wanted == 0) forget(place);
      return;
    }
    const int wanted = !place.node ? ENOENT : place.node->is_directory() ? EISDIR : 0;
    expect(unlink(place.path.c_str()), wanted, "unlink");
    if (wanted == 0) forget(place);
  }

  void make_directory(const Place& place) {
    history.note("mkdir %s", place.path.c_str());
    expect(mkdir(place.path.c_str(), 0751), place.node ? EEXIST : 0, "mkdir");
    if (!place.node) add(place, S_IFDIR | 0751);
  }

  static void put(const Place& place, const std::shared_ptr<Node>& node) {
    place.directory->children[place.name] = node;
    if (node->is_directory()) node->parent = place.directory;
  }

  void rename(const Place& from, const Place& to, unsigned flags) {
    history.note("rename %s to %s, flags %u", from.path.c_str(), to.path.c_str(), flags);
    int wanted = 0;
    const bool is_same = from.node && from.node == to.node;
    if (!from.node) {
      wanted = ENOENT;
    } else if (!to.node && (flags & RENAME_EXCHANGE)) {
      wanted = ENOENT;
    } else if (to.node && (flags & RENAME_NOREPLACE)) {
      wanted = EEXIST;
    } else if (from.node->is_directory() && to.directory->is_below(from.node.get())) {
      wanted = EINVAL;
    } else if (to.node && to.node->is_directory() && from.directory->is_below(to.node.get())) {
      wanted = flags & RENAME_EXCHANGE ? EINVAL : ENOTEMPTY;
    } else if (to.node && !is_same && !(flags & RENAME_EXCHANGE)) {
      if (from.node->is_directory() != to.node->is_directory()) wanted = from.node->is_directory() ? ENOTDIR : EISDIR;
      else if (to.node->is_directory() && !to.node->children.empty()) wanted = ENOTEMPTY;
    }
    expect(renameat2(AT_FDCWD, from.path.c_str(), AT_FDCWD, to.path.c_str(), flags), wanted, "rename");
    if (wanted != 0 || is_same) return;
    if (flags & RENAME_EXCHANGE) {
      put(from, to.node);
      put(to, from.node);
      return;
    }
    if (to.node) forget(to);
    from.directory->children.erase(from.name);
    put(to, from.node);
  }

  void link(const Place& from, const Place& to) {
    history.note("link %s to %s", from.path.c_str(), to.path.c_str());
    const int wanted = !from.node ? ENOENT : to.node ? EEXIST : from.node->is_directory() ? EPERM : 0;
    expect(::link(from.path.c_str(), to.path.c_str()), wanted, "link");
    if (wanted != 0) return;
    ++from.node->links;
    put(to, from.node);
  }

  void make_symlink(const Place& place) {
    // Up to 59 bytes are in the inode.
    const std::string target(1 + random_.below(random_.one_in(2) ? 70 : 1000), static_cast<char>('A' + random_.below(26)));
    history.note("symlink %s, %zu bytes", place.path.c_str(), target.size());
    expect(symlink(target.c_str(), place.path.c_str()), place.node ? EEXIST : 0, "symlink");
    if (!place.node) add(place, S_IFLNK | 0777)->contents = target;
  }

  void make_fifo(const Place& place) {
    history.note("mkfifo %s", place.path.c_str());
    expect(mkfifo(place.path.c_str(), 0604), place.node ? EEXIST : 0, "mkfifo");
    if (!place.node) add(place, S_IFIFO | 0604);
  }

  void set_mode(const Place& place) {
    if (!place.node || S_ISLNK(place.node->mode)) return;
    Node& node = *place.node;
    const auto mode = static_cast<mode_t>(random_.below(010000) | (node.is_directory() ? 0700 : 0600));
    history.note("chmod %s to %o", place.path.c_str(), mode);
    if (geteuid() == 0 && random_.one_in(3)) {
      node.uid = static_cast<uid_t>(random_.below(100'000));
      node.gid = static_cast<gid_t>(random_.below(100'000));
      if (lchown(place.path.c_str(), node.uid, node.gid) != 0) fail("lchown");
    }
    if (chmod(place.path.c_str(), mode) != 0) fail("chmod");
    node.mode = (node.mode & S_IFMT) | mode;
  }

  void set_attribute(const Place& place) {
    if (!place.node || (!S_ISREG(place.node->mode) && !place.node->is_directory())) return;
    const std::string name = "user.a" + std::to_string(random_.below(5));
    std::map<std::string, std::string>& attributes = place.node->attributes;
    if (random_.one_in(3)) {
      history.note("removexattr %s of %s", name.c_str(), place.path.c_str());
      expect(removexattr(place.path.c_str(), name.c_str()), attributes.count(name) ? 0 : ENODATA, "removexattr");
      attributes.erase(name);
      return;
    }
    const std::string value(random_.below(random_.one_in(4) ? 400 : 40), static_cast<char>('0' + random_.below(10)));
    history.note("setxattr %s of %s, %zu bytes", name.c_str(), place.path.c_str(), value.size());
    if (setxattr(place.path.c_str(), name.c_str(), value.data(), value.size(), 0) != 0) {
      if (errno == ENOSPC) return;  // they have one block
      fail("setxattr");
    }
    attributes[name] = value;
  }

  void set_time(const Place& place) {
    if (!place.node || place.node->is_directory()) return;
    const timespec time{static_cast<time_t>(random_.below(12'000'000'000)) - 2'000'000'000,
                        static_cast<long>(random_.below(1'000'000'000))};
    const timespec both[2] = {time, time};
    history.note("utimensat %s", place.path.c_str());
    if (utimensat(AT_FDCWD, place.path.c_str(), both, AT_SYMLINK_NOFOLLOW) != 0) fail("utimensat");
    place.node->changed = time;
  }

  void synchronise(const Place& place) {
    if (!place.node || (!S_ISREG(place.node->mode) && !place.node->is_directory())) return;
    if (!random_.one_in(10) && !model::is_in_guest()) return;
    history.note("fsync %s", place.path.c_str());
    const int fd = open(place.path.c_str(), O_RDONLY);
    if (fd < 0 || fsync(fd) != 0) fail("fsync");
    close(fd);
  }

  /// Many names in one directory, that then go.
  void many(const Place& place) {
    if (place.node || place.directory->children.size() > 100) return;
    make_directory(place);
    Node& directory = *place.directory->children[place.name];
    const uint64_t number = 100 + random_.below(900);
    history.note("%lu names in %s", number, place.path.c_str());
    for (uint64_t i = 0; i < number; ++i) {
      const std::string name = "many" + std::to_string(i * 7919 % 10007);
      const Place one{&directory, place.path + "/" + name, name, nullptr};
      const int fd = open(one.path.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0600);
      if (fd < 0) fail("open " + one.path);
      close(fd);
      add(one, S_IFREG | 0600);
    }
    compare(directory, place.path);
    std::vector<std::string> names;
    for (const auto& child : directory.children) names.push_back(child.first);
    const uint64_t keep = random_.below(10);
    for (const std::string& name : names)
      if (random_.below(10) >= keep) {
        if (unlink((place.path + "/" + name).c_str()) != 0) fail("unlink " + name);
        directory.children.erase(name);
      }
    compare(directory, place.path);
  }

  /// A file stays open while its name may go.
  void keep_open(const Place& place) {
    if (!place.node || !S_ISREG(place.node->mode)) return;
    if (kept_.size() > 8) check_kept();
    history.note("open %s", place.path.c_str());
    const int fd = open(place.path.c_str(), O_RDONLY);
    if (fd < 0) fail("open");
    kept_.push_back({fd, place.node});
  }

  void check_kept() {
    const Kept kept = kept_.front();
    kept_.erase(kept_.begin());
    std::string got(kept.node->contents.size() + 1, 'x');
    const ssize_t count = pread(kept.fd, got.data(), got.size(), 0);
    if (count != static_cast<ssize_t>(kept.node->contents.size())) fail("an open file gives " + std::to_string(count) + " bytes");
    got.resize(kept.node->contents.size());
    if (got != kept.node->contents) fail("an open file has other contents");
    struct stat status {};
    if (fstat(kept.fd, &status) != 0 || status.st_nlink != kept.node->links)
      fail("an open file has " + std::to_string(status.st_nlink) + " names");
    close(kept.fd);
  }

  static void compare(const Node& node, const std::string& path) {
    struct stat status {};
    if (lstat(path.c_str(), &status) != 0) fail("lstat " + path);
    if (status.st_mode != node.mode) fail(path + " has mode " + std::to_string(status.st_mode) + ", not " + std::to_string(node.mode));
    if (status.st_uid != node.uid || status.st_gid != node.gid) fail(path + " has another owner");
    if (status.st_nlink != node.link_count())
      fail(path + " has " + std::to_string(status.st_nlink) + " links, not " + std::to_string(node.link_count()));
    if (node.changed.tv_nsec != UTIME_OMIT &&
        (status.st_mtim.tv_sec != node.changed.tv_sec || status.st_mtim.tv_nsec != node.changed.tv_nsec))
      fail(path + " has another time");
    if (node.is_directory()) {
      compare_names(node, path);
    } else if (S_ISLNK(node.mode)) {
      char target[4096];
      const ssize_t count = readlink(path.c_str(), target, sizeof target);
      if (count < 0 || std::string_view(target, static_cast<size_t>(count)) != node.contents) fail(path + " points elsewhere");
    } else if (S_ISREG(node.mode)) {
      compare_contents(node, path);
    }
    if (S_ISREG(node.mode) || node.is_directory()) compare_attributes(node, path);
  }

  static void compare_names(const Node& node, const std::string& path) {
    DIR* directory = opendir(path.c_str());
    if (!directory) fail("opendir " + path);
    std::vector<std::string> got;
    while (const dirent* entry = readdir(directory)) {
      const std::string name = entry->d_name;
      if (name == "." || name == "..") continue;
      got.push_back(name);
      const auto found = node.children.find(name);
      if (found == node.children.end()) fail(path + " shows " + name + ", which is not there");
      if (entry->d_type != DT_UNKNOWN && static_cast<mode_t>(DTTOIF(entry->d_type)) != (found->second->mode & S_IFMT))
        fail(path + " shows another kind for " + name);
    }
    closedir(directory);
    std::sort(got.begin(), got.end());
    if (std::adjacent_find(got.begin(), got.end()) != got.end()) fail(path + " shows a name twice");
    if (got.size() != node.children.size())
      fail(path + " shows " + std::to_string(got.size()) + " names, not " + std::to_string(node.children.size()));
  }

  static void compare_contents(const Node& node, const std::string& path) {
    const int fd = open(path.c_str(), O_RDONLY);
    if (fd < 0) fail("open " + path);
    std::string got(node.contents.size() + 1, 'x');
    const ssize_t count = read(fd, got.data(), got.size());
    close(fd);
    if (count != static_cast<ssize_t>(node.contents.size()))
      fail(path + " gives " + std::to_string(count) + " bytes, not " + std::to_string(node.contents.size()));
    got.resize(node.contents.size());
    if (got == node.contents) return;
    const auto at = std::mismatch(got.begin(), got.end(), node.contents.begin()).first - got.begin();
    fail(path + " differs from byte " + std::to_string(at) + " on");
  }

  static void compare_attributes(const Node& node, const std::string& path) {
    char names[4096];
    const ssize_t bytes = listxattr(path.c_str(), names, sizeof names);
    if (bytes < 0) fail("listxattr " + path);
    size_t count = 0;
    for (const char* name = names; name < names + bytes; name += strlen(name) + 1) {
      if (strncmp(name, "user.a", 6) != 0) continue;
      ++count;
      const auto found = node.attributes.find(name);
      if (found == node.attributes.end()) fail(path + " shows an attribute that is not there: " + name);
      char value[4096];
      const ssize_t length = getxattr(path.c_str(), name, value, sizeof value);
      if (length < 0 || std::string_view(value, static_cast<size_t>(length)) != found->second) fail(path + " has another " + name);
    }
    if (count != node.attributes.size()) fail(path + " lacks an attribute");
  }

  static void compare_below(const Node& node, const std::string& path) {
    compare(node, path);
    for (const auto& [name, child] : node.children) {
      if (child->is_directory()) compare_below(*child, path + "/" + name);
      else compare(*child, path + "/" + name);
    }
  }

  static void print_below(const Node& node, const std::string& path) {
    std::string attributes;
    for (const auto& [name, value] : node.attributes) attributes += name + "=" + value + ";";
    printf("%s %c %o %u:%u %u %zu %08x %08x\n", path.c_str(), "?pc?d?b?-?l?s???"[(node.mode >> 12) & 15], node.mode & 07777, node.uid,
           node.gid, node.link_count(), node.contents.size(), model::checksum(node.contents), model::checksum(attributes));
    for (const auto& [name, child] : node.children) print_below(*child, path + "/" + name);
  }

  const std::string root_path_;
  model::Random random_;
  std::shared_ptr<Node> root_;
  std::vector<Kept> kept_;
};

/// A worker's part. The lines of its files go to its own file, so that they do not mix.
int work(uint64_t seed, uint64_t operations, uint64_t number) {
  Tree tree("tree" + std::to_string(number), seed * 100 + number);
  model::Random random(seed + number);
  for (uint64_t i = 0; i < operations; ++i) {
    tree.change();
    if (random.one_in(1500)) tree.compare_all();
  }
  tree.close_kept();
  tree.compare_all();
  if (model::is_in_guest()) {
    sync();
    const int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);
    if (fd >= 0 && ::write(fd, "3", 1) != 1) fail("drop_caches");
    close(fd);
  }
  tree.compare_all();
  tree.print();
  return 0;
}

}  // namespace

int main(int count, char** words) {
  if (count != 4) {
    fprintf(stderr, "usage: tree_model SEED OPERATIONS WORKERS\n");
    return 2;
  }
  umask(0);
  const uint64_t seed = strtoull(words[1], nullptr, 0), operations = strtoull(words[2], nullptr, 0),
                 workers = strtoull(words[3], nullptr, 0);
  std::vector<pid_t> children;
  std::vector<FILE*> outputs;
  for (uint64_t i = 0; i < workers; ++i) {
    FILE* output = tmpfile();
    if (!output) fail("tmpfile");
    outputs.push_back(output);
    const pid_t child = fork();
    if (child == 0) {
      if (dup2(fileno(output), 1) < 0) fail("dup2");
      const int status = work(seed, operations, i);
      fflush(stdout);
      _exit(status);
    }
    children.push_back(child);
  }
  bool ok = true;
  for (uint64_t i = 0; i < workers; ++i) {
    int status = 0;
    if (waitpid(children[i], &status, 0) < 0 || status != 0) {
      fprintf(stderr, "worker %lu ended with status %x\n", i, static_cast<unsigned>(status));
      ok = false;
    }
    rewind(outputs[i]);
    char block[65536];
    for (size_t got; (got = fread(block, 1, sizeof block, outputs[i])) > 0;) fwrite(block, 1, got, stdout);
  }
  if (!ok) return 1;
  puts("done");
  return 0;
}

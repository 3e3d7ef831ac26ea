// Usage: crash_load run SEED WORKERS REPORT | crash_load check SEED WORKERS REPORT [stale]
//
// `run` changes and syncs files in the working directory until it is killed. Each worker has files of several kinds, and each file goes through versions that the
// seed determines. Before it goes to the next version the worker writes a line `b WORKER KIND VERSION` to the report, and after it has synced it the line
// `d WORKER KIND VERSION`. The report is on storage that survives.
//
// `check` reads the report and looks at what is there: each file must be at the last version that was synced, or at the next one, which was under way, or
// (for changes in place) between the two. With `stale` (data=writeback) the blocks that a file got since it was synced last may hold anything. Prints what is
// wrong, then "checked N files, N versions" and "done".
#include <dirent.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>

#include "storage/model.h"

namespace {

using model::Random;

constexpr size_t kLeastBlock = 1024;
bool may_be_stale = false;

/// Whether the block around `at` may have been a hole when the file had these contents.
bool may_be_hole(const std::string& text, size_t at) {
  const size_t first = at - at % kLeastBlock;
  return first >= text.size() || text.find_first_not_of('\0', first) >= std::min(text.size(), first + kLeastBlock);
}

[[noreturn]] void fail(const std::string& what) {
  fprintf(stderr, "crash_load: %s: %s\n", what.c_str(), strerrorname_np(errno));
  exit(1);
}

std::string bytes_of(Random& random, uint64_t count) {
  std::string made(count, '\0');
  uint64_t word = 0;
  for (uint64_t i = 0; i < count; ++i) {
    if (i % 8 == 0) word = random.next() | 0x0101010101010101u;  // no zeroes
    made[i] = static_cast<char>(word >> (i % 8 * 8));
  }
  return made;
}

void sync_directory(const char* name) {
  const int fd = open(name, O_RDONLY | O_DIRECTORY);
  if (fd < 0 || fsync(fd) != 0) fail("fsync of a directory");
  close(fd);
}

void write_all(int fd, const std::string& bytes) {
  if (write(fd, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size())) fail("write");
}

std::optional<std::string> read_file(const std::string& name) {
  const int fd = open(name.c_str(), O_RDONLY);
  if (fd < 0) return std::nullopt;
  struct stat status {};
  fstat(fd, &status);
  std::string bytes(static_cast<size_t>(status.st_size), '\0');
  const ssize_t got = read(fd, bytes.data(), bytes.size());
  close(fd);
  if (got != status.st_size) return std::nullopt;
  return bytes;
}

/// A kind of file with its versions; version 0 is what prepare() leaves. advance() does the next one and syncs it, and with `on_disk` unset only remembers
/// what it would be.
class Kind {
 public:
  virtual ~Kind() = default;
  virtual void prepare() {}
  virtual void advance(Random& random, uint64_t version, bool on_disk) = 0;
  /// Compares with the version advanced to last; keeps what is needed to compare with the one before. Empty: it is good. `is_between`: a crash happened in it.
  virtual std::string problem_at(bool is_between) = 0;
  /// Called before the last advance() of a check.
  virtual void keep_state() = 0;
};

/// A file that grows by records.
class Log final : public Kind {
 public:
  void advance(Random& random, uint64_t version, bool on_disk) override {
    const std::string record = bytes_of(random, 1 + random.below(random.one_in(10) ? 30'000 : 3'000));
    const uint64_t way = random.below(4);
    if (text_.size() > kLargest) return;
    text_ += record;
    if (!on_disk) return;
    (void)version;
    const int fd = open("log", O_WRONLY | O_CREAT | O_APPEND | (way == 0 ? O_DSYNC : 0), 0644);
    if (fd < 0) fail("open log");
    write_all(fd, record);
    if (way == 1 && fsync(fd) != 0) fail("fsync");
    if (way == 2 && fdatasync(fd) != 0) fail("fdatasync");
    if (way == 3 && model::is_in_guest()) sync();
    if (way == 3 && !model::is_in_guest() && fsync(fd) != 0) fail("fsync");
    close(fd);
    if (version == 1) sync_directory(".");
  }
  void keep_state() override { durable_bytes_ = text_.size(); }
  std::string problem_at(bool) override {
    const std::string got = read_file("log").value_or("");
    if (got.size() < durable_bytes_)
      return "the log has " + std::to_string(got.size()) + " bytes, and " + std::to_string(durable_bytes_) + " were synced";
    if (got.size() > text_.size()) return "the log is longer than it ever was";
    for (size_t i = 0; i < got.size(); ++i)
      if (got[i] != text_[i] && (i < durable_bytes_ || (got[i] != 0 && !may_be_stale)))
        return "byte " + std::to_string(i) + " of the log is wrong; " + std::to_string(durable_bytes_) + " were synced";
    return {};
  }

 private:
  static constexpr size_t kLargest = 4 << 20;
  std::string text_;
  size_t durable_bytes_ = 0;
};

/// A file that is replaced by another one: there is always one of them, whole.
class Replaced final : public Kind {
 public:
  void prepare() override { replace(text_); }
  void advance(Random& random, uint64_t, bool on_disk) override {
    text_ = bytes_of(random, random.size_below(100'000));
    if (on_disk) replace(text_);
  }
  void keep_state() override { before_ = text_; }
  std::string problem_at(bool is_between) override {
    const std::optional<std::string> got = read_file("replaced");
    if (!got) return "the file that is replaced is not there";
    if (*got == text_ || (is_between && *got == before_)) return {};
    return "the file that is replaced has " + std::to_string(got->size()) + " bytes, neither the " + std::to_string(before_.size()) +
           " bytes of before nor the " + std::to_string(text_.size()) + " of after";
  }

 private:
  static void replace(const std::string& text) {
    const int fd = open("replaced.new", O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd < 0) fail("open replaced.new");
    write_all(fd, text);
    if (fsync(fd) != 0) fail("fsync");
    close(fd);
    if (rename("replaced.new", "replaced") != 0) fail("rename");
    sync_directory(".");
  }
  std::string text_, before_;
};

/// A file that is changed in place.
class Changed final : public Kind {
 public:
  void prepare() override {
    const int fd = open("changed", O_RDWR | O_CREAT, 0644);
    if (fd < 0 || ftruncate(fd, static_cast<off_t>(text_.size())) != 0 || fsync(fd) != 0) fail("changed");
    close(fd);
    sync_directory(".");
  }
  void advance(Random& random, uint64_t, bool on_disk) override {
    const int fd = on_disk ? open("changed", O_RDWR) : -1;
    if (on_disk && fd < 0) fail("open changed");
    const uint64_t offset = random.below(text_.size());
    const uint64_t bytes = std::min(1 + random.size_below(60'000), text_.size() - offset);
    const std::string data = bytes_of(random, bytes);
    const uint64_t way = random.below(7);
    const bool by_map = way == 0;
    switch (way) {
      case 1:
        if (on_disk &&
            fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(offset), static_cast<off_t>(bytes)) != 0)
          fail("punch");
        memset(text_.data() + offset, 0, bytes);
        break;
      case 2:
        memset(text_.data() + offset, 0, bytes);
        if (!on_disk || fallocate(fd, FALLOC_FL_ZERO_RANGE, static_cast<off_t>(offset), static_cast<off_t>(bytes)) == 0) break;
        // Files without extents have no such thing.
        if (errno != EOPNOTSUPP || pwrite(fd, text_.data() + offset, bytes, static_cast<off_t>(offset)) != static_cast<ssize_t>(bytes))
          fail("zero range");
        break;
      default:
        if (on_disk && by_map) {
          char* map = static_cast<char*>(mmap(nullptr, text_.size(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
          if (map == MAP_FAILED) fail("mmap");
          memcpy(map + offset, data.data(), bytes);
          if (msync(map, text_.size(), MS_SYNC) != 0) fail("msync");
          munmap(map, text_.size());
        } else if (on_disk && pwrite(fd, data.data(), bytes, static_cast<off_t>(offset)) != static_cast<ssize_t>(bytes)) {
          fail("pwrite");
        }
        memcpy(text_.data() + offset, data.data(), bytes);
    }
    if (!on_disk) return;
    if (!by_map && fdatasync(fd) != 0) fail("fdatasync");
    close(fd);
  }
  void keep_state() override { before_ = text_; }
  std::string problem_at(bool is_between) override {
    const std::optional<std::string> got = read_file("changed");
    if (!got || got->size() != text_.size()) return "the file that is changed has another size";
    for (size_t i = 0; i < text_.size(); ++i)
      if ((*got)[i] != text_[i] && !(is_between && ((*got)[i] == before_[i] || (may_be_stale && may_be_hole(before_, i)))))
        return "byte " + std::to_string(i) + " of the file that is changed is of no version";
    return {};
  }

 private:
  std::string text_ = std::string(300'000, '\0'), before_;
};

/// A file of changing length.
class Cut final : public Kind {
 public:
  void prepare() override {
    const int fd = open("cut", O_RDWR | O_CREAT, 0644);
    if (fd < 0 || fsync(fd) != 0) fail("cut");
    close(fd);
    sync_directory(".");
  }
  void advance(Random& random, uint64_t, bool on_disk) override {
    const int fd = on_disk ? open("cut", O_RDWR) : -1;
    if (on_disk && fd < 0) fail("open cut");
    if (text_.size() > 100'000 || random.one_in(3)) {
      const uint64_t size = random.size_below(120'000);
      text_.resize(size, '\0');
      if (on_disk && ftruncate(fd, static_cast<off_t>(size)) != 0) fail("ftruncate");
    } else {
      const uint64_t offset = text_.size() + (random.one_in(3) ? random.below(20'000) : 0);
      const std::string data = bytes_of(random, 1 + random.below(40'000));
      if (on_disk && pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset)) != static_cast<ssize_t>(data.size())) fail("pwrite");
      text_.resize(offset, '\0');
      text_ += data;
    }
    if (!on_disk) return;
    if (fsync(fd) != 0) fail("fsync");
    close(fd);
  }
  void keep_state() override { before_ = text_; }
  std::string problem_at(bool is_between) override {
    const std::optional<std::string> got = read_file("cut");
    if (!got) return "the file that is cut is not there";
    const size_t least = std::min(text_.size(), is_between ? before_.size() : text_.size());
    const size_t most = std::max(text_.size(), is_between ? before_.size() : text_.size());
    if (got->size() < least || got->size() > most)
      return "the file that is cut has " + std::to_string(got->size()) + " bytes, not " + std::to_string(text_.size()) + " or " +
             std::to_string(before_.size());
    for (size_t i = 0; i < got->size(); ++i) {
      const char byte = (*got)[i];
      const bool is_new = i < text_.size() && byte == text_[i];
      const bool is_old = is_between && i < before_.size() && byte == before_[i];
      if (!is_new && !is_old && !(is_between && (byte == 0 || (may_be_stale && may_be_hole(before_, i)))))
        return "byte " + std::to_string(i) + " of the file that is cut is of no version";
    }
    return {};
  }

 private:
  std::string text_, before_;
};

/// A directory whose names change, each with a file that never does.
class Names final : public Kind {
 public:
  void prepare() override {
    if (mkdir("names", 0755) != 0) fail("mkdir");
    sync_directory("names");
    sync_directory(".");
  }
  void advance(Random& random, uint64_t version, bool on_disk) override {
    const uint64_t what = random.below(5);
    const std::string name = any_name(random), other = any_name(random);
    const bool is_there = names_.count(name) != 0;
    const auto path = [](const std::string& of) { return "names/" + of; };
    if (!is_there) {
      if (on_disk) {
        const int fd = open(path(name).c_str(), O_WRONLY | O_CREAT | O_EXCL, 0644);
        if (fd < 0) fail("create " + name);
        write_all(fd, std::to_string(version));
        if (fsync(fd) != 0) fail("fsync");
        close(fd);
      }
      names_[name] = std::to_string(version);
    } else if (what < 2) {
      if (on_disk && unlink(path(name).c_str()) != 0) fail("unlink");
      names_.erase(name);
    } else if (what == 2 && !names_.count(other)) {
      if (on_disk && link(path(name).c_str(), path(other).c_str()) != 0) fail("link");
      names_[other] = names_[name];
    } else if (name != other && !(names_.count(other) && names_[other] == names_[name])) {
      // Names of one file are left alone: a rename between them does nothing.
      if (on_disk && rename(path(name).c_str(), path(other).c_str()) != 0) fail("rename");
      names_[other] = names_[name];
      names_.erase(name);
    }
    if (on_disk) sync_directory("names");
  }
  void keep_state() override { before_ = names_; }
  std::string problem_at(bool is_between) override {
    std::map<std::string, std::string> got;
    DIR* directory = opendir("names");
    if (!directory) return "the directory is not there";
    while (const dirent* entry = readdir(directory))
      if (entry->d_name[0] != '.') got[entry->d_name] = read_file(std::string("names/") + entry->d_name).value_or("unreadable");
    closedir(directory);
    if (got == names_ || (is_between && got == before_)) return {};
    // A file that was just made may be empty yet.
    std::map<std::string, std::string> made = before_;
    for (const auto& [name, text] : names_)
      if (!before_.count(name)) made[name] = "";
    if (is_between && got == made) return {};
    if (may_be_stale)
      for (auto& [name, text] : got)
        if (made.count(name) && !before_.count(name)) text = "";
    if (is_between && got == made) return {};
    std::string problem = "the names are of no version:";
    for (const auto& [name, text] : got)
      if (!names_.count(name) || names_[name] != text) problem += " +" + name + "(" + text + ")";
    for (const auto& [name, text] : names_)
      if (!got.count(name)) problem += " -" + name + "(" + text + ")";
    return problem;
  }

 private:
  static std::string any_name(Random& random) {
    const uint64_t number = random.below(400);
    return "n" + std::to_string(number) + (number % 3 ? "" : std::string(number % 100 + 60, 'x'));
  }
  std::map<std::string, std::string> names_, before_;
};

constexpr int kKinds = 5;

std::unique_ptr<Kind> make_kind(int kind) {
  switch (kind) {
    case 0: return std::make_unique<Log>();
    case 1: return std::make_unique<Replaced>();
    case 2: return std::make_unique<Changed>();
    case 3: return std::make_unique<Cut>();
    default: return std::make_unique<Names>();
  }
}

uint64_t seed_of(uint64_t seed, uint64_t worker, int kind) { return (seed * 100 + worker) * 10 + static_cast<uint64_t>(kind); }
std::string directory_of(uint64_t worker) { return "worker" + std::to_string(worker); }

void report(int fd, char what, uint64_t worker, int kind, uint64_t version) {
  char line[100];
  const int length = snprintf(line, sizeof line, "%c %lu %d %lu\n", what, worker, kind, version);
  if (write(fd, line, static_cast<size_t>(length)) != length) fail("report");
}

void work(uint64_t seed, uint64_t worker, int report_fd) {
  if (mkdir(directory_of(worker).c_str(), 0755) != 0) fail("mkdir");
  sync_directory(".");
  if (chdir(directory_of(worker).c_str()) != 0) fail("chdir");
  std::unique_ptr<Kind> kinds[kKinds];
  std::vector<Random> randoms;
  uint64_t versions[kKinds] = {};
  for (int i = 0; i < kKinds; ++i) {
    kinds[i] = make_kind(i);
    kinds[i]->prepare();
    randoms.emplace_back(seed_of(seed, worker, i));
    report(report_fd, 'd', worker, i, 0);
  }
  Random order(seed_of(seed, worker, 9));
  for (;;) {
    const auto kind = static_cast<size_t>(order.below(kKinds));
    const uint64_t version = ++versions[kind];
    report(report_fd, 'b', worker, static_cast<int>(kind), version);
    kinds[kind]->advance(randoms[kind], version, true);
    report(report_fd, 'd', worker, static_cast<int>(kind), version);
  }
}

int run(uint64_t seed, uint64_t workers, const char* path) {
  const int fd = open(path, O_WRONLY | O_APPEND | O_CREAT, 0644);
  if (fd < 0) fail(path);
  for (uint64_t i = 0; i < workers; ++i)
    if (fork() == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      work(seed, i, fd);
    }
  // They end only when something goes wrong.
  int status = 0;
  wait(&status);
  return 1;
}

int check(uint64_t seed, uint64_t workers, const char* path) {
  std::map<std::pair<uint64_t, int>, std::pair<uint64_t, uint64_t>> seen;  // the last version begun, and the last one synced
  FILE* file = fopen(path, "r");
  if (!file) fail(path);
  char what = 0;
  uint64_t worker = 0, version = 0;
  int kind = 0;
  while (fscanf(file, " %c %lu %d %lu", &what, &worker, &kind, &version) == 4) {
    auto& entry = seen[{worker, kind}];
    entry.first = std::max(entry.first, version);
    if (what == 'd') entry.second = version;
  }
  int bad = 0;
  uint64_t versions = 0;
  for (const auto& [which, range] : seen) {
    const auto& [begun, durable] = range;
    if (which.first >= workers) fail("report");
    versions += durable;
    if (chdir(directory_of(which.first).c_str()) != 0) {
      printf("wrong: %s is not there\n", directory_of(which.first).c_str());
      ++bad;
      continue;
    }
    const std::unique_ptr<Kind> state = make_kind(which.second);
    Random random(seed_of(seed, which.first, which.second));
    for (uint64_t i = 1; i <= durable; ++i) state->advance(random, i, false);
    state->keep_state();
    if (begun > durable) state->advance(random, begun, false);
    const std::string problem = state->problem_at(begun > durable);
    if (!problem.empty()) {
      printf("wrong: worker %lu, version %lu synced, %lu begun: %s\n", which.first, durable, begun, problem.c_str());
      ++bad;
    }
    if (chdir("..") != 0) fail("chdir");
  }
  printf("checked %zu files, %lu versions\n", seen.size(), versions);
  if (bad) return 1;
  puts("done");
  return 0;
}

}  // namespace

int main(int count, char** words) {
  may_be_stale = count == 6 && strcmp(words[5], "stale") == 0;
  if ((count != 5 && !may_be_stale) || (strcmp(words[1], "run") != 0 && strcmp(words[1], "check") != 0)) {
    fprintf(stderr, "usage: crash_load run|check SEED WORKERS REPORT [stale]\n");
    return 2;
  }
  const uint64_t seed = strtoull(words[2], nullptr, 0), workers = strtoull(words[3], nullptr, 0);
  return strcmp(words[1], "run") == 0 ? run(seed, workers, words[4]) : check(seed, workers, words[4]);
}

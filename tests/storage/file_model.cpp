// Usage: file_model SEED OPERATIONS FILES LARGEST
//
// Changes files in the working directory in every way there is, in random order, and compares them with what they must be, which it keeps in memory: write, read,
// mappings, truncation, direct access, fallocate in all modes, holes, copies, reopening and forgetting of the caches in between. Modes that the file system
// refuses with EOPNOTSUPP are named at the end and not used again. Prints a line `NAME SIZE CHECKSUM` for each file, and "done".
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <set>

#include "model.h"

namespace {

constexpr uint64_t kPage = 4096;

model::History history;
std::set<std::string> refused;

[[noreturn]] void fail(const std::string& what) {
  fprintf(stderr, "wrong: %s (%s); what went before:\n", what.c_str(), strerrorname_np(errno));
  history.print();
  exit(1);
}

class File {
 public:
  File(std::string name, uint64_t largest, uint64_t seed) : name_(std::move(name)), largest_(largest), random_(seed) {
    fd_ = open(name_.c_str(), O_RDWR | O_CREAT | O_TRUNC, 0644);
    if (fd_ < 0) fail("open " + name_);
    direct_ = open(name_.c_str(), O_RDWR | O_DIRECT);
    if (direct_ < 0) refused.insert("O_DIRECT");
    buffer_.resize(largest + 2 * kPage);
    aligned_ = static_cast<char*>(aligned_alloc(kPage, kAlignedBytes));
  }

  void change() {
    const uint64_t offset = place(), bytes = 1 + random_.size_below(largest_ / 4);
    switch (random_.below(22)) {
      case 0:
      case 1:
      case 2:
      case 3: return write_at(offset, bytes);
      case 4: return write_at(contents_.size(), bytes);
      case 5:
      case 6: return read_at(offset, bytes);
      case 7: return truncate_to(random_.one_in(8) ? 0 : offset);
      case 8:
      case 9: return write_mapped(offset, bytes);
      case 10: return read_mapped(offset, bytes);
      case 11: return allocate(offset, bytes, random_.one_in(2) ? FALLOC_FL_KEEP_SIZE : 0);
      case 12: return allocate(offset, bytes, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
      case 13: return allocate(offset, bytes, FALLOC_FL_ZERO_RANGE | (random_.one_in(2) ? FALLOC_FL_KEEP_SIZE : 0));
      case 14: return shift(offset, bytes, FALLOC_FL_COLLAPSE_RANGE);
      case 15: return shift(offset, bytes, FALLOC_FL_INSERT_RANGE);
      case 16:
      case 17: return random_.one_in(2) ? write_direct() : read_direct();
      case 18: return synchronise();
      case 19: return copy_within(offset, bytes);
      case 20: return seek(offset);
      default: return random_.one_in(4) ? reopen() : check_size();
    }
  }

  void check_all(const char* when) {
    check_size();
    std::string got(contents_.size() + 10, 'x');
    const ssize_t count = pread(fd_, got.data(), got.size(), 0);
    if (count != static_cast<ssize_t>(contents_.size())) fail(name_ + " has another size when read whole, " + when);
    compare(got.data(), 0, contents_.size(), when);
  }

  void print() const { printf("%s %zu %08x\n", name_.c_str(), contents_.size(), model::checksum(contents_)); }

 private:
  static constexpr uint64_t kAlignedBytes = 64 * kPage;

  uint64_t place() {
    uint64_t offset =
        random_.one_in(3) ? random_.below(largest_) : random_.below(std::min<uint64_t>(largest_, contents_.size() + 3 * kPage));
    if (random_.one_in(3)) offset &= ~(kPage - 1);
    return offset;
  }

  /// Other bytes with each call, none of them zero.
  void make(char* into, uint64_t bytes) {
    const uint64_t key = random_.next();
    for (uint64_t i = 0; i < bytes; ++i) into[i] = static_cast<char>(1 + (key + i * 7 + (i >> 8) * 13) % 255);
  }

  void extend(uint64_t size) {
    if (contents_.size() < size) contents_.resize(size, '\0');
  }

  void compare(const char* got, uint64_t offset, uint64_t bytes, const char* how) {
    const char* wanted = contents_.data() + offset;
    if (memcmp(got, wanted, bytes) == 0) return;
    uint64_t first = 0, last = bytes - 1;
    while (got[first] == wanted[first]) ++first;
    while (got[last] == wanted[last]) --last;
    errno = 0;
    char text[300];
    snprintf(text, sizeof text, "%s differs from %lu to %lu, %s: byte %02x instead of %02x; size %zu", name_.c_str(), offset + first,
             offset + last, how, static_cast<unsigned char>(got[first]), static_cast<unsigned char>(wanted[first]), contents_.size());
    fail(text);
  }

  void write_at(uint64_t offset, uint64_t bytes) {
    if (offset >= largest_) return;
    bytes = std::min(bytes, largest_ - offset);
    history.note("%s: write %lu at %lu (size %zu)", name_.c_str(), bytes, offset, contents_.size());
    make(buffer_.data(), bytes);
    if (pwrite(fd_, buffer_.data(), bytes, static_cast<off_t>(offset)) != static_cast<ssize_t>(bytes)) fail("pwrite");
    extend(offset + bytes);
    memcpy(contents_.data() + offset, buffer_.data(), bytes);
  }

  void read_at(uint64_t offset, uint64_t bytes) {
    history.note("%s: read %lu at %lu (size %zu)", name_.c_str(), bytes, offset, contents_.size());
    const uint64_t wanted = offset >= contents_.size() ? 0 : std::min(bytes, contents_.size() - offset);
    const ssize_t got = pread(fd_, buffer_.data(), bytes, static_cast<off_t>(offset));
    if (got != static_cast<ssize_t>(wanted)) fail("pread gives " + std::to_string(got) + " bytes, not " + std::to_string(wanted));
    if (wanted > 0) compare(buffer_.data(), offset, wanted, "by read");
  }

  void truncate_to(uint64_t size) {
    history.note("%s: truncate to %lu (size %zu)", name_.c_str(), size, contents_.size());
    if (ftruncate(fd_, static_cast<off_t>(size)) != 0) fail("ftruncate");
    contents_.resize(size, '\0');
  }

  void write_mapped(uint64_t offset, uint64_t bytes) {
    if (contents_.empty()) return;
    offset %= contents_.size();
    bytes = std::min(bytes, contents_.size() - offset);
    history.note("%s: write %lu at %lu by a mapping (size %zu)", name_.c_str(), bytes, offset, contents_.size());
    const uint64_t start = offset & ~(kPage - 1);
    char* map =
        static_cast<char*>(mmap(nullptr, offset + bytes - start, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, static_cast<off_t>(start)));
    if (map == MAP_FAILED) fail("mmap");
    make(map + (offset - start), bytes);
    memcpy(contents_.data() + offset, map + (offset - start), bytes);
    if (random_.one_in(4) && msync(map, offset + bytes - start, random_.one_in(2) ? MS_SYNC : MS_ASYNC) != 0) fail("msync");
    if (munmap(map, offset + bytes - start) != 0) fail("munmap");
  }

  void read_mapped(uint64_t offset, uint64_t bytes) {
    if (contents_.empty()) return;
    offset %= contents_.size();
    bytes = std::min(bytes, contents_.size() - offset);
    history.note("%s: read %lu at %lu by a mapping (size %zu)", name_.c_str(), bytes, offset, contents_.size());
    const uint64_t start = offset & ~(kPage - 1);
    const uint64_t end = (offset + bytes + kPage - 1) & ~(kPage - 1);
    const char* map = static_cast<char*>(
        mmap(nullptr, end - start, PROT_READ, random_.one_in(2) ? MAP_SHARED : MAP_PRIVATE, fd_, static_cast<off_t>(start)));
    if (map == MAP_FAILED) fail("mmap");
    compare(map + (offset - start), offset, bytes, "by a mapping");
    // Behind the end of the file the rest of its last page is zero.
    if (end > contents_.size() && offset + bytes == contents_.size())
      for (uint64_t i = contents_.size(); i < end; ++i)
        if (map[i - start] != 0) fail("byte " + std::to_string(i) + " of " + name_ + " is behind the end and not zero");
    munmap(const_cast<char*>(map), end - start);
  }

  /// Whether it was done.
  bool call_fallocate(int mode, uint64_t offset, uint64_t bytes) {
    const std::string name = "fallocate mode " + std::to_string(mode);
    if (refused.count(name)) return false;
    history.note("%s: %s, %lu at %lu (size %zu)", name_.c_str(), name.c_str(), bytes, offset, contents_.size());
    if (fallocate(fd_, mode, static_cast<off_t>(offset), static_cast<off_t>(bytes)) == 0) return true;
    if (errno != EOPNOTSUPP) fail("fallocate");
    refused.insert(name);
    return false;
  }

  void allocate(uint64_t offset, uint64_t bytes, int mode) {
    if (offset >= largest_) return;
    bytes = std::min(bytes, largest_ - offset);
    if (!call_fallocate(mode, offset, bytes)) return;
    if (!(mode & FALLOC_FL_KEEP_SIZE)) extend(offset + bytes);
    if (!(mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) || offset >= contents_.size()) return;
    memset(contents_.data() + offset, 0, std::min(bytes, contents_.size() - offset));
  }

  /// Takes whole blocks out, or puts holes in.
  void shift(uint64_t offset, uint64_t bytes, int mode) {
    offset &= ~(kPage - 1);
    bytes = (bytes + kPage - 1) & ~(kPage - 1);
    if (mode == FALLOC_FL_COLLAPSE_RANGE) {
      if (offset + bytes >= contents_.size() || !call_fallocate(mode, offset, bytes)) return;
      contents_.erase(offset, bytes);
    } else {
      if (offset >= contents_.size() || contents_.size() + bytes > largest_ || !call_fallocate(mode, offset, bytes)) return;
      contents_.insert(offset, bytes, '\0');
    }
  }

  void write_direct() {
    if (direct_ < 0) return;
    const uint64_t offset = random_.below(largest_ / kPage) * kPage;
    const uint64_t bytes = std::min((1 + random_.below(kAlignedBytes / kPage)) * kPage, largest_ - offset);
    history.note("%s: write %lu at %lu directly (size %zu)", name_.c_str(), bytes, offset, contents_.size());
    make(aligned_, bytes);
    if (pwrite(direct_, aligned_, bytes, static_cast<off_t>(offset)) != static_cast<ssize_t>(bytes)) fail("direct pwrite");
    extend(offset + bytes);
    memcpy(contents_.data() + offset, aligned_, bytes);
  }

  void read_direct() {
    if (direct_ < 0) return;
    const uint64_t offset = random_.below(largest_ / kPage) * kPage, bytes = (1 + random_.below(kAlignedBytes / kPage)) * kPage;
    history.note("%s: read %lu at %lu directly (size %zu)", name_.c_str(), bytes, offset, contents_.size());
    const uint64_t wanted = offset >= contents_.size() ? 0 : std::min(bytes, contents_.size() - offset);
    const ssize_t got = pread(direct_, aligned_, bytes, static_cast<off_t>(offset));
    if (got != static_cast<ssize_t>(wanted)) fail("direct pread gives " + std::to_string(got) + " bytes, not " + std::to_string(wanted));
    if (wanted > 0) compare(aligned_, offset, wanted, "by direct read");
  }

  void synchronise() {
    const uint64_t how = random_.below(model::is_in_guest() ? 5 : 3);
    history.note("%s: sync %lu", name_.c_str(), how);
    const int status = how == 0   ? fsync(fd_)
                       : how == 1 ? fdatasync(fd_)
                       : how == 2 ? sync_file_range(fd_, 0, 0, SYNC_FILE_RANGE_WRITE)
                       : how == 3 ? posix_fadvise(fd_, 0, 0, POSIX_FADV_DONTNEED)
                                  : syncfs(fd_);
    if (status != 0) fail("sync");
  }

  void copy_within(uint64_t offset, uint64_t bytes) {
    if (contents_.empty()) return;
    const uint64_t from = offset % contents_.size();
    uint64_t to = place();
    bytes = std::min({bytes, contents_.size() - from, largest_ - std::min(largest_, to)});
    if (bytes == 0 || (from < to + bytes && to < from + bytes)) return;
    history.note("%s: copy %lu from %lu to %lu (size %zu)", name_.c_str(), bytes, from, to, contents_.size());
    auto in = static_cast<off_t>(from), out = static_cast<off_t>(to);
    for (uint64_t left = bytes; left > 0;) {
      const ssize_t count = copy_file_range(fd_, &in, fd_, &out, left, 0);
      if (count <= 0) fail("copy_file_range");
      left -= static_cast<uint64_t>(count);
    }
    extend(to + bytes);
    memmove(contents_.data() + to, contents_.data() + from, bytes);
  }

  /// What is not zero is in data; SEEK_DATA and SEEK_HOLE agree.
  void seek(uint64_t offset) {
    history.note("%s: seek from %lu (size %zu)", name_.c_str(), offset, contents_.size());
    const off_t data = lseek(fd_, static_cast<off_t>(offset), SEEK_DATA);
    if (data < 0 && errno != ENXIO) fail("SEEK_DATA");
    const uint64_t end = data < 0 ? contents_.size() : static_cast<uint64_t>(data);
    if (end < offset && data >= 0) fail("SEEK_DATA goes back");
    for (uint64_t i = offset; i < std::min<uint64_t>(end, contents_.size()); ++i)
      if (contents_[i] != 0) fail("byte " + std::to_string(i) + " of " + name_ + " is data, and SEEK_DATA passes over it");
    if (data < 0) return;
    const off_t hole = lseek(fd_, data, SEEK_HOLE);
    if (hole <= data || hole > static_cast<off_t>(contents_.size()))
      fail("SEEK_HOLE from data at " + std::to_string(data) + " gives " + std::to_string(hole));
  }

  void reopen() {
    history.note("%s: reopen", name_.c_str());
    close(fd_);
    fd_ = open(name_.c_str(), O_RDWR);
    if (fd_ < 0) fail("open again");
  }

  void check_size() {
    struct stat status {};
    if (fstat(fd_, &status) != 0) fail("fstat");
    if (static_cast<uint64_t>(status.st_size) != contents_.size())
      fail(name_ + " has size " + std::to_string(status.st_size) + ", not " + std::to_string(contents_.size()));
  }

  const std::string name_;
  const uint64_t largest_;
  model::Random random_;
  int fd_ = -1, direct_ = -1;
  std::string contents_, buffer_;
  char* aligned_ = nullptr;
};

void drop_caches() {
  if (!model::is_in_guest()) return;
  const int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);
  if (fd < 0) return;
  if (write(fd, "3", 1) != 1) fail("drop_caches");
  close(fd);
}

}  // namespace

int main(int count, char** words) {
  if (count != 5) {
    fprintf(stderr, "usage: file_model SEED OPERATIONS FILES LARGEST\n");
    return 2;
  }
  const uint64_t seed = strtoull(words[1], nullptr, 0), operations = strtoull(words[2], nullptr, 0),
                 number = strtoull(words[3], nullptr, 0);
  const uint64_t largest = strtoull(words[4], nullptr, 0) & ~(kPage - 1);
  std::vector<std::unique_ptr<File>> files;
  for (uint64_t i = 0; i < number; ++i) files.push_back(std::make_unique<File>("file" + std::to_string(i), largest, seed * 1000 + i));
  model::Random random(seed);
  for (uint64_t i = 0; i < operations; ++i) {
    files[random.below(number)]->change();
    if (random.one_in(500)) {
      history.note("drop caches");
      drop_caches();
    }
    if (random.one_in(200)) files[random.below(number)]->check_all("in between");
  }
  for (auto& file : files) file->check_all("at the end");
  if (model::is_in_guest()) sync();
  drop_caches();
  for (auto& file : files) file->check_all("without caches");
  for (const auto& file : files) file->print();
  for (const std::string& name : refused) printf("refused: %s\n", name.c_str());
  puts("done");
  return 0;
}

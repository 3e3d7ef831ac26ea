#include "monitor/machine/disk_images.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include "core/lib/cow_format/cow_format.h"

namespace umk::monitor {

namespace {

/// A descriptor that is closed unless it is handed on.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

struct File {
  Descriptor fd;
  bool is_writable = false;
  struct stat status {};
  uint64_t bytes = 0;
};

[[noreturn]] void fail(const DiskOption& disk, const std::string& why, int open_error = 0) {
  throw DiskFileError(fmt::format("umk: ubd{}: {}", disk.number, why), open_error);
}

std::optional<uint64_t> size_of(int fd, const struct stat& status) {
  if (S_ISREG(status.st_mode)) return static_cast<uint64_t>(status.st_size);
  uint64_t bytes = 0;
  if (S_ISBLK(status.st_mode) && ioctl(fd, BLKGETSIZE64, &bytes) == 0) return bytes;
  return std::nullopt;
}

/// Opens for writing where that is wanted and possible. errno is set when there is no descriptor.
File open_file(const DiskOption& disk, const std::string& path, bool wants_writing) {
  File file;
  const int flags = O_CLOEXEC | O_NOCTTY | (disk.is_synchronous ? O_SYNC : 0);
  if (wants_writing) file.fd = Descriptor(open(path.c_str(), O_RDWR | flags));
  file.is_writable = file.fd.get() >= 0;
  if (file.fd.get() < 0 && (!wants_writing || errno == EACCES || errno == EROFS || errno == EPERM)) file.fd = Descriptor(open(path.c_str(), O_RDONLY | flags));
  if (file.fd.get() < 0) return file;
  fstat(file.fd.get(), &file.status);
  const std::optional<uint64_t> bytes = size_of(file.fd.get(), file.status);
  if (!bytes) fail(disk, fmt::format("{}: Couldn't determine size of device's file: it is neither a file nor a block device", path));
  file.bytes = *bytes;
  return file;
}

// Where the number of the process is kept: no file is that long.
constexpr off_t kNumberPlace = off_t{1} << 62;

struct flock lock_of(int type, off_t start, off_t length) {
  struct flock lock {};
  lock.l_type = static_cast<short>(type);
  lock.l_whence = SEEK_SET;
  lock.l_start = start;
  lock.l_len = length;
  return lock;
}

/// The process that has the conflicting lock; 0 when it cannot be told.
pid_t holder_of(int fd, int type) {
  for (const auto& [start, length] : {std::pair<off_t, off_t>{0, 0}, {kNumberPlace, 1}}) {
    struct flock lock = lock_of(type, start, length);
    if (fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK && lock.l_pid > 0) return lock.l_pid;
  }
  return 0;
}

/// False when it is not locked: others may write it.
bool lock_file(const DiskOption& disk, const File& file, const std::string& path, std::vector<std::string>& notes) {
  if (disk.is_shared) {
    notes.push_back(fmt::format("Not locking \"{}\" on the host", path));
    return false;
  }
  const int type = file.is_writable ? F_WRLCK : F_RDLCK;
  struct flock whole = lock_of(type, 0, kNumberPlace);
  if (fcntl(file.fd.get(), F_OFD_SETLK, &whole) != 0) {
    const int error = errno;
    if (error != EAGAIN && error != EACCES) {
      notes.push_back(fmt::format("{} cannot be locked on the host: {}", path, std::strerror(error)));
      return false;
    }
    const pid_t holder = holder_of(file.fd.get(), type);
    const std::string by = holder > 0 ? fmt::format("by pid {}", holder) : "by another process";
    fail(disk, fmt::format("F_SETLK failed, file already locked {}\numk: ubd{}: Failed to lock '{}', err = {}", by, disk.number, path, error));
  }
  struct flock number = lock_of(type, kNumberPlace, 1);
  (void)fcntl(file.fd.get(), F_SETLK, &number);
  return true;
}

/// The directory resolved, the name as it is: what a header names must be found from anywhere.
std::string absolute(const DiskOption& disk, const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  char resolved[PATH_MAX];
  if (!realpath(directory.c_str(), resolved)) fail(disk, fmt::format("{}: {}", path, std::strerror(errno)));
  std::string result = resolved;
  if (result.back() != '/') result += '/';
  return result + path.substr(slash == std::string::npos ? 0 : slash + 1);
}

bool write_all(int fd, std::span<const std::byte> bytes, off_t offset) {
  while (!bytes.empty()) {
    const ssize_t put = pwrite(fd, bytes.data(), bytes.size(), offset);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return false;
    bytes = bytes.subspan(static_cast<size_t>(put));
    offset += put;
  }
  return true;
}

/// A new copy-on-write file: made under another name, so that nobody ever finds half of one.
void create_cow(const DiskOption& disk, const std::string& path, const std::string& backing, const File& backing_file) {
  const std::string name = absolute(disk, backing);
  cow_format::Header header{.backing_name = name, .backing_time = static_cast<uint32_t>(backing_file.status.st_mtime), .backing_bytes = backing_file.bytes};
  std::array<std::byte, cow_format::kHeaderBytes> bytes;
  const Result<void> made = cow_format::write_header(bytes, header);
  if (made.code() == ENAMETOOLONG) fail(disk, fmt::format("Backing file name \"{}\" is too long - names are limited to {} characters", name, cow_format::kBackingNameLimit));
  const Result<cow_format::Layout> layout = cow_format::layout_of(header);
  if (!made.ok() || !layout.ok()) fail(disk, fmt::format("{}: no copy-on-write file can be made for it", backing));

  std::string temporary = path + ".XXXXXX";
  const Descriptor fd(mkostemp(temporary.data(), O_CLOEXEC));
  const auto failed = [&] {
    const int error = errno;
    if (fd.get() >= 0) unlink(temporary.c_str());
    fail(disk, fmt::format("{}: the copy-on-write file cannot be made: {}", path, std::strerror(error)));
  };
  if (fd.get() < 0) failed();
  const mode_t mask = umask(0);
  umask(mask);
  const auto length = static_cast<off_t>(layout.value().data_offset + header.backing_bytes);
  if (fchmod(fd.get(), 0644 & ~mask) != 0 || !write_all(fd.get(), bytes, 0) || ftruncate(fd.get(), length) != 0 || fsync(fd.get()) != 0) failed();
  if (rename(temporary.c_str(), path.c_str()) != 0) failed();
}

bool is_same_file(const struct stat& a, const struct stat& b) { return a.st_dev == b.st_dev && a.st_ino == b.st_ino; }

bool fits(const cow_format::Header& header, const File& backing) {
  return header.backing_bytes == backing.bytes && header.backing_time == static_cast<uint32_t>(backing.status.st_mtime);
}

struct Head {
  std::array<std::byte, cow_format::kMaximumHeaderBytes> bytes;
  cow_format::Parsed parsed;
};

void read_head(int fd, Head& head) {
  const ssize_t got = pread(fd, head.bytes.data(), head.bytes.size(), 0);
  head.parsed = cow_format::parse(std::span(head.bytes).first(got > 0 ? static_cast<size_t>(got) : 0));
}

/// The backing file that goes with a copy-on-write file, as UML decides it between the switch and the header.
std::pair<File, std::string> open_backing(const DiskOption& disk, const File& cow, const cow_format::Header& header, std::vector<std::string>& notes) {
  const std::string named(header.backing_name);
  const auto open_named = [&] {
    File backing = open_file(disk, named, false);
    if (backing.fd.get() < 0) fail(disk, fmt::format("{}: the backing file of {}: {}", named, disk.file, std::strerror(errno)));
    return std::pair(std::move(backing), named);
  };
  if (disk.second_file.empty()) return open_named();
  File wanted = open_file(disk, disk.second_file, false);
  if (wanted.fd.get() < 0) fail(disk, fmt::format("{}: {}", disk.second_file, std::strerror(errno)));
  struct stat status {};
  if (stat(named.c_str(), &status) == 0 && is_same_file(status, wanted.status)) return {std::move(wanted), disk.second_file};

  notes.push_back(fmt::format("Backing file mismatch - \"{}\" requested, \"{}\" specified in COW header of \"{}\"", disk.second_file, named, disk.file));
  if (!fits(header, wanted)) return open_named();
  notes.push_back(fmt::format("Switching backing file to '{}'", disk.second_file));
  // Headers of other layouts stay: rewritten as version 3 they would no longer say where the data are.
  if (header.version == 3 && !header.is_wide && cow.is_writable) {
    cow_format::Header changed = header;
    const std::string name = absolute(disk, disk.second_file);
    changed.backing_name = name;
    std::array<std::byte, cow_format::kHeaderBytes> bytes;
    if (cow_format::write_header(bytes, changed).ok() && (!write_all(cow.fd.get(), bytes, 0) || fdatasync(cow.fd.get()) != 0))
      fail(disk, fmt::format("{}: the header cannot be written: {}", disk.file, std::strerror(errno)));
  }
  return {std::move(wanted), disk.second_file};
}

}  // namespace

DiskImages::DiskImages(const std::vector<DiskOption>& disks, std::vector<std::string>& notes) {
  for (const DiskOption& disk : disks) open_disk(disk, notes);
}

void DiskImages::open_disk(const DiskOption& disk, std::vector<std::string>& notes) {
  File file = open_file(disk, disk.file, !disk.is_read_only);
  if (file.fd.get() < 0 && errno == ENOENT && !disk.second_file.empty()) {
    const File backing = open_file(disk, disk.second_file, false);
    if (backing.fd.get() < 0) fail(disk, fmt::format("{}: {}", disk.second_file, std::strerror(errno)), errno);
    notes.push_back(fmt::format("Creating \"{}\" as COW file for \"{}\"", disk.file, disk.second_file));
    create_cow(disk, disk.file, disk.second_file, backing);
    file = open_file(disk, disk.file, !disk.is_read_only);
  }
  if (file.fd.get() < 0) fail(disk, fmt::format("{}: {}", disk.file, std::strerror(errno)), errno);
  const bool is_locked = lock_file(disk, file, disk.file, notes);

  ubd::DiskImage image;
  image.is_fixed = is_locked && !file.is_writable;
  image.number = disk.number;
  image.is_read_only = !file.is_writable;
  image.can_discard = disk.can_discard;
  image.file = keep(disk.file);
  image.serial = keep(disk.serial);
  image.bytes = file.bytes;

  Head head;
  if (!disk.is_plain) read_head(file.fd.get(), head);
  const cow_format::Parsed& parsed = head.parsed;
  if (parsed.kind == cow_format::Parsed::Kind::Damaged) fail(disk, fmt::format("{}: read_cow_header - {}", disk.file, parsed.problem));
  if (parsed.kind == cow_format::Parsed::Kind::Plain && !disk.second_file.empty())
    fail(disk, fmt::format("Failed to read COW header from COW file \"{}\", errno = {}", disk.file, EINVAL));
  if (parsed.kind == cow_format::Parsed::Kind::Cow) {
    const cow_format::Header& header = parsed.header;
    if (header.is_wide) notes.push_back(fmt::format("{}: read_cow_header - broken V3 file with 64-bit layout - recovering content.", disk.file));
    if (parsed.layout.sector_bytes < 512 || parsed.layout.sector_bytes > 4096)
      fail(disk, fmt::format("{}: sectors of {} bytes are not supported", disk.file, parsed.layout.sector_bytes));
    auto [backing, name] = open_backing(disk, file, header, notes);
    if (header.backing_bytes != backing.bytes)
      fail(disk, fmt::format("{}: Size mismatch ({} vs {}) of COW header vs backing file", disk.file, header.backing_bytes, backing.bytes));
    if (!fits(header, backing))
      fail(disk, fmt::format("{}: mtime mismatch ({} vs {}) of COW header vs backing file", disk.file, header.backing_time, backing.status.st_mtime));
    image.is_fixed = lock_file(disk, backing, name, notes);
    image.backing_file = keep(name);
    image.backing_fd = backing.fd.release();
    image.layout = parsed.layout;
    image.bytes = header.backing_bytes;
  }
  image.fd = file.fd.release();
  images_.push_back(image);
}

void choose_default_disks(Configuration& configuration) {
  if (configuration.action != Configuration::Action::Boot || !configuration.root.empty() || configuration.root_type == "hostfs") return;
  const auto is_first = [](const DiskOption& disk) { return disk.number == 0; };
  if (std::none_of(configuration.disks.begin(), configuration.disks.end(), is_first)) {
    struct stat status {};
    if (stat("root_fs", &status) != 0 || !(S_ISREG(status.st_mode) || S_ISBLK(status.st_mode))) return;
    DiskOption disk;
    disk.file = "root_fs";
    disk.is_synchronous = configuration.disks_are_synchronous;
    configuration.disks.push_back(std::move(disk));
  }
  configuration.root = "98:0";
}

}  // namespace umk::monitor

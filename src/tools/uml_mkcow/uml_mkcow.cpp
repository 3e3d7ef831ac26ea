// uml_mkcow: makes an empty copy-on-write file for a backing file. uml_mkcow(1).
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "core/base/result.h"
#include "core/lib/cow_format/cow_format.h"

namespace {

namespace cow = umk::cow_format;

int usage() {
  std::fprintf(stderr,
               "uml_mkcow usage: \n"
               "\tuml_mkcow [-f] <COW file> <backing file>\n"
               "\t-f forces overwrite of an existing COW file\n");
  return 2;
}

int fail(const std::string& what) {
  std::fprintf(stderr, "%s: %s\n", what.c_str(), std::strerror(errno));
  return 1;
}

/// The directory resolved and the name as it is: the header's name must be found from anywhere.
std::string absolute(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string directory = slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
  char resolved[PATH_MAX];
  if (!realpath(directory.c_str(), resolved)) return {};
  std::string result = resolved;
  if (result.back() != '/') result += '/';
  return result + path.substr(slash == std::string::npos ? 0 : slash + 1);
}

int make_cow(const std::string& path, const std::string& backing, bool overwrites) {
  const int backing_fd = open(backing.c_str(), O_RDONLY | O_CLOEXEC);
  if (backing_fd < 0) return fail("open backing file");
  struct stat status {};
  if (fstat(backing_fd, &status) != 0) return fail("stat backing file");
  uint64_t bytes = static_cast<uint64_t>(status.st_size);
  if (S_ISBLK(status.st_mode) && ioctl(backing_fd, BLKGETSIZE64, &bytes) != 0) return fail("size of the backing device");
  if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) {
    errno = EINVAL;
    return fail("backing file");
  }
  const std::string name = absolute(backing);
  if (name.empty()) return fail("backing file");
  const cow::Header header{.backing_name = name, .backing_time = static_cast<uint32_t>(status.st_mtime), .backing_bytes = bytes};
  std::array<std::byte, cow::kHeaderBytes> head;
  const umk::Result<void> made = cow::write_header(head, header);
  const umk::Result<cow::Layout> layout = cow::layout_of(header);
  if (!made.ok() || !layout.ok()) {
    errno = made.ok() ? layout.code() : made.code();
    return fail("backing file");
  }
  struct stat old {};
  if (stat(path.c_str(), &old) == 0 && old.st_dev == status.st_dev && old.st_ino == status.st_ino) {
    std::fprintf(stderr, "the COW file and its backing file are the same file\n");
    return 1;
  }
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | (overwrites ? O_TRUNC : O_EXCL), 0644);
  if (fd < 0) return fail("open COW file");
  const bool written = write(fd, head.data(), head.size()) == static_cast<ssize_t>(head.size()) &&
                       ftruncate(fd, static_cast<off_t>(layout.value().data_offset + bytes)) == 0 && fsync(fd) == 0;
  if (written) return 0;
  const int status_of_end = fail("write COW file");
  unlink(path.c_str());
  return status_of_end;
}

}  // namespace

int main(int argc, char** argv) {
  bool overwrites = false;
  for (int option; (option = getopt(argc, argv, "f")) != -1;) {
    if (option != 'f') return usage();
    overwrites = true;
  }
  if (argc - optind != 2) return usage();
  return make_cow(argv[optind], argv[optind + 1], overwrites);
}

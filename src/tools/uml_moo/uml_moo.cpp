// uml_moo: merges a copy-on-write file with its backing file, into a new file or in place. uml_moo(1).
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "core/base/result.h"
#include "core/lib/cow_format/cow_format.h"

namespace {

namespace cow = umk::cow_format;

constexpr size_t kPieceBytes = 1 << 20;

int usage() {
  std::fprintf(stderr,
               "uml_moo usage:\n"
               "\tuml_moo [ -b <actual backing file> ] <COW file> <new backing file>\n"
               "\tuml_moo [ -b <actual backing file> ] -d <COW file>\n"
               "Creates a new file from the COW file and its backing file.\n"
               "-d merges the COW file into its backing file in place, which makes every COW file on it unusable.\n"
               "-b names the backing file where the COW file's header has a name that does not lead there.\n"
               "COW files of versions 1, 2 and 3 are understood.\n");
  return 1;
}

int fail(const std::string& what) {
  std::fprintf(stderr, "%s: %s\n", what.c_str(), std::strerror(errno));
  return 1;
}

bool read_all(int fd, std::span<std::byte> into, uint64_t offset) {
  while (!into.empty()) {
    const ssize_t got = pread(fd, into.data(), into.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return false;
    if (got == 0) break;
    into = into.subspan(static_cast<size_t>(got));
    offset += static_cast<uint64_t>(got);
  }
  std::fill(into.begin(), into.end(), std::byte{0});  // beyond the end of either file
  return true;
}

bool write_all(int fd, std::span<const std::byte> from, uint64_t offset) {
  while (!from.empty()) {
    const ssize_t put = pwrite(fd, from.data(), from.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return false;
    from = from.subspan(static_cast<size_t>(put));
    offset += static_cast<uint64_t>(put);
  }
  return true;
}

bool is_zero(std::span<const std::byte> bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](std::byte byte) { return byte == std::byte{0}; });
}

/// Goes through the disk in runs of sectors that are all copied or all not: `body(first byte, bytes, is copied)` until it returns false.
template <typename Body>
bool for_each_run(const cow::Layout& layout, std::span<const std::byte> bitmap, uint64_t disk_bytes, Body body) {
  for (uint64_t sector = 0; sector < layout.sectors;) {
    const bool is_copied = layout.has_bit(sector) && cow::test_bit(bitmap, sector);
    uint64_t end = sector + 1;
    while (end < layout.sectors && (end - sector) * layout.sector_bytes < kPieceBytes && (layout.has_bit(end) && cow::test_bit(bitmap, end)) == is_copied) ++end;
    const uint64_t first = sector * layout.sector_bytes;
    if (!body(first, std::min(end * layout.sector_bytes, disk_bytes) - first, is_copied)) return false;
    sector = end;
  }
  return true;
}

struct Merge {
  std::string cow_name, backing_name, output_name;  // an empty output: in place
  int cow_fd = -1, backing_fd = -1, output_fd = -1;
  cow::Parsed parsed;
  std::vector<std::byte> bitmap;

  int open_inputs();
  int open_output();
  int run();
};

int Merge::open_inputs() {
  cow_fd = open(cow_name.c_str(), O_RDONLY | O_CLOEXEC);
  if (cow_fd < 0) return fail(cow_name);
  static std::array<std::byte, cow::kMaximumHeaderBytes> head;
  const ssize_t got = pread(cow_fd, head.data(), head.size(), 0);
  if (got < 0) return fail(cow_name);
  parsed = cow::parse(std::span(head).first(static_cast<size_t>(got)));
  if (parsed.kind != cow::Parsed::Kind::Cow) {
    const std::string_view problem = parsed.kind == cow::Parsed::Kind::Plain ? "not a COW file" : parsed.problem;
    std::fprintf(stderr, "%s: %.*s\n", cow_name.c_str(), static_cast<int>(problem.size()), problem.data());
    return 1;
  }
  if (backing_name.empty()) backing_name = parsed.header.backing_name;
  backing_fd = open(backing_name.c_str(), (output_name.empty() ? O_RDWR : O_RDONLY) | O_CLOEXEC);
  if (backing_fd < 0) return fail(backing_name);
  struct stat status {};
  if (fstat(backing_fd, &status) != 0) return fail(backing_name);
  uint64_t bytes = static_cast<uint64_t>(status.st_size);
  if (S_ISBLK(status.st_mode) && ioctl(backing_fd, BLKGETSIZE64, &bytes) != 0) return fail(backing_name);
  const cow::Header& header = parsed.header;
  if (bytes != header.backing_bytes) {
    std::fprintf(stderr, "Size mismatch (%llu vs %llu) of COW header vs backing file \"%s\"\n", static_cast<unsigned long long>(header.backing_bytes),
                 static_cast<unsigned long long>(bytes), backing_name.c_str());
    return 1;
  }
  if (static_cast<uint32_t>(status.st_mtime) != header.backing_time) {
    std::fprintf(stderr, "mtime mismatch (%u vs %lld) of COW header vs backing file \"%s\"\n", header.backing_time, static_cast<long long>(status.st_mtime),
                 backing_name.c_str());
    return 1;
  }
  bitmap.resize(parsed.layout.usable_bitmap_bytes);
  if (!read_all(cow_fd, bitmap, parsed.layout.bitmap_offset)) return fail(cow_name);
  return 0;
}

int Merge::open_output() {
  if (output_name.empty()) {
    output_fd = backing_fd;
    return 0;
  }
  struct stat inputs[2] = {}, status {};
  if (stat(output_name.c_str(), &status) == 0) {
    fstat(cow_fd, &inputs[0]);
    fstat(backing_fd, &inputs[1]);
    for (const struct stat& input : inputs)
      if (input.st_dev == status.st_dev && input.st_ino == status.st_ino) {
        std::fprintf(stderr, "%s: the new file is one of those that are merged; use -d to merge in place\n", output_name.c_str());
        return 1;
      }
  }
  output_fd = open(output_name.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (output_fd < 0) return fail(output_name);
  return 0;
}

int Merge::run() {
  if (const int status = open_inputs()) return status;
  if (const int status = open_output()) return status;
  const bool in_place = output_name.empty();
  const uint64_t disk_bytes = parsed.header.backing_bytes;
  const std::string& written_name = in_place ? backing_name : output_name;
  std::vector<std::byte> piece(kPieceBytes + parsed.layout.sector_bytes);
  std::string failed;
  const bool done = for_each_run(parsed.layout, bitmap, disk_bytes, [&](uint64_t first, uint64_t bytes, bool is_copied) {
    if (in_place && !is_copied) return true;
    const std::span<std::byte> data = std::span(piece).first(bytes);
    failed = is_copied ? cow_name : backing_name;
    if (!read_all(is_copied ? cow_fd : backing_fd, data, is_copied ? parsed.layout.data_offset + first : first)) return false;
    failed = written_name;
    if (in_place) return write_all(output_fd, data, first);
    // A new file stays sparse, by pages as its filesystem most likely has it.
    for (size_t at = 0; at < data.size(); at += 4096) {
      const std::span<std::byte> page = data.subspan(at, std::min<size_t>(4096, data.size() - at));
      if (!is_zero(page) && !write_all(output_fd, page, first + at)) return false;
    }
    return true;
  });
  if (!done) return fail(failed);
  if (!in_place && ftruncate(output_fd, static_cast<off_t>(disk_bytes)) != 0 && errno != EINVAL) return fail(written_name);
  if (fsync(output_fd) != 0) return fail(written_name);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  Merge merge;
  bool in_place = false;
  for (int option; (option = getopt(argc, argv, "db:")) != -1;) {
    switch (option) {
      case 'd': in_place = true; break;
      case 'b': merge.backing_name = optarg; break;
      default: return usage();
    }
  }
  if (argc - optind != (in_place ? 1 : 2)) return usage();
  merge.cow_name = argv[optind];
  if (!in_place) {
    merge.output_name = argv[optind + 1];
    if (merge.output_name.empty()) return usage();
  }
  return merge.run();
}

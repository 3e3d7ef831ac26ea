// Usage: storage TEST [--time MS] [MIB]
//
// Works in the current directory, which is on the filesystem to be measured, and prints `took NANOSECONDS`: an operation, or of all of it for
//   write MIB            writes a new file `data` in pieces of 128 KiB, then fsync
//   read                 reads `data` in such pieces
//   churn                an operation: a new file, 4 KiB written to it, removed
//   fsync, fdatasync     an operation: 4 KiB written somewhere into a file that has all its blocks, and made durable

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <vector>

namespace {

constexpr size_t kPiece = 128 << 10, kPage = 4096;

double now_ns() {
  timespec time{};
  clock_gettime(CLOCK_MONOTONIC, &time);
  return static_cast<double>(time.tv_sec) * 1e9 + static_cast<double>(time.tv_nsec);
}

[[noreturn]] void die(const char* what) {
  perror(what);
  exit(1);
}

int open_file(const char* name, int flags) {
  const int fd = open(name, flags, 0600);
  if (fd < 0) die(name);
  return fd;
}

double write_file(long mebibytes) {
  std::vector<char> piece(kPiece, 'x');
  const int fd = open_file("data", O_WRONLY | O_CREAT | O_TRUNC);
  const double start = now_ns();
  for (long i = 0; i < mebibytes * (1 << 20) / static_cast<long>(kPiece); i++) {
    if (write(fd, piece.data(), kPiece) != static_cast<ssize_t>(kPiece)) die("write");
  }
  if (fsync(fd) != 0) die("fsync");
  return now_ns() - start;
}

double read_file() {
  std::vector<char> piece(kPiece);
  const int fd = open_file("data", O_RDONLY);
  const double start = now_ns();
  ssize_t count;
  while ((count = read(fd, piece.data(), kPiece)) > 0) {
  }
  if (count < 0) die("read");
  return now_ns() - start;
}

// Runs an operation for a while; nanoseconds each.
template <typename Operation>
double repeat(double time_ns, const Operation& operation) {
  for (int i = 0; i < 16; i++) operation();
  const double start = now_ns();
  long count = 0;
  double took;
  do {
    operation();
    count++;
    took = now_ns() - start;
  } while (took < time_ns);
  return took / static_cast<double>(count);
}

double churn(double time_ns) {
  const std::vector<char> page(kPage, 'x');
  long number = 0;
  return repeat(time_ns, [&] {
    char name[32];
    snprintf(name, sizeof name, "churn-%ld", number++ % 100);
    const int fd = open_file(name, O_WRONLY | O_CREAT | O_EXCL);
    if (write(fd, page.data(), kPage) != static_cast<ssize_t>(kPage)) die("write");
    close(fd);
    if (unlink(name) != 0) die("unlink");
  });
}

double durable_writes(double time_ns, int (*make_durable)(int)) {
  constexpr long kPages = 256;
  const std::vector<char> page(kPage, 'y');
  const int fd = open_file("durable", O_RDWR | O_CREAT);
  for (long i = 0; i < kPages; i++) {
    if (write(fd, page.data(), kPage) != static_cast<ssize_t>(kPage)) die("write");
  }
  fsync(fd);
  long number = 0;
  const double each = repeat(time_ns, [&] {
    if (pwrite(fd, page.data(), kPage, static_cast<off_t>(kPage) * (number++ * 7 % kPages)) != static_cast<ssize_t>(kPage)) die("pwrite");
    if (make_durable(fd) != 0) die("sync");
  });
  close(fd);
  unlink("durable");
  return each;
}

}  // namespace

int main(int count, char** list) {
  double time_ns = 500e6;
  long number = 64;
  const char* test = count > 1 ? list[1] : "";
  for (int i = 2; i < count; i++) {
    if (strcmp(list[i], "--time") == 0 && i + 1 < count) {
      time_ns = atof(list[++i]) * 1e6;
    } else {
      number = atol(list[i]);
    }
  }
  double took = 0;
  if (strcmp(test, "write") == 0) {
    took = write_file(number);
  } else if (strcmp(test, "read") == 0) {
    took = read_file();
  } else if (strcmp(test, "churn") == 0) {
    took = churn(time_ns);
  } else if (strcmp(test, "fsync") == 0) {
    took = durable_writes(time_ns, fsync);
  } else if (strcmp(test, "fdatasync") == 0) {
    took = durable_writes(time_ns, fdatasync);
  } else {
    fprintf(stderr, "usage: storage write|read|churn|fsync|fdatasync [--time MS] [MIB]\n");
    return 2;
  }
  printf("took %.0f status 0\n", took);
  return 0;
}

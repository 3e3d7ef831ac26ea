// Moving bytes: read and write in all forms, holes, fallocate, copy_file_range, sendfile, splice.
#include "check.h"

#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

namespace {

void shown_file(const char* name) {
  char buffer[256];
  const int fd = open(name, O_RDONLY);
  shown_data(name, buffer, read(fd, buffer, sizeof buffer));
  close(fd);
}

}  // namespace

CASE(positions) {
  const int fd = open("f", O_CREAT | O_RDWR, 0600);
  char buffer[32];
  shown("write", write(fd, "0123456789", 10));
  shown("read at end", read(fd, buffer, 8));
  shown("seek", lseek(fd, -3, SEEK_END));
  shown_data("read", buffer, read(fd, buffer, 8));
  shown("seek negative", lseek(fd, -1, SEEK_SET));
  shown("seek bad whence", lseek(fd, 0, 99));
  shown("seek beyond the largest", lseek(fd, INT64_MAX, SEEK_END));
  shown("from here", lseek(fd, INT64_MAX, SEEK_CUR));
  shown("seek far", lseek(fd, 20, SEEK_SET));
  shown("write past end", write(fd, "x", 1));
  shown_data("the hole is zero", buffer, pread(fd, buffer, 5, 8));
  shown("pread negative", pread(fd, buffer, 5, -1));
  shown("pwrite", pwrite(fd, "AB", 2, 2));
  shown_data("pread", buffer, pread(fd, buffer, 5, 0));
  shown("position unchanged", lseek(fd, 0, SEEK_CUR));
  shown("seek data", lseek(fd, 0, SEEK_DATA));
  shown("seek hole", lseek(fd, 0, SEEK_HOLE));
  shown("seek data past end", lseek(fd, 100, SEEK_DATA));
  shown("seek hole past end", lseek(fd, 100, SEEK_HOLE));
  shown("read bad pointer", read(fd, bad(), 1));
  lseek(fd, 0, SEEK_SET);
  shown("read bad pointer with data", read(fd, bad(), 1));
  shown("write bad pointer", write(fd, bad(), 1));
  shown("read of nothing to a bad pointer", read(fd, bad(), 0));
  shown("bad descriptor", read(99, buffer, 1));
  shown("write bad descriptor", write(-1, buffer, 1));
  shown("huge", pwrite(fd, buffer, 1, INT64_MAX));
}

CASE(partly_bad_buffer) {
  const int fd = open("f", O_CREAT | O_RDWR, 0600);
  char* page = static_cast<char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  munmap(page + 4096, 4096);
  memset(page, 'q', 4096);
  shown("write across the end", pwrite(fd, page + 4000, 200, 0));
  shown("write the good half", pwrite(fd, page, 4096, 0));
  shown("read across the end", pread(fd, page + 4000, 200, 0) > 0);
  mprotect(page, 4096, PROT_READ);
  shown("read to a read-only page", pread(fd, page, 10, 0));
  mprotect(page, 4096, PROT_NONE);
  shown("write from an inaccessible page", pwrite(fd, page, 10, 0));
}

CASE(vectors) {
  const int fd = open("f", O_CREAT | O_RDWR, 0600);
  char a[4] = "abc";
  char b[4] = "def";
  iovec list[3] = {{a, 3}, {nullptr, 0}, {b, 3}};
  shown("writev", writev(fd, list, 3));
  char c[3];
  char d[8];
  iovec in[2] = {{c, 2}, {d, 8}};
  shown("preadv", preadv(fd, in, 2, 0));
  shown_data("first", c, 2);
  shown_data("second", d, 4);
  shown("negative count", writev(fd, list, -1));
  shown("count 1025", writev(fd, list, 1025));
  shown("count 0", writev(fd, list, 0));
  iovec large[2] = {{a, 3}, {b, static_cast<size_t>(-1)}};
  shown("length overflow", writev(fd, large, 2));
  shown("bad vector", writev(fd, bad<iovec>(), 1));
  iovec half[2] = {{a, 3}, {bad(), 3}};
  lseek(fd, 0, SEEK_END);
  shown("bad second part", writev(fd, half, 2));
  shown("pwritev", pwritev(fd, list, 1, 10));
  shown("pwritev2 append", pwritev2(fd, list, 1, 0, RWF_APPEND));
  shown("preadv2 current position", preadv2(fd, in, 2, -1, 0));
  shown("preadv2 bad flag", preadv2(fd, in, 2, 0, 0x8000));
  shown("size", lseek(fd, 0, SEEK_END));
}

CASE(truncation) {
  make_file("f", "0123456789");
  shown("shorter", truncate("f", 4));
  shown_file("f");
  shown("longer", truncate("f", 8));
  shown_file("f");
  shown("negative", truncate("f", -1));
  shown("missing", truncate("zz", 1));
  shown("directory", truncate(".", 1));
  const int fd = open("f", O_RDONLY);
  shown("read-only descriptor", ftruncate(fd, 0));
  int pipes[2];
  pipe(pipes);
  shown("pipe", ftruncate(pipes[1], 0));
  shown("bad descriptor", ftruncate(99, 0));
}

CASE(allocation) {
  const int fd = open("f", O_CREAT | O_RDWR, 0600);
  struct stat st{};
  shown("allocate", fallocate(fd, 0, 0, 10000));
  fstat(fd, &st);
  say("size %ld blocks %s", st.st_size, st.st_blocks >= 16 ? "yes" : "no");
  shown("keep size", fallocate(fd, FALLOC_FL_KEEP_SIZE, 10000, 10000));
  fstat(fd, &st);
  shown("size", st.st_size);
  for (int i = 0; i < 3; i++) pwrite(fd, "data", 4, i * 4096);
  shown("punch", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096));
  char buffer[4];
  shown_data("hole", buffer, pread(fd, buffer, 4, 4096));
  shown_data("kept", buffer, pread(fd, buffer, 4, 8192));
  shown("punch without keep size", fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 4096));
  shown("zero length", fallocate(fd, 0, 0, 0));
  shown("negative", fallocate(fd, 0, -1, 10));
  shown("unknown mode", fallocate(fd, 0x4000, 0, 10));
  shown("bad descriptor", fallocate(99, 0, 0, 10));
  const int reader = open("f", O_RDONLY);
  shown("read-only", fallocate(reader, 0, 0, 10));
  int pipes[2];
  pipe(pipes);
  shown("pipe", fallocate(pipes[1], 0, 0, 10));
  shown_error("posix_fallocate", posix_fallocate(fd, 0, 20000));
  fstat(fd, &st);
  shown("size", st.st_size);
  shown_error("fadvise", posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
  shown_error("fadvise bad", posix_fadvise(fd, 0, 0, 99));
  shown_error("fadvise pipe", posix_fadvise(pipes[0], 0, 0, 0));
  shown("fsync", fsync(fd));
  shown("fdatasync", fdatasync(fd));
  shown("fsync pipe", fsync(pipes[0]));
  shown("sync_file_range", sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE));
  shown("sync_file_range bad", sync_file_range(fd, 0, 0, 99));
  shown("readahead", readahead(fd, 0, 100));
}

CASE(copy_range) {
  make_file("a", "0123456789");
  make_file("b", "");
  const int a = open("a", O_RDWR);
  const int b = open("b", O_RDWR);
  off_t from = 2;
  off_t to = 1;
  shown("copy", copy_file_range(a, &from, b, &to, 4, 0));
  say("offsets %ld %ld", from, to);
  shown_file("b");
  shown("with positions", copy_file_range(a, nullptr, b, nullptr, 100, 0));
  say("positions %ld %ld", lseek(a, 0, SEEK_CUR), lseek(b, 0, SEEK_CUR));
  shown("at end", copy_file_range(a, nullptr, b, nullptr, 100, 0));
  shown("flags", copy_file_range(a, nullptr, b, nullptr, 1, 1));
  from = 0;
  to = 2;
  shown("overlap in one file", copy_file_range(a, &from, a, &to, 5, 0));
  to = 10;
  shown("same file apart", copy_file_range(a, &from, a, &to, 5, 0));
  const int reader = open("a", O_RDONLY);
  shown("to read-only", copy_file_range(b, nullptr, reader, nullptr, 1, 0));
  int pipes[2];
  pipe(pipes);
  shown("to pipe", copy_file_range(a, nullptr, pipes[1], nullptr, 1, 0));
  const int dir = open(".", O_RDONLY);
  shown("from directory", copy_file_range(dir, nullptr, b, nullptr, 1, 0));
  const int append = open("b", O_WRONLY | O_APPEND);
  shown("to append", copy_file_range(a, nullptr, append, nullptr, 1, 0));
}

CASE(send_file) {
  make_file("a", "0123456789");
  const int a = open("a", O_RDONLY);
  const int b = open("b", O_CREAT | O_RDWR, 0600);
  off_t offset = 3;
  shown("to file", sendfile(b, a, &offset, 4));
  shown("offset", offset);
  shown("position", lseek(a, 0, SEEK_CUR));
  shown("rest", sendfile(b, a, nullptr, 100));
  shown_file("b");
  shown("at end", sendfile(b, a, nullptr, 100));
  int pipes[2];
  pipe(pipes);
  offset = 0;
  shown("to pipe", sendfile(pipes[1], a, &offset, 5));
  char buffer[16];
  shown_data("from pipe", buffer, read(pipes[0], buffer, 16));
  offset = -1;
  shown("negative", sendfile(b, a, &offset, 5));
  shown("to read-only", sendfile(a, b, nullptr, 5));
  shown("bad descriptor", sendfile(99, a, nullptr, 5));
  shown("bad offset", sendfile(b, a, bad<off_t>(), 5));
}

CASE(splices) {
  make_file("a", "0123456789");
  const int a = open("a", O_RDONLY);
  const int b = open("b", O_CREAT | O_RDWR, 0600);
  int p[2];
  int q[2];
  pipe(p);
  pipe(q);
  off_t offset = 2;
  char buffer[32];
  shown("file to pipe", splice(a, &offset, p[1], nullptr, 6, 0));
  shown("offset", offset);
  shown("tee", tee(p[0], q[1], 4, 0));
  shown_data("teed", buffer, read(q[0], buffer, 32));
  shown("pipe to file", splice(p[0], nullptr, b, nullptr, 100, 0));
  shown_file("b");
  shown("empty pipe, nonblock", splice(p[0], nullptr, b, nullptr, 100, SPLICE_F_NONBLOCK));
  write(p[1], "abc", 3);
  shown("pipe to pipe", splice(p[0], nullptr, q[1], nullptr, 2, 0));
  shown_data("moved", buffer, read(q[0], buffer, 32));
  shown_data("left", buffer, read(p[0], buffer, 32));
  shown("no pipe", splice(a, nullptr, b, nullptr, 10, 0));
  shown("offset on pipe", splice(p[0], &offset, b, nullptr, 10, 0));
  shown("bad flags", splice(a, nullptr, p[1], nullptr, 10, 0x100));
  shown("same pipe", splice(p[0], nullptr, p[1], nullptr, 10, SPLICE_F_NONBLOCK));
  shown("tee same pipe", tee(p[0], p[1], 10, 0));
  shown("tee file", tee(a, p[1], 10, 0));
  iovec list = {const_cast<char*>("vector"), 6};
  shown("vmsplice", vmsplice(p[1], &list, 1, 0));
  shown_data("vmspliced", buffer, read(p[0], buffer, 32));
  shown("zero", splice(a, nullptr, p[1], nullptr, 0, 0));
  close(q[0]);
  write(p[1], "z", 1);
  signal(SIGPIPE, SIG_IGN);
  shown("to broken pipe", splice(p[0], nullptr, q[1], nullptr, 1, 0));
}

CASE(large_transfers) {
  const int fd = open("f", O_CREAT | O_RDWR, 0600);
  const size_t size = 3 << 20;
  unsigned char* data = static_cast<unsigned char*>(malloc(size));
  for (size_t i = 0; i < size; i++) data[i] = static_cast<unsigned char>(i * 7 + i / 4096);
  shown("write", write(fd, data, size));
  unsigned char* back = static_cast<unsigned char*>(calloc(1, size));
  shown("read", pread(fd, back, size, 0));
  shown("equal", memcmp(data, back, size) == 0);
  shown("odd offset", pread(fd, back, 100000, 4095));
  shown("equal", memcmp(data + 4095, back, 100000) == 0);
  shown("over the end", pread(fd, back, size, 1 << 20));
  shown("equal", memcmp(data + (1 << 20), back, 2 << 20) == 0);
  shown("sparse far", pwrite(fd, "end", 3, int64_t{1} << 35));
  struct stat st{};
  fstat(fd, &st);
  say("size %ld small %d", st.st_size, st.st_blocks < 100000);
}

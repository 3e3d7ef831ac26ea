// File mappings, shared and private, and code that is made at run time.
#include "check.h"

#include <sys/mman.h>

namespace {

void shown_map(const char* what, const void* result) { shown(what, result == MAP_FAILED ? -1 : 0); }
char* map_file(int fd, size_t size, int protection, int flags, off_t offset = 0) {
  return static_cast<char*>(mmap(nullptr, size, protection, flags, fd, offset));
}

// mov $value, %eax; ret
void put_code(void* place, int value) {
  unsigned char code[6] = {0xb8, 0, 0, 0, 0, 0xc3};
  memcpy(code + 1, &value, 4);
  memcpy(place, code, 6);
}
int call(void* place) { return reinterpret_cast<int (*)()>(place)(); }

}  // namespace

CASE(shared_and_private) {
  const int fd = open("f", O_CREAT | O_RDWR, 0600);
  write(fd, "0123456789", 10);
  char* shared = map_file(fd, 4096, PROT_READ | PROT_WRITE, MAP_SHARED);
  char* own = map_file(fd, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE);
  char buffer[16];
  shared[0] = 'S';
  shown_data("read sees a shared write", buffer, pread(fd, buffer, 10, 0));
  say("private sees it %c", own[0]);
  own[1] = 'P';
  pwrite(fd, "W", 1, 2);
  say("shared %.10s private %.10s", shared, own);
  pwrite(fd, "X", 1, 1);
  say("shared %.10s private %.10s", shared, own);
  shown("zero after the end", shared[100]);
  shared[50] = 'n';
  struct stat st{};
  fstat(fd, &st);
  shown("size does not change", st.st_size);
  shown("msync", msync(shared, 4096, MS_SYNC));
  shown("msync async", msync(shared, 4096, MS_ASYNC | MS_INVALIDATE));
  shown("msync not aligned", msync(shared + 1, 4096, MS_SYNC));
  close(fd);
  shared[3] = 'C';
  say("after close %.10s", shared);
  unlink("f");
  say("after unlink %.10s", shared);
  in_child("child", [=] { shared[4] = 'K'; });
  say("by a child %.10s", shared);
  munmap(shared, 4096);
  say("private remains %.10s", own);
}

CASE(errors) {
  make_file("f", "content");
  const int reader = open("f", O_RDONLY);
  const int writer = open("f", O_WRONLY);
  const int directory = open(".", O_RDONLY);
  int p[2];
  pipe(p);
  shown_map("shared write of a read-only descriptor", map_file(reader, 4096, PROT_READ | PROT_WRITE, MAP_SHARED));
  shown_map("private write of a read-only descriptor", map_file(reader, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE));
  shown_map("write-only descriptor", map_file(writer, 4096, PROT_WRITE, MAP_SHARED));
  shown_map("directory", map_file(directory, 4096, PROT_READ, MAP_PRIVATE));
  shown_map("pipe", map_file(p[0], 4096, PROT_READ, MAP_PRIVATE));
  shown_map("offset not aligned", map_file(reader, 4096, PROT_READ, MAP_PRIVATE, 100));
  shown_map("offset beyond the end", map_file(reader, 4096, PROT_READ, MAP_PRIVATE, 1 << 20));
  shown_map("offset overflow", map_file(reader, 8192, PROT_READ, MAP_PRIVATE, 0x7ffffffffffff000));
  shown_map("zero device", map_file(open("/dev/zero", O_RDWR), 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE));
  shown_map("zero device, shared", map_file(open("/dev/zero", O_RDWR), 4096, PROT_READ | PROT_WRITE, MAP_SHARED));
  shown_map("null device", map_file(open("/dev/null", O_RDWR), 4096, PROT_READ, MAP_PRIVATE));
  shown_map("path descriptor", map_file(open("f", O_PATH), 4096, PROT_READ, MAP_PRIVATE));
  shown_map("shared validate, unknown flag", map_file(reader, 4096, PROT_READ, MAP_SHARED_VALIDATE | 0x4000000));
  char* shared = map_file(reader, 4096, PROT_READ, MAP_SHARED);
  shown("cannot become writable", mprotect(shared, 4096, PROT_READ | PROT_WRITE));
  char* own = map_file(reader, 4096, PROT_READ, MAP_PRIVATE);
  shown("private can", mprotect(own, 4096, PROT_READ | PROT_WRITE));
  own[0] = 'x';
  say("%s %.7s", own, shared);
}

CASE(large_file) {
  const int fd = open("f", O_CREAT | O_RDWR, 0600);
  const size_t pages = 600;
  ftruncate(fd, pages * 4096);
  for (size_t i = 0; i < pages; i += 3) {
    const uint32_t value = static_cast<uint32_t>(i * 17);
    pwrite(fd, &value, 4, static_cast<off_t>(i * 4096));
  }
  char* shared = map_file(fd, pages * 4096, PROT_READ | PROT_WRITE, MAP_SHARED);
  bool right = true;
  for (size_t i = 0; i < pages; i++) {
    uint32_t value = 0;
    memcpy(&value, shared + i * 4096, 4);
    right = right && value == (i % 3 == 0 ? i * 17 : 0);
  }
  shown("all pages", right);
  for (size_t i = 1; i < pages; i += 3) shared[i * 4096 + 7] = static_cast<char>(i);
  for (size_t i = 0; i < pages; i++) {
    char c = 0;
    pread(fd, &c, 1, static_cast<off_t>(i * 4096 + 7));
    right = right && c == (i % 3 == 1 ? static_cast<char>(i) : 0);
  }
  shown("read back", right);
  shown("cut", ftruncate(fd, 100 * 4096));
  shown("grow", ftruncate(fd, pages * 4096));
  shown("zero again", shared[301 * 4096 + 7]);
  shared[300 * 4096] = 'g';
  char c = 0;
  pread(fd, &c, 1, 300 * 4096);
  shown("joined again", c == 'g');
  fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 300 * 4096, 4096);
  shown("punched", shared[300 * 4096]);
  char* part = map_file(fd, 8192, PROT_READ, MAP_SHARED, 8 * 4096);
  shared[8 * 4096 + 1] = 'o';
  shown("with an offset", part[1] == 'o');
}

CASE(read_into_a_mapping_of_itself) {
  const int fd = open("f", O_CREAT | O_RDWR, 0600);
  char block[8192];
  for (size_t i = 0; i < sizeof block; i++) block[i] = static_cast<char>('a' + i % 26);
  write(fd, block, sizeof block);
  char* shared = map_file(fd, 8192, PROT_READ | PROT_WRITE, MAP_SHARED);
  shown("read", pread(fd, shared + 4096, 4096, 0));
  shown("equal", memcmp(shared, shared + 4096, 4096) == 0);
  shown("write from the mapping", pwrite(fd, shared, 100, 8192));
  char end[4];
  shown_data("data", end, pread(fd, end, 4, 8192));
}

CASE(code_at_run_time) {
  char* both = static_cast<char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  shown_map("writable and executable", both);
  put_code(both, 41);
  shown("call", call(both));
  put_code(both, 42);
  shown("rewritten", call(both));
  for (int i = 0; i < 1000; i++) {
    put_code(both + i % 64 * 16, i);
    if (call(both + i % 64 * 16) != i) say("wrong at %d", i);
  }
  char* flip = static_cast<char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  for (int i = 0; i < 3; i++) {
    mprotect(flip, 4096, PROT_READ | PROT_WRITE);
    put_code(flip, 100 + i);
    mprotect(flip, 4096, PROT_READ | PROT_EXEC);
    shown("flipped", call(flip));
  }
  const int fd = memfd_create("jit", MFD_CLOEXEC);
  ftruncate(fd, 4096);
  char* writable = map_file(fd, 4096, PROT_READ | PROT_WRITE, MAP_SHARED);
  char* executable = map_file(fd, 4096, PROT_READ | PROT_EXEC, MAP_SHARED);
  shown_map("doubly mapped", executable);
  put_code(writable, 7);
  shown("call", call(executable));
  put_code(writable, 8);
  shown("rewritten through the other", call(executable));
  in_child("after fork", [=] {
    put_code(both, 55);
    shown("own copy", call(both));
    put_code(writable, 9);
  });
  shown("private kept", call(both) != 55);
  shown("shared changed", call(executable));
  const int file = open("code", O_CREAT | O_RDWR, 0700);
  char text[16] = {};
  put_code(text, 77);
  write(file, text, 16);
  char* mapped = map_file(file, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE);
  shown("code of a file", call(mapped));
  put_code(text, 78);
  pwrite(file, text, 16, 0);
  shown("file was changed", call(mapped));
  char buffer[16];
  pread(file, buffer, 16, 0);
  shown("what read sees is what was written", memcmp(buffer, text, 16) == 0);
}

CASE(raw_calls_from_anonymous_memory) {
  // mov $SYS_getppid, %eax; syscall; ret
  const unsigned char code[] = {0xb8, SYS_getppid, 0, 0, 0, 0x0f, 0x05, 0xc3};
  char* page = static_cast<char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  memcpy(page, code, sizeof code);
  mprotect(page, 4096, PROT_READ | PROT_EXEC);
  bool right = true;
  for (int i = 0; i < 1000; i++) right = right && call(page) == getppid();
  shown("getppid", right);
  shown("text is unchanged", memcmp(page, code, sizeof code) == 0);
  in_child("in a child", [=] { shown("getppid", call(page) == getppid()); });
  // A call in the last bytes of a page, with nothing after it.
  char* two = static_cast<char*>(mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  munmap(two + 4096, 4096);
  memcpy(two + 4096 - sizeof code, code, sizeof code);
  mprotect(two, 4096, PROT_READ | PROT_EXEC);
  shown("at the end of a page", call(two + 4096 - sizeof code) == getppid());
  // Through writable and executable memory.
  char* both = static_cast<char*>(mmap(nullptr, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  memcpy(both, code, sizeof code);
  shown("writable and executable", call(both) == getppid());
}

// The kernel's log: /dev/kmsg record by record, syslog(2).
#include <poll.h>
#include <sys/klog.h>

#include "check.h"

namespace {

// Records of others come between: only those with our own mark count. Each text ends its line, or Linux would wait for the rest of it.
const char* mark() {
  static char text[64];
  if (text[0] == '\0') snprintf(text, sizeof text, "log-test-%d-%lld:", getpid(), static_cast<long long>(time(nullptr)));
  return text;
}

int open_at_end(int flags) {
  const int fd = open("/dev/kmsg", flags | O_NONBLOCK);
  if (fd >= 0) lseek(fd, 0, SEEK_END);
  return fd;
}

// The priority and the text of the next record with our mark.
void show_next(const char* what, int fd) {
  char record[8192];
  for (;;) {
    const ssize_t size = read(fd, record, sizeof record - 1);
    if (size < 0) {
      check::say("%s: %s", what, check::error_name(errno));
      return;
    }
    record[size] = '\0';
    char* text = strchr(record, ';');
    const char* ours = text ? strstr(text, mark()) : nullptr;
    if (!ours) continue;
    int priority = -1, fields = 0;
    unsigned long long sequence, microseconds;
    char flags = '?';
    fields = sscanf(record, "%d,%llu,%llu,%c", &priority, &sequence, &microseconds, &flags);
    check::say("%s: %d fields, priority %d, flags %c, text %s", what, fields, priority, flags, ours + strlen(mark()));
    return;
  }
}

ssize_t put(int fd, const char* before, const char* after) {
  char line[2048];
  const int length = snprintf(line, sizeof line, "%s%s%s", before, mark(), after);
  const ssize_t done = write(fd, line, static_cast<size_t>(length));
  return done == length ? 1 : done;
}

}  // namespace

CASE(writing) {
  const int fd = open_at_end(O_RDWR);
  check::say("open %d", fd >= 0);
  const char* const priorities[] = {"", "<12>", "<4>", "<191>", "<3>", "<x>", "<14"};
  for (const char* priority : priorities) {
    check::say("put '%s' = %zd", priority, put(fd, priority, " text\n"));
    show_next(priority, fd);
  }
}

CASE(odd_texts) {
  const int fd = open_at_end(O_RDWR);
  const char* const texts[] = {"\n", "one\n", "a\x01z\n", "back\\slash\n", "caf\xc3\xa9\n", "tab\tinside\n"};
  for (const char* text : texts) {
    check::say("put = %zd", put(fd, "", text));
    show_next("record", fd);
  }
  char large[2000];
  memset(large, 'x', sizeof large);
  shown("too large", write(fd, large, sizeof large));
  shown("nothing", write(fd, large, 0) >= 0 ? 0 : -1);
}

CASE(reading) {
  const int fd = open_at_end(O_RDWR);
  put(fd, "", "short\n");
  char few[4];
  shown("too small a buffer", read(fd, few, sizeof few));
  show_next("and the record is still there", fd);
  for (const int whence : {SEEK_SET, SEEK_END, SEEK_DATA}) shown("seek", lseek(fd, 0, whence));
  shown("seek cur", lseek(fd, 0, SEEK_CUR));
  shown("seek hole", lseek(fd, 0, SEEK_HOLE));
  shown("seek by 1", lseek(fd, 1, SEEK_SET));
  close(fd);
  const int only_write = open("/dev/kmsg", O_WRONLY);
  shown("write only", read(only_write, few, sizeof few));
  const int only_read = open("/dev/kmsg", O_RDONLY | O_NONBLOCK);
  shown("read only", write(only_read, few, sizeof few));
}

CASE(polling) {
  const int fd = open_at_end(O_RDWR);
  put(fd, "", "something\n");
  pollfd entry{fd, POLLIN | POLLOUT, 0};
  shown("poll", poll(&entry, 1, 1000));
  check::say("events %x", entry.revents & (POLLIN | POLLERR));
}

CASE(system_call) {
  char text[256];
  shown("no such action", klogctl(11, text, sizeof text));
  shown("no such action below", klogctl(-1, text, sizeof text));
  shown("read all, no buffer", klogctl(3, nullptr, 10));
  shown("read all, negative", klogctl(3, text, -1));
  shown("read all, nothing", klogctl(3, text, 0));
  shown("level 0", klogctl(8, nullptr, 0));
  shown("level 9", klogctl(8, nullptr, 9));
  shown("open", klogctl(1, nullptr, 0));
  shown("close", klogctl(0, nullptr, 0));
  check::say("size %d", klogctl(10, nullptr, 0) > 4096);
}

CASE(kmsg_of_proc) {
  const int fd = open("/proc/kmsg", O_RDONLY | O_NONBLOCK);
  check::say("open %d", fd >= 0);
  shown("seek", lseek(fd, 0, SEEK_SET) >= 0 ? 0 : -1);
  shown("write", write(fd, "x", 1));
}

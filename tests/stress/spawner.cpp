// Usage: spawner
//
// Behind a line on standard input: starts sleepers by posix_spawn, which borrows the process of its caller until the exec, as long as that works and
// 200 times at most; says with which error it ended; behind another line ends them all, and says whether a program can be started then.

#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

constexpr int kMost = 200;

int start(const char* path, const char* argument, pid_t& pid) {
  char* const words[] = {const_cast<char*>(path), const_cast<char*>(argument), nullptr};
  return posix_spawn(&pid, path, nullptr, nullptr, words, environ);
}

void wait_for_line() {
  for (char byte = 0; byte != '\n' && read(0, &byte, 1) == 1;) {
  }
}

}  // namespace

int main() {
  setvbuf(stdout, nullptr, _IONBF, 0);
  puts("ready");
  wait_for_line();
  pid_t sleepers[kMost];
  int count = 0, error = 0;
  while (count < kMost && (error = start("/bin/sleep", "1000", sleepers[count])) == 0) count++;
  printf("started %s, then %s\n", count > 0 ? "some" : "none", error == 0 ? "no error" : strerrorname_np(error));
  wait_for_line();

  for (int i = 0; i < count; i++) kill(sleepers[i], SIGKILL);
  int ended = 0;
  for (int i = 0; i < count; i++) {
    int status = 0;
    ended += waitpid(sleepers[i], &status, 0) == sleepers[i] && WIFSIGNALED(status);
  }
  pid_t pid = -1;
  int status = -1;
  error = start("/bin/true", nullptr, pid);
  if (error == 0) waitpid(pid, &status, 0);
  printf("%s ended, then %s %d\n", ended == count ? "all" : "some", error == 0 ? "status" : strerrorname_np(error), status);
}

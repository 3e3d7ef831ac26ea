#include "monitor/machine/memory_sampler.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <vector>

namespace umk::monitor {

namespace {

constexpr useconds_t kInterval = 10'000, kAfterKill = 100'000;

/// Resident private memory of a process: statm's resident pages without the shared ones, proc(5).
uint64_t private_bytes(int pid) {
  unsigned long size = 0, resident = 0, shared = 0;
  if (FILE* file = std::fopen(fmt::format("/proc/{}/statm", pid).c_str(), "r")) {
    if (std::fscanf(file, "%lu %lu %lu", &size, &resident, &shared) != 3) resident = shared = 0;
    std::fclose(file);
  }
  return resident > shared ? (resident - shared) * 4096 : 0;
}

/// The host processes of the machine: all are children of the monitor's first thread.
std::vector<int> host_processes() {
  std::vector<int> pids;
  if (FILE* file = std::fopen(fmt::format("/proc/self/task/{}/children", getpid()).c_str(), "r")) {
    for (int pid = 0; std::fscanf(file, "%d", &pid) == 1;) pids.push_back(pid);
    std::fclose(file);
  }
  return pids;
}

}  // namespace

void MemorySampler::run() {
  for (;;) {
    image_.memory.wait_for_overcommit();
    image_.memory.make_way();
    while (image_.memory.is_overcommitted()) usleep(look() ? kAfterKill : kInterval);
  }
}

bool MemorySampler::look() {
  uint64_t total = image_.memory.charged_bytes();
  std::vector<engine::MemoryUser> users;
  for (const int pid : host_processes()) {
    users.push_back({pid, private_bytes(pid)});
    total += users.back().bytes;
  }
  const uint64_t limit = image_.memory.limit_bytes();
  if (total <= limit) return false;
  // What can be read again goes before a program does.
  if (image_.memory.reclaim(total - limit) >= total - limit) return false;
  return image_.memory.kill(users.data(), users.size(), total);
}

}  // namespace umk::monitor

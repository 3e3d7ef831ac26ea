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

std::vector<engine::MemoryUser> list_users(const engine::MemoryFunctions& memory) {
  std::vector<engine::MemoryUser> users(64);
  for (;;) {
    const uint64_t count = memory.list_users(users.data(), users.size());
    const bool fits = count <= users.size();
    users.resize(count);
    if (fits) return users;
  }
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
  std::vector<engine::MemoryUser> users = list_users(image_.memory);
  for (engine::MemoryUser& user : users) total += user.bytes = private_bytes(user.host_pid);
  const uint64_t limit = image_.memory.limit_bytes();
  if (total <= limit) return false;
  // What can be read again goes before a program does.
  if (image_.memory.reclaim(total - limit) >= total - limit) return false;
  return image_.memory.kill(users.data(), users.size(), total);
}

}  // namespace umk::monitor

// Memory and the page cache of files: /proc/meminfo, /proc/vmstat, /proc/sys/vm.
#include <algorithm>

#include "core/fs/proc/machine_files.h"
#include "core/fs/proc/memory_files.h"
#include "core/fs/proc/proc.h"
#include "core/fs/proc/setting.h"
#include "core/fs/proc/task_facts.h"
#include "core/kernel/mm/address_space.h"
#include "core/kernel/mm/page_cache.h"
#include "core/kernel/vfs/vfs.h"

namespace umk::proc {

// proc_meminfo(5). Page cache and kernel objects are counted exactly; of private memory of programs the host is asked (task_facts.h). There is no
// swap. Pages of the cache that have no storage behind them (tmpfs, shared memory) are "Shmem" and part of "Cached".
Result<void> show_memory(const Context& context, TextSink& sink) {
  uint64_t cache = 0, objects = 0, committed = 0, dirty = 0, written_back = 0, file_pages = 0;
  if (context.kernel.cache_window) {
    MemoryAccount& account = context.kernel.cache_window->account();
    cache = account.charged(MemoryAccount::Use::PageCache);
    objects = account.charged(MemoryAccount::Use::KernelObjects);
    committed = account.committed();
  }
  if (const mm::PageCache* files = context.kernel.page_cache) {
    dirty = files->counters.dirty.load() * kPageSize;
    written_back = files->counters.written_back.load() * kPageSize;
    file_pages = std::min(files->counters.present.load() * kPageSize, cache);
  }
  const uint64_t total = total_memory_bytes(context.kernel);
  const uint64_t anonymous = private_pages(context.kernel) * kPageSize;
  const uint64_t used = cache + objects + anonymous;
  const uint64_t free = total > used ? total - used : 0;
  const struct {
    std::string_view name;
    uint64_t bytes;
  } lines[] = {
      {"MemTotal:", total},       {"MemFree:", free},      {"MemAvailable:", free + file_pages - std::min(file_pages, dirty)}, {"Buffers:", 0},           {"Cached:", cache},
      {"SwapCached:", 0},         {"Active:", anonymous},  {"Inactive:", cache},    {"Active(anon):", anonymous}, {"Inactive(anon):", cache - file_pages},
      {"Active(file):", 0},       {"Inactive(file):", file_pages},  {"Unevictable:", 0},     {"Mlocked:", 0},           {"SwapTotal:", 0},
      {"SwapFree:", 0},           {"Dirty:", dirty},       {"Writeback:", written_back},       {"AnonPages:", anonymous}, {"Mapped:", 0},
      {"Shmem:", cache - file_pages},          {"KReclaimable:", 0},    {"Slab:", objects},      {"SReclaimable:", 0},      {"SUnreclaim:", objects},
      {"KernelStack:", static_cast<uint64_t>(std::max<int64_t>(context.kernel.counters.tasks.load(), 0)) * kKernelStackBundleBytes},
      {"PageTables:", 0},         {"NFS_Unstable:", 0},    {"Bounce:", 0},          {"WritebackTmp:", 0},      {"CommitLimit:", total},
      {"Committed_AS:", committed}, {"VmallocTotal:", 0},  {"VmallocUsed:", 0},     {"VmallocChunk:", 0},      {"AnonHugePages:", 0},
  };
  for (const auto& line : lines) format(sink, "{-15} {8} kB\n", line.name, line.bytes / 1024);
  for (const std::string_view name : {"HugePages_Total:", "HugePages_Free:", "HugePages_Rsvd:", "HugePages_Surp:"}) format(sink, "{-15} {8}\n", name, 0);
  format(sink, "{-15} {8} kB\n", "Hugepagesize:", 2048);
  return {};
}

// The lines that vmstat(8), sar(1) and monitoring agents look for. Amounts are pages; pgpgin and pgpgout are KiB.
Result<void> show_memory_counters(const Context& context, TextSink& sink) {
  const MachineTotals totals = TRY(machine_totals(context.kernel));
  uint64_t cache = 0, objects = 0;
  if (context.kernel.cache_window) {
    const MemoryAccount& account = context.kernel.cache_window->account();
    cache = account.charged(MemoryAccount::Use::PageCache) / kPageSize;
    objects = account.charged(MemoryAccount::Use::KernelObjects) / kPageSize;
  }
  const mm::PageCache* const files = context.kernel.page_cache;
  const auto count = [&](const std::atomic<uint64_t>& counter) { return files ? counter.load(std::memory_order_relaxed) : 0; };
  const auto& counters = files->counters;
  const uint64_t file_pages = std::min(count(counters.present), cache);
  const uint64_t total = total_memory_bytes(context.kernel) / kPageSize;
  const uint64_t anonymous = private_pages(context.kernel);
  const uint64_t used = cache + objects + anonymous;
  const struct {
    std::string_view name;
    uint64_t value;
  } lines[] = {
      {"nr_free_pages", total > used ? total - used : 0},
      {"nr_inactive_anon", cache - file_pages},
      {"nr_active_anon", anonymous},
      {"nr_inactive_file", file_pages},
      {"nr_active_file", 0},
      {"nr_unevictable", 0},
      {"nr_anon_pages", anonymous},
      {"nr_file_pages", cache},
      {"nr_dirty", count(counters.dirty)},
      {"nr_writeback", count(counters.written_back)},
      {"nr_shmem", cache - file_pages},
      {"nr_slab_unreclaimable", objects},
      {"nr_dirtied", count(counters.pages_dirtied)},
      {"nr_written", count(counters.pages_written)},
      {"nr_dirty_threshold", files ? files->dirty_limit() : 0},
      {"nr_dirty_background_threshold", files ? files->background_limit() : 0},
      {"pgpgin", count(counters.pages_read) * (kPageSize / 1024)},
      {"pgpgout", count(counters.pages_written) * (kPageSize / 1024)},
      {"pswpin", 0},
      {"pswpout", 0},
      {"pgfault", totals.minor_faults + totals.major_faults},
      {"pgmajfault", totals.major_faults},
      {"pgscan_kswapd", 0},
      {"pgscan_direct", count(counters.pages_scanned)},
      {"pgsteal_kswapd", 0},
      {"pgsteal_direct", count(counters.pages_reclaimed)},
  };
  for (const auto& line : lines) format(sink, "{} {}\n", line.name, line.value);
  return {};
}

// --- /proc/sys/vm

namespace {

// proc_sys_vm(5): bit 0 drops pages that can be read again, bit 1 names and inodes.
Result<void> store_drop_caches(const Context& context, std::string_view text) {
  const uint64_t what = TRY(parse_setting(text, 4));
  if (what == 0) return error(EINVAL);
  if ((what & 1) && context.kernel.page_cache) context.kernel.page_cache->drop_clean();
  if ((what & 2) && context.kernel.vfs) context.kernel.vfs->dentries().purge(nullptr);
  return {};
}

using Settings = mm::PageCache::Settings;

template <auto setting>
Result<void> show_dirty(const Context& context, TextSink& sink) {
  format(sink, "{}\n", context.kernel.page_cache ? uint64_t{(context.kernel.page_cache->settings.*setting).load()} : 0);
  return {};
}
template <auto setting, uint64_t highest>
Result<void> store_time(const Context& context, std::string_view text) {
  (context.kernel.page_cache->settings.*setting).store(static_cast<uint32_t>(TRY(parse_setting(text, highest))));
  return {};
}
/// A share and a number of bytes are two ways to say the same: setting the one takes the other back.
template <auto ratio, auto bytes>
Result<void> store_ratio(const Context& context, std::string_view text) {
  Settings& settings = context.kernel.page_cache->settings;
  (settings.*ratio).store(static_cast<uint32_t>(TRY(parse_setting(text, 100))));
  (settings.*bytes).store(0);
  return {};
}
template <auto ratio, auto bytes>
Result<void> store_bytes(const Context& context, std::string_view text) {
  Settings& settings = context.kernel.page_cache->settings;
  const uint64_t wanted = TRY(parse_setting(text, INT64_MAX));
  if (wanted < 2 * kPageSize) return error(EINVAL);
  (settings.*bytes).store(wanted);
  (settings.*ratio).store(0);
  return {};
}

}  // namespace

constexpr Entry kMemoryEntries[12] = {
    sysctl_entry("dirty_background_bytes", show_dirty<&Settings::dirty_background_bytes>, 0644,
                 store_bytes<&Settings::dirty_background_ratio, &Settings::dirty_background_bytes>),
    sysctl_entry("dirty_background_ratio", show_dirty<&Settings::dirty_background_ratio>, 0644,
                 store_ratio<&Settings::dirty_background_ratio, &Settings::dirty_background_bytes>),
    sysctl_entry("dirty_bytes", show_dirty<&Settings::dirty_bytes>, 0644, store_bytes<&Settings::dirty_ratio, &Settings::dirty_bytes>),
    sysctl_entry("dirty_expire_centisecs", show_dirty<&Settings::dirty_expire_centisecs>, 0644, store_time<&Settings::dirty_expire_centisecs, INT32_MAX>),
    sysctl_entry("dirty_ratio", show_dirty<&Settings::dirty_ratio>, 0644, store_ratio<&Settings::dirty_ratio, &Settings::dirty_bytes>),
    sysctl_entry("dirty_writeback_centisecs", show_dirty<&Settings::dirty_writeback_centisecs>, 0644,
                 store_time<&Settings::dirty_writeback_centisecs, INT32_MAX>),
    sysctl_entry("drop_caches", nullptr, 0200, store_drop_caches),
    sysctl_entry("max_map_count", show_number<mm::kMaximumAreas>),
    sysctl_entry("mmap_min_addr", show_number<layout::kUserStart>),
    sysctl_entry("overcommit_memory", show_number<0>),
    sysctl_entry("overcommit_ratio", show_number<50>),
    sysctl_entry("swappiness", show_number<60>),
};

}  // namespace umk::proc

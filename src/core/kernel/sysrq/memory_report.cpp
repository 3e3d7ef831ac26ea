#include "core/kernel/mm/cache_window.h"
#include "core/kernel/mm/page_cache.h"
#include "core/kernel/sysrq/sysrq.h"

namespace umk::sysrq {

// Linux shows zones and lists of free blocks here. This kernel has neither: memory is counted by use.
void report_memory(Kernel& kernel, Printer& printer) {
  uint64_t limit = kernel.options.memory_bytes, objects = 0, cache = 0, committed = 0;
  if (kernel.cache_window) {
    const MemoryAccount& account = kernel.cache_window->account();
    if (account.limit() != UINT64_MAX) limit = account.limit();
    objects = account.charged(MemoryAccount::Use::KernelObjects);
    cache = account.charged(MemoryAccount::Use::PageCache);
    committed = account.committed();
  }
  uint64_t present = 0, dirty = 0, written_back = 0;
  if (kernel.page_cache) {
    present = kernel.page_cache->counters.present.load();
    dirty = kernel.page_cache->counters.dirty.load();
    written_back = kernel.page_cache->counters.written_back.load();
  }
  const uint64_t cache_pages = cache / kPageSize, file_pages = std::min(present, cache_pages);
  const uint64_t charged = objects + cache;
  printer.line("Mem-Info:");
  printer.print("active_file:0 inactive_file:{} dirty:{} writeback:{} shmem:{}", file_pages, dirty, written_back, cache_pages - file_pages);
  printer.print("slab_unreclaimable:{} kernel_stack:{}kB committed:{}kB", objects / kPageSize,
                static_cast<uint64_t>(std::max<int64_t>(kernel.counters.tasks.load(), 0)) * kKernelStackBundleBytes / 1024,
                committed / 1024);
  printer.print("free for programs and cache:{}kB of {}kB", (limit > charged ? limit - charged : 0) / 1024, limit / 1024);
  printer.print("{} total pagecache pages", cache_pages);
  printer.line("0 pages in swap cache");
  printer.line("Free swap  = 0kB");
  printer.line("Total swap = 0kB");
  printer.print("{} pages RAM", limit / kPageSize);
}

}  // namespace umk::sysrq

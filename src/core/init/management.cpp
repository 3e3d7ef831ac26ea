#include "core/init/management.h"

#include "core/drivers/ubd/ubd_disk.h"
#include "core/init/root_device.h"
#include "core/kernel/block/block_devices.h"
#include "core/kernel/mm/cache_window.h"
#include "core/kernel/mm/page_cache.h"
#include "core/kernel/sysrq/sysrq.h"
#include "core/kernel/task/kernel.h"
#include "core/kernel/task/kernel_stack_trace.h"
#include "core/kernel/task/task.h"
#include "core/kernel/task/version.h"
#include "core/kernel/tty/tty_registry.h"
#include "core/kernel/vfs/vfs.h"

namespace umk::init {

namespace {

/// A file of proc may have no end; what a console shows has.
constexpr size_t kMostProcBytes = size_t{4} << 20;

Result<RefPtr<vfs::OpenFile>> open_proc_file(Kernel& kernel, const Credentials& credentials, std::string_view path) {
  vfs::Vfs& vfs = *kernel.vfs;
  vfs::FilesystemType* const type = vfs.find_type("proc");
  if (!type) return error(ENODEV);
  const RefPtr<vfs::FsContext> nowhere = TRY(make_ref<vfs::FsContext>(vfs::Path(), vfs::Path(), 022u));
  const vfs::Caller mounter{credentials, *nowhere};
  RefPtr<vfs::Superblock> superblock = TRY(type->mount(
      {.source = "proc", .options = "", .read_only = false, .caller = mounter, .anonymous_device = vfs.next_anonymous_device()}));
  // A mount of its own, attached nowhere, is the root: nothing that guests mount is in the way, and nothing above is reached.
  RefPtr<vfs::Mount> mount = TRY(vfs.mounts().make(std::move(superblock), "proc", 0));
  RefPtr<vfs::Dentry> top = mount->root_ref();
  const vfs::Path root(std::move(mount), std::move(top));
  const RefPtr<vfs::FsContext> fs = TRY(make_ref<vfs::FsContext>(root, root, 022u));
  return vfs.open({credentials, *fs}, {nullptr, path}, {.flags = vfs::open_flags::kReadOnly | vfs::open_flags::kNonBlock});
}

Result<String> read_to_end(vfs::OpenFile& file) {
  String text;
  std::byte piece[4096];
  for (;;) {
    UserOutBuffer buffer = UserOutBuffer::kernel(piece);
    const Result<size_t> got = file.read(buffer);
    // What is yet to come is not waited for.
    if (!got.ok() && got.code() == EAGAIN) return text;
    if (!got.ok()) return got.failure();
    if (got.value() == 0 || text.size() >= kMostProcBytes) return text;
    TRY(text.append(std::string_view(reinterpret_cast<const char*>(piece), got.value())));
  }
}

}  // namespace

Result<String> describe_kernel(Kernel& kernel) {
  return format_string("{} {} {} {} {}", version::kSystem, kernel.host_name.host().data(), version::kRelease, version::kVersion,
                       version::kMachine);
}

void log_text(std::string_view text) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    if (end != 0) log_line(LogLevel::Warning, text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

Result<String> read_proc_file(Kernel& kernel, std::string_view path, bool& was_opened) {
  const RefPtr<Credentials> credentials = TRY(Credentials::root());
  const Result<RefPtr<vfs::OpenFile>> file = open_proc_file(kernel, *credentials, path);
  was_opened = file.ok();
  if (!file.ok()) {
    log(LogLevel::Error, "open /proc/{}: {}", path, -file.code());
    return file.failure();
  }
  return read_to_end(*file.value());
}

Result<String> give_sysrq(Kernel& kernel, char key) {
  StringSink sink;
  sysrq::handle(kernel, key, sysrq::Source::Key, &sink);
  return sink.take();
}

Result<String> show_kernel_stack(Kernel& kernel, int pid) {
  RefPtr<Task> task;
  {
    MutexLock lock(kernel.tasks.mutex);
    task = kernel.tasks.find_task(pid);
  }
  if (!task) return error(ESRCH);
  const KernelStackTrace trace = trace_kernel_stack(task->stack());
  StringSink sink;
  print_stack_words(sink, trace);
  print_call_trace(sink, trace);
  return sink.take();
}

Result<void> attach_disk(Kernel& kernel, const ubd::DiskImage& image) {
  RefPtr<ubd::UbdDisk> disk = TRY(ubd::UbdDisk::create(image));
  TRY(kernel.block_devices->add(disk));
  log(LogLevel::Info, "{}: {} bytes, {}{}", disk->name(), image.bytes, image.file, image.is_read_only ? " (read-only)" : "");
  return {};
}

Result<void> detach_disk(Kernel& kernel, uint32_t number) {
  const RefPtr<block::BlockDevice> disk =
      kernel.block_devices->find(vfs::DeviceNumber{ubd::kMajor, number * block::BlockDevices::kMinorsOfDisk});
  if (!disk) return error(ENODEV);
  TRY(kernel.block_devices->remove(*disk));
  // Remembered names of its files in /sys would keep it, and with it the host's files, which somebody else may want.
  Vector<RefPtr<vfs::Superblock>> superblocks;
  if (kernel.vfs->mounts().superblocks(superblocks).ok())
    for (const RefPtr<vfs::Superblock>& superblock : superblocks)
      if (superblock->type_name() == "sysfs") kernel.vfs->dentries().purge(superblock.get());
  log(LogLevel::Info, "{}: removed", disk->name());
  return {};
}

Result<void> add_line(Kernel& kernel, unsigned line) { return kernel.ttys->lines()->add_line(line); }

Result<void> remove_line(Kernel& kernel, unsigned line) { return kernel.ttys->lines()->remove_line(line); }

Result<uint64_t> take_memory(Kernel& kernel, uint64_t bytes) {
  MemoryAccount& account = kernel.cache_window->account();
  const uint64_t limit = account.limit();
  // Programs keep what they were promised; what the page cache can give back is free.
  const uint64_t kept = account.charged() - account.reclaimable() + account.committed();
  if (limit == UINT64_MAX || kept >= limit) return error(ENOMEM);
  const uint64_t taken = std::min(bytes, limit - kept) & ~uint64_t{kPageSize - 1};
  if (taken == 0) return error(ENOMEM);
  // Room is made before, so that nobody finds the machine full in between, and once more for what came meanwhile. The cache's reserve is for who cannot wait.
  const auto make_room = [&] {
    const uint64_t wanted = account.charged() + kernel.page_cache->reserved_bytes(), left = limit - taken;
    if (wanted > left) (void)kernel.page_cache->reclaim_thoroughly((wanted - left) / kPageSize + 1);
  };
  make_room();
  account.set_limit(limit - taken);
  make_room();
  return taken;
}

void give_memory(Kernel& kernel, uint64_t bytes) {
  MemoryAccount& account = kernel.cache_window->account();
  const uint64_t taken = kernel.options.memory_bytes - std::min(kernel.options.memory_bytes, account.limit());
  account.set_limit(account.limit() + std::min(bytes, taken));
}

}  // namespace umk::init

#include "core/fs/proc/system_files.h"

#include <algorithm>
#include <array>

#include "core/fs/proc/memory_files.h"
#include "core/fs/proc/proc.h"
#include "core/fs/proc/setting.h"
#include "core/fs/proc/task_facts.h"
#include "core/kernel/device/device_registry.h"
#include "core/kernel/mm/address_space.h"
#include "core/kernel/mm/cache_window.h"
#include "core/kernel/task/version.h"
#include "core/kernel/time/log_limit.h"
#include "core/kernel/tty/tty_registry.h"
#include "core/kernel/vfs/pipe.h"
#include "core/kernel/vfs/vfs.h"

namespace umk::proc {

namespace {

// --- kernel

Result<void> show_host_name(const Context& context, TextSink& sink) {
  format(sink, "{}\n", context.kernel.host_name.host().data());
  return {};
}
Result<void> show_domain_name(const Context& context, TextSink& sink) {
  format(sink, "{}\n", context.kernel.host_name.domain().data());
  return {};
}
std::string_view first_line(std::string_view text) { return text.substr(0, std::min(text.find_first_of(std::string_view("\n\0", 2)), text.size())); }
Result<void> store_host_name(const Context& context, std::string_view text) {
  return context.kernel.host_name.set_host(first_line(text).substr(0, HostName::kMaximumLength));
}
Result<void> store_domain_name(const Context& context, std::string_view text) {
  return context.kernel.host_name.set_domain(first_line(text).substr(0, HostName::kMaximumLength));
}

template <const std::string_view& text>
Result<void> show_text(const Context&, TextSink& sink) {
  format(sink, "{}\n", text);
  return {};
}
constexpr std::string_view kCorePattern = "core";

// The four levels: of the console, of lines without one, the lowest that syslog(2) sets, and the console's at boot.
Result<void> show_log_levels(const Context& context, TextSink& sink) {
  const KernelLog::Levels& levels = context.kernel.kernel_log.levels;
  format(sink, "{}\t{}\t{}\t{}\n", levels.console.load(), levels.message.load(), levels.lowest_console.load(), levels.console_at_boot.load());
  return {};
}
template <std::atomic<uint32_t> LogLimitSettings::* setting>
Result<void> show_log_limit(const Context&, TextSink& sink) {
  format(sink, "{}\n", (log_limit_settings().*setting).load());
  return {};
}
template <std::atomic<uint32_t> LogLimitSettings::* setting>
Result<void> store_log_limit(const Context&, std::string_view text) {
  constexpr uint64_t kHighest = INT32_MAX / 1000;
  (log_limit_settings().*setting).store(static_cast<uint32_t>(TRY(parse_setting(text, kHighest))));
  return {};
}

Result<void> show_program_lines(const Context& context, TextSink& sink) {
  format(sink, "{}\n", spell(context.kernel.kernel_log.program_lines.load()));
  return {};
}
Result<void> store_program_lines(const Context& context, std::string_view text) {
  KernelLog& log = context.kernel.kernel_log;
  const std::optional<KernelLog::ProgramLines> lines = parse_program_lines(first_line(text));
  if (!lines || log.program_lines_are_fixed.load()) return error(EINVAL);
  log.program_lines.store(*lines);
  return {};
}

Result<void> store_log_levels(const Context& context, std::string_view text) {
  constexpr uint64_t kHighest = INT32_MAX;
  KernelLog::Levels& levels = context.kernel.kernel_log.levels;
  // As many as are given, from the first on.
  for (std::atomic<int>* level : {&levels.console, &levels.message, &levels.lowest_console, &levels.console_at_boot}) {
    text = trim(text);
    if (text.empty()) return {};
    const size_t end = std::min(text.find_first_of(" \t\n"), text.size());
    level->store(static_cast<int>(TRY(parse_setting(text.substr(0, end), kHighest))));
    text.remove_prefix(end);
  }
  return {};
}

// Every task has a bundle of kernel memory; a machine of this size could have so many.
Result<void> show_thread_limit(const Context&, TextSink& sink) {
  format(sink, "{}\n", TaskList::kMaximumId);
  return {};
}

void put_uuid(TextSink& sink, std::array<uint8_t, 16> bytes) {
  // RFC 9562, version 4: random.
  bytes[6] = static_cast<uint8_t>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<uint8_t>((bytes[8] & 0x3f) | 0x80);
  for (size_t i = 0; i < bytes.size(); ++i) format(sink, "{}{02x}", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", bytes[i]);
  sink.put("\n");
}
Result<void> show_uuid(const Context&, TextSink& sink) {
  std::array<uint8_t, 16> bytes;
  host::get_random(std::as_writable_bytes(std::span(bytes)));
  put_uuid(sink, bytes);
  return {};
}
Result<void> show_boot_id(const Context& context, TextSink& sink) {
  put_uuid(sink, context.superblock.boot_id);
  return {};
}

// The same as /sys/kernel/uevent_helper.
Result<void> show_event_helper(const Context& context, TextSink& sink) {
  format(sink, "{}\n", TRY(context.kernel.devices->uevents().helper()));
  return {};
}
Result<void> store_event_helper(const Context& context, std::string_view text) {
  return context.kernel.devices->uevents().set_helper(first_line(text).substr(0, device::Uevents::kMaximumHelper - 1));
}

// What the management console's sysrq may do: sysrq/sysrq.h.
Result<void> show_sysrq_keys(const Context& context, TextSink& sink) {
  format(sink, "{}\n", context.kernel.ttys ? context.kernel.ttys->sysrq_keys.load() : 1);
  return {};
}
Result<void> store_sysrq_keys(const Context& context, std::string_view text) {
  const uint64_t keys = TRY(parse_setting(text, INT32_MAX));
  if (!context.kernel.ttys) return error(EIO);
  context.kernel.ttys->sysrq_keys.store(static_cast<int>(keys));
  return {};
}

constexpr Entry kRandomEntries[] = {
    sysctl_entry("boot_id", show_boot_id),
    sysctl_entry("entropy_avail", show_number<256>),
    sysctl_entry("poolsize", show_number<256>),
    sysctl_entry("uuid", show_uuid),
};

constexpr Entry kKernelEntries[] = {
    sysctl_entry("arch", show_text<version::kMachine>),
    sysctl_entry("cap_last_cap", show_number<kLastCapability>),
    sysctl_entry("core_pattern", show_text<kCorePattern>),
    sysctl_entry("core_uses_pid", show_number<0>),
    sysctl_entry("dmesg_restrict", show_number<0>),
    sysctl_entry("domainname", show_domain_name, 0644, store_domain_name),
    sysctl_entry("hostname", show_host_name, 0644, store_host_name),
    sysctl_entry("hotplug", show_event_helper, 0644, store_event_helper),
    sysctl_entry("ngroups_max", show_number<65536>),
    sysctl_entry("osrelease", show_text<version::kRelease>),
    sysctl_entry("ostype", show_text<version::kSystem>),
    sysctl_entry("overflowgid", show_number<65534>),
    sysctl_entry("overflowuid", show_number<65534>),
    sysctl_entry("panic", show_number<0>),
    sysctl_entry("pid_max", show_number<TaskList::kMaximumId>),
    sysctl_entry("printk", show_log_levels, 0644, store_log_levels),
    sysctl_entry("printk_devkmsg", show_program_lines, 0644, store_program_lines),
    sysctl_entry("printk_ratelimit", show_log_limit<&LogLimitSettings::interval_seconds>, 0644, store_log_limit<&LogLimitSettings::interval_seconds>),
    sysctl_entry("printk_ratelimit_burst", show_log_limit<&LogLimitSettings::burst>, 0644, store_log_limit<&LogLimitSettings::burst>),
    directory_entry("random", kRandomEntries),
    sysctl_entry("randomize_va_space", show_number<2>),
    sysctl_entry("sysrq", show_sysrq_keys, 0644, store_sysrq_keys),
    sysctl_entry("tainted", show_number<0>),
    sysctl_entry("threads-max", show_thread_limit),
    sysctl_entry("version", show_text<version::kVersion>),
};

// --- fs

constexpr uint64_t kFileMaximum = INT64_MAX;

Result<void> show_file_counts(const Context& context, TextSink& sink) {
  const int64_t open_files = context.kernel.vfs ? context.kernel.vfs->object_counts().open_files.load() : 0;
  format(sink, "{}\t0\t{}\n", std::max<int64_t>(open_files, 0), kFileMaximum);
  return {};
}

template <std::atomic<int> vfs::Protections::* setting>
Result<void> show_protection(const Context& context, TextSink& sink) {
  format(sink, "{}\n", (context.kernel.vfs->protections.*setting).load());
  return {};
}
template <std::atomic<int> vfs::Protections::* setting, uint64_t highest>
Result<void> store_protection(const Context& context, std::string_view text) {
  (context.kernel.vfs->protections.*setting).store(static_cast<int>(TRY(parse_setting(text, highest))));
  return {};
}

template <std::atomic<int> vfs::LeaseSettings::* setting>
Result<void> show_lease_setting(const Context& context, TextSink& sink) {
  format(sink, "{}\n", (context.kernel.vfs->leases.*setting).load());
  return {};
}
template <std::atomic<int> vfs::LeaseSettings::* setting>
Result<void> store_lease_setting(const Context& context, std::string_view text) {
  (context.kernel.vfs->leases.*setting).store(static_cast<int>(TRY(parse_setting(text, INT32_MAX))));
  return {};
}

constexpr Entry kInotifyEntries[] = {
    sysctl_entry("max_queued_events", show_number<16384>),
    sysctl_entry("max_user_instances", show_number<128>),
    sysctl_entry("max_user_watches", show_number<65536>),
};

using vfs::LeaseSettings, vfs::Protections;
constexpr Entry kFsEntries[] = {
    sysctl_entry("file-max", show_number<kFileMaximum>),
    sysctl_entry("file-nr", show_file_counts),
    directory_entry("inotify", kInotifyEntries),
    sysctl_entry("lease-break-time", show_lease_setting<&LeaseSettings::break_seconds>, 0644, store_lease_setting<&LeaseSettings::break_seconds>),
    sysctl_entry("leases-enable", show_lease_setting<&LeaseSettings::enable>, 0644, store_lease_setting<&LeaseSettings::enable>),
    sysctl_entry("nr_open", show_number<vfs::FdTable::kMaximum>),
    sysctl_entry("overflowgid", show_number<65534>),
    sysctl_entry("overflowuid", show_number<65534>),
    sysctl_entry("pipe-max-size", show_number<(1 << 20)>),
    sysctl_entry("protected_fifos", show_protection<&Protections::fifos>, 0600, store_protection<&Protections::fifos, 2>),
    sysctl_entry("protected_hardlinks", show_protection<&Protections::hardlinks>, 0600, store_protection<&Protections::hardlinks, 1>),
    sysctl_entry("protected_regular", show_protection<&Protections::regular>, 0600, store_protection<&Protections::regular, 2>),
    sysctl_entry("protected_symlinks", show_protection<&Protections::symlinks>, 0600, store_protection<&Protections::symlinks, 1>),
    sysctl_entry("suid_dumpable", show_number<0>),
};

// --- /proc/umk

uint64_t count_calls(Kernel& kernel) {
  MutexLock lock(kernel.tasks.mutex);
  uint64_t sum = kernel.counters.calls.load();
  for (RefPtr<Task> task = kernel.tasks.next_task(1); task; task = kernel.tasks.next_task(task->tid() + 1))
    sum += task->calls.load(std::memory_order_relaxed);
  return sum;
}

Result<void> show_counters(const Context& context, TextSink& sink) {
  const Counters& counters = context.kernel.counters;
  vfs::Vfs* const vfs = context.kernel.vfs;
  const mm::CacheWindow* const window = context.kernel.cache_window;
  const struct {
    std::string_view name;
    int64_t value;
  } lines[] = {
      {"calls", static_cast<int64_t>(count_calls(context.kernel))},
      {"trapped_calls", static_cast<int64_t>(counters.trapped_calls.load())},
      {"patched_sites", static_cast<int64_t>(counters.patched_sites.load())},
      {"refused_sites", static_cast<int64_t>(counters.refused_sites.load())},
      {"tasks", counters.tasks.load()},
      {"processes", counters.processes.load()},
      {"open_files", vfs ? vfs->object_counts().open_files.load() : 0},
      {"inodes", vfs ? vfs->object_counts().inodes.load() : 0},
      {"dentries", vfs ? static_cast<int64_t>(vfs->dentries().count()) : 0},
      {"mounts", vfs ? vfs->mounts().count() : 0},
      {"address_spaces", window ? window->live.address_spaces.load() : 0},
      {"areas", window ? window->live.areas.load() : 0},
      {"kernel_stacks", counters.kernel_stacks.load()},
      {"vessels", counters.vessels.load()},
  };
  for (const auto& line : lines) format(sink, "{} {}\n", line.name, line.value);
  return {};
}

Result<void> show_unimplemented(const Context& context, TextSink& sink) {
  const auto& counts = context.kernel.counters.unimplemented;
  for (size_t number = 0; number < std::size(counts); ++number)
    if (const uint64_t count = counts[number].load()) format(sink, "{} {}\n", number, count);
  return {};
}

}  // namespace

constexpr Entry kSystemEntries[3] = {
    directory_entry("fs", kFsEntries),
    directory_entry("kernel", kKernelEntries),
    directory_entry("vm", kMemoryEntries),
};

constexpr Entry kOwnEntries[2] = {
    file_entry("counters", show_counters),
    file_entry("unimplemented", show_unimplemented),
};

}  // namespace umk::proc

#include "core/fs/proc/machine_files.h"

#include <algorithm>

#include "core/fs/proc/proc.h"
#include "core/fs/proc/task_facts.h"
#include "core/kernel/block/block_devices.h"
#include "core/kernel/block/statistics_text.h"
#include "core/kernel/device/device_registry.h"
#include "core/kernel/mm/cache_window.h"
#include "core/kernel/sysrq/sysrq.h"
#include "core/kernel/task/version.h"
#include "core/kernel/time/clocks.h"
#include "core/kernel/vfs/vfs.h"

namespace umk::proc {

namespace {

/// Seconds with hundredths.
void put_seconds(TextSink& sink, uint64_t ns) { format(sink, "{}.{02}", ns / 1'000'000'000, ns / kTickNs % 100); }

/// Processor time that nobody used.
uint64_t idle_ns(const Context& context, const MachineTotals& totals) {
  const uint64_t offered = uptime_ns(context.kernel) * context.kernel.options.cpus;
  const uint64_t used = totals.user_ns + totals.system_ns;
  return offered > used ? offered - used : 0;
}

}  // namespace

Result<void> show_command_line(const Context& context, TextSink& sink) {
  format(sink, "{}\n", context.kernel.options.command_line);
  return {};
}

Result<void> show_devices(const Context& context, TextSink& sink) {
  const auto show = [&](vfs::FileType wanted) {
    // Drivers of one major that share a name are one line; lines go by number.
    uint64_t last = 0;
    for (;;) {
      uint32_t lowest = UINT32_MAX;
      std::string_view name;
      if (context.kernel.devices) {
        context.kernel.devices->for_each_driver([&](vfs::FileType type, uint32_t major, std::string_view driver) {
          if (type == wanted && major >= last && major < lowest) lowest = major, name = driver;
        });
      }
      if (lowest == UINT32_MAX) return;
      format(sink, "{3} {}\n", lowest, name);
      last = uint64_t{lowest} + 1;
    }
  };
  sink.put("Character devices:\n");
  show(vfs::FileType::CharacterDevice);
  sink.put("\nBlock devices:\n");
  show(vfs::FileType::BlockDevice);
  return {};
}

// As in User Mode Linux: the status with which the machine ends, low eight bits.
Result<void> show_exit_code(const Context& context, TextSink& sink) {
  format(sink, "{}\n", context.kernel.exit_code.load());
  return {};
}

Result<void> store_exit_code(const Context& context, std::string_view text) {
  constexpr size_t kLookedAt = 7;
  text = text.substr(0, kLookedAt);
  const size_t end = std::min(text.find_first_of(" \t\n\0"), text.size());
  std::string_view number = text.substr(0, end);
  const bool is_negative = number.starts_with('-');
  if (is_negative) number.remove_prefix(1);
  const std::optional<uint64_t> value = parse_unsigned(number, 0);
  if (!value || *value > INT32_MAX) return error(EINVAL);
  context.kernel.exit_code.store(is_negative ? -static_cast<int>(*value) : static_cast<int>(*value));
  return {};
}

Result<void> show_filesystems(const Context& context, TextSink& sink) {
  if (!context.kernel.vfs) return {};
  for (const vfs::FilesystemType* type : context.kernel.vfs->types()) format(sink, "{}\t{}\n", type->needs_device() ? "" : "nodev", type->name());
  return {};
}

// What it can do (it is written, and a console of Linux's would have been unblanked), whether it is enabled, preferred, and was shown the log's
// beginning, and its number.
Result<void> show_consoles(const Context& context, TextSink& sink) {
  const KernelLog& log = context.kernel.kernel_log;
  for (size_t i = 0; i < log.console_count; ++i) {
    const KernelLog::Console& console = log.consoles[i];
    char name[32];
    BufferSink padded(name);
    padded.put(console.name);
    while (padded.view().size() < 21) padded.put(" ");
    const bool is_serial = std::string_view(console.name).starts_with("ttyS");
    format(sink, "{}-W{} (E{} p  ) {4}:{}\n", padded.view(), is_serial ? '-' : 'U', i == 0 ? 'C' : ' ', console.device.major, console.device.minor);
  }
  return {};
}

Result<void> show_load(const Context& context, TextSink& sink) {
  const MachineTotals totals = TRY(machine_totals(context.kernel));
  const LoadAverage::Values load = context.superblock.load.update(time::boottime_ns(), totals.running);
  constexpr uint64_t kOne = 1 << LoadAverage::kFractionBits;
  for (const uint64_t value : load.minutes) {
    const uint64_t hundredths = (value * 100 + kOne / 2) / kOne;
    format(sink, "{}.{02} ", hundredths / 100, hundredths % 100);
  }
  format(sink, "{}/{} {}\n", totals.running, totals.tasks, totals.newest);
  return {};
}

// proc_partitions(5): in blocks of 1 KiB. Devices without a medium are left out.
Result<void> show_partitions(const Context& context, TextSink& sink) {
  // The empty line belongs to the heading.
  sink.put("major minor  #blocks  name\n\n");
  if (!context.kernel.block_devices) return {};
  Vector<RefPtr<block::BlockDevice>> devices;
  TRY(context.kernel.block_devices->list(devices));
  for (const RefPtr<block::BlockDevice>& device : devices)
    if (device->size_bytes() != 0) format(sink, "{4}  {7} {10} {}\n", device->number().major, device->number().minor, device->size_bytes() / 1024, device->name());
  return {};
}

// proc_diskstats(5).
Result<void> show_disk_statistics(const Context& context, TextSink& sink) {
  if (!context.kernel.block_devices) return {};
  Vector<RefPtr<block::BlockDevice>> devices;
  TRY(context.kernel.block_devices->list(devices));
  for (const RefPtr<block::BlockDevice>& device : devices) {
    format(sink, "{4} {7} {} ", device->number().major, device->number().minor, device->name());
    block::put_statistics(sink, *device, 0);
    sink.put("\n");
  }
  return {};
}

// proc_stat(5). The host schedules, so a task's time is not tied to one processor: each gets an equal share.
Result<void> show_statistics(const Context& context, TextSink& sink) {
  const MachineTotals totals = TRY(machine_totals(context.kernel));
  const unsigned cpus = context.kernel.options.cpus;
  const uint64_t user = totals.user_ns / kTickNs, system = totals.system_ns / kTickNs, idle = idle_ns(context, totals) / kTickNs;
  format(sink, "cpu  {} 0 {} {} 0 0 0 0 0 0\n", user, system, idle);
  for (unsigned cpu = 0; cpu < cpus; ++cpu) format(sink, "cpu{} {} 0 {} {} 0 0 0 0 0 0\n", cpu, user / cpus, system / cpus, idle / cpus);
  format(sink, "intr 0\nctxt {}\nbtime {}\nprocesses {}\nprocs_running {}\nprocs_blocked 0\nsoftirq 0 0 0 0 0 0 0 0 0 0 0\n", totals.switches,
         (time::realtime_ns() - uptime_ns(context.kernel)) / 1'000'000'000, totals.newest, std::max<uint64_t>(totals.running, 1));
  return {};
}

// What is only written: root may open it for reading all the same.
Result<void> refuse_to_show(const Context&, TextSink&) { return error(EIO); }

Result<void> store_sysrq(const Context& context, std::string_view text) {
  if (!text.empty()) sysrq::handle(context.kernel, text[0], sysrq::Source::Trigger, nullptr);
  return {};
}

// What a program has to say to who runs the machine.
Result<void> store_notice(const Context& context, std::string_view text) { return context.kernel.user_notices.post(text); }

Result<void> show_swaps(const Context&, TextSink& sink) {
  sink.put("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
  return {};
}

Result<void> show_uptime(const Context& context, TextSink& sink) {
  const MachineTotals totals = TRY(machine_totals(context.kernel));
  put_seconds(sink, uptime_ns(context.kernel));
  sink.put(" ");
  put_seconds(sink, idle_ns(context, totals));
  sink.put("\n");
  return {};
}

Result<void> show_version(const Context&, TextSink& sink) {
  format(sink, "{} version {} (umk) (gcc " __VERSION__ ") {}\n", version::kSystem, version::kRelease, version::kVersion);
  return {};
}

}  // namespace umk::proc

#include "core/fs/sysfs/tree.h"

#include <algorithm>

#include "core/kernel/device/device_registry.h"
#include "core/kernel/mm/cache_window.h"
#include "core/kernel/task/kernel.h"

namespace umk::sysfs {

namespace {

/// Processors [first, past_end) as sysfs writes sets: "0-3", "0", or nothing.
void put_list(TextSink& sink, unsigned first, unsigned past_end) {
  if (past_end > first + 1) format(sink, "{}-{}\n", first, past_end - 1);
  else if (past_end > first) format(sink, "{}\n", first);
  else sink.put("\n");
}

/// The same as a bit mask as wide as `count` processors, in words of 32 bits.
void put_mask(TextSink& sink, unsigned count, unsigned first, unsigned past_end) {
  for (unsigned word = (count + 31) / 32; word-- > 0;) {
    uint32_t bits = 0;
    for (unsigned bit = 0; bit < 32; ++bit)
      if (word * 32 + bit >= first && word * 32 + bit < past_end) bits |= uint32_t{1} << bit;
    // The first word is as wide as the set.
    const unsigned digits = word == (count - 1) / 32 ? ((count - 1) % 32) / 4 + 1 : 8;
    format(sink, "{0*x}{}", digits, bits, word == 0 ? "\n" : ",");
  }
}

Result<void> add_list(Directory& directory, std::string_view name, unsigned first, unsigned past_end) {
  StringSink text;
  put_list(text, first, past_end);
  return directory.add_file(name, TRY(text.take()));
}

Result<void> add_mask(Directory& directory, std::string_view name, unsigned count, unsigned first, unsigned past_end) {
  StringSink text;
  put_mask(text, count, first, past_end);
  return directory.add_file(name, TRY(text.take()));
}

// One package whose cores have one thread each: what /proc/cpuinfo says too.
Result<void> add_processor(Directory& processors, unsigned cpu, unsigned count) {
  Directory& directory = *TRY(processors.directory(TRY(format_string("cpu{}", cpu))));
  Directory& topology = *TRY(directory.directory("topology"));
  TRY(topology.add_file("physical_package_id", "0\n"));
  TRY(topology.add_file("die_id", "0\n"));
  TRY(topology.add_file("core_id", TRY(format_string("{}\n", cpu))));
  for (const std::string_view name : {"core_cpus", "thread_siblings"}) {
    TRY(add_mask(topology, name, count, cpu, cpu + 1));
    TRY(add_list(topology, TRY(format_string("{}_list", name)), cpu, cpu + 1));
  }
  for (const std::string_view name : {"core_siblings", "package_cpus", "die_cpus"}) {
    TRY(add_mask(topology, name, count, 0, count));
    TRY(add_list(topology, TRY(format_string("{}_list", name)), 0, count));
  }
  if (cpu != 0) TRY(directory.add_file("online", "1\n"));
  return directory.add_link("node0", "../../node/node0");
}

Result<void> add_processors(Directory& root, unsigned count) {
  Directory& processors = *TRY(root.directory("devices/system/cpu"));
  for (const std::string_view name : {"online", "possible", "present"}) TRY(add_list(processors, name, 0, count));
  TRY(add_list(processors, "offline", 0, 0));
  TRY(add_list(processors, "isolated", 0, 0));
  TRY(processors.add_file("kernel_max", TRY(format_string("{}\n", count - 1))));
  for (unsigned cpu = 0; cpu < count; ++cpu) TRY(add_processor(processors, cpu, count));
  return {};
}

// What libnuma asks for, in the words of proc_meminfo(5). The private memory of programs is the host's and is not counted as used here.
Result<void> show_memory(Kernel& kernel, TextSink& sink) {
  uint64_t cache = 0, objects = 0;
  if (kernel.cache_window) {
    const MemoryAccount& account = kernel.cache_window->account();
    cache = account.charged(MemoryAccount::Use::PageCache);
    objects = account.charged(MemoryAccount::Use::KernelObjects);
  }
  const uint64_t total = kernel.options.memory_bytes;
  const uint64_t used = std::min(cache + objects, total);
  const struct {
    std::string_view name;
    uint64_t bytes;
  } lines[] = {{"MemTotal:", total},  {"MemFree:", total - used}, {"MemUsed:", used},
               {"FilePages:", cache}, {"Shmem:", cache},          {"Slab:", objects}};
  for (const auto& line : lines) format(sink, "Node 0 {-15} {8} kB\n", line.name, line.bytes / 1024);
  return {};
}

Result<void> add_memory_node(Directory& root, unsigned cpus, Kernel& kernel) {
  Directory& nodes = *TRY(root.directory("devices/system/node"));
  for (const std::string_view name : {"online", "possible", "has_cpu", "has_memory", "has_normal_memory"}) TRY(nodes.add_file(name, "0\n"));
  Directory& node = *TRY(nodes.directory("node0"));
  TRY(add_list(node, "cpulist", 0, cpus));
  TRY(add_mask(node, "cpumap", cpus, 0, cpus));
  TRY(node.add_file("distance", "10\n"));
  TRY(node.add_live_file("meminfo", kernel, show_memory));
  for (unsigned cpu = 0; cpu < cpus; ++cpu) {
    const String name = TRY(format_string("cpu{}", cpu));
    TRY(node.add_link(name, TRY(format_string("../../cpu/{}", name))));
  }
  return {};
}

Result<void> show_event_number(Kernel& kernel, TextSink& sink) {
  format(sink, "{}\n", kernel.devices->uevents().last_number());
  return {};
}

Result<void> show_event_helper(Kernel& kernel, TextSink& sink) {
  format(sink, "{}\n", TRY(kernel.devices->uevents().helper()));
  return {};
}

Result<void> store_event_helper(Kernel& kernel, std::string_view text) { return kernel.devices->uevents().set_helper(text); }

// systemd starts a getty on each of them but tty0. The last is /dev/console, as in Linux.
Result<void> show_active_consoles(Kernel& kernel, TextSink& sink) {
  const KernelLog& log = kernel.kernel_log;
  for (size_t i = log.console_count; i-- > 0;) format(sink, "{}{}", std::string_view(log.consoles[i].name), i > 0 ? " " : "");
  sink.put("\n");
  return {};
}

Result<String> number_text(const device::Node& node) { return format_string("{}:{}", node.number.major, node.number.minor); }

}  // namespace

Result<void> add_device(Directory& root, const device::Node& node, device::Uevents& uevents) {
  const std::string_view kind = device::class_of(node);
  const String name = TRY(device::place_name_of(node));
  const String place = TRY(device::place_of(node));
  const String number = TRY(number_text(node));
  Directory& directory = *TRY(root.directory(place));
  TRY(directory.add_file("dev", TRY(format_string("{}\n", number))));
  StringSink properties;
  device::put_properties(properties, node);
  if (properties.failed()) return error(ENOMEM);
  TRY(directory.add_uevent_file(
      uevents, {.action = device::UeventAction::Add, .place = place, .subsystem = kind, .properties = properties.view(), .remarks = {}}));
  TRY(directory.add_link("subsystem", TRY(format_string("../../../../class/{}", kind))));
  TRY(TRY(root.directory(TRY(format_string("class/{}", kind))))->add_link(name, TRY(format_string("../../{}", place))));
  return TRY(root.directory("dev/char"))->add_link(number, TRY(format_string("../../{}", place)));
}

void remove_device(Directory& root, const device::Node& node) {
  const auto remove_from = [&](std::string_view path, std::string_view name) {
    const Result<Directory*> directory = root.directory(path);
    if (directory.ok()) directory.value()->remove(name);
  };
  const Result<String> name = device::place_name_of(node), number = number_text(node);
  const Result<String> class_directory = format_string("class/{}", device::class_of(node)),
                       places = format_string("devices/virtual/{}", device::class_of(node));
  if (!name.ok() || !number.ok() || !class_directory.ok() || !places.ok()) return;
  remove_from("dev/char", number.value());
  remove_from(class_directory.value(), name.value());
  remove_from(places.value(), name.value());
}

Result<void> build_tree(Directory& root, Kernel& kernel) {
  for (const std::string_view path :
       {"block", "bus", "class/block", "class/mem", "class/net", "class/tty", "dev/block", "dev/char", "devices/system", "devices/virtual",
        "firmware", "fs/cgroup", "kernel/mm/transparent_hugepage", "module"})
    TRY(root.directory(path));
  TRY(TRY(root.directory("kernel/mm/transparent_hugepage"))->add_file("enabled", "always madvise [never]\n"));
  const unsigned cpus = std::max(kernel.options.cpus, 1u);
  TRY(add_processors(root, cpus));
  TRY(add_memory_node(root, cpus, kernel));
  if (!kernel.devices) return {};
  Directory& own = *TRY(root.directory("kernel"));
  TRY(own.add_live_file("uevent_seqnum", kernel, show_event_number));
  TRY(TRY(root.directory("devices/virtual/tty/console"))->add_live_file("active", kernel, show_active_consoles));
  return own.add_setting("uevent_helper", kernel, show_event_helper, store_event_helper);
}

}  // namespace umk::sysfs

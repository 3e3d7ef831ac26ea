// Files of /proc/PID that tell about a program's memory: cmdline, environ, auxv, maps, smaps.
#include <algorithm>

#include "core/fs/proc/proc.h"
#include "core/fs/proc/process_files.h"
#include "core/fs/proc/task_facts.h"

namespace umk::proc {

namespace {

// Arguments and environment are limited by the stack; more than this was not put there by exec.
constexpr uint64_t kLongestText = 8 << 20;

/// Shows guest memory, as far as it can be read.
void put_user_memory(TextSink& sink, mm::AddressSpace& space, uint64_t start, uint64_t end) {
  std::byte bytes[4096];
  if (end < start || end - start > kLongestText) return;
  while (start < end) {
    const size_t wanted = std::min<uint64_t>(end - start, sizeof bytes);
    const size_t got = space.read_foreign(start, {bytes, wanted}, mm::AddressSpace::Rights::Debugger);
    sink.put({reinterpret_cast<const char*>(bytes), got});
    if (got < wanted) return;
    start += wanted;
  }
}

/// An area as it was when it was looked at.
struct Mapping {
  uint64_t start, end, offset;
  int protection, maximum_protection;
  uint32_t flags;
  RefPtr<vfs::OpenFile> file;
  std::string_view label;
};

RefPtr<vfs::OpenFile> open_file_of(const mm::Area& area) { return static_cast<vfs::OpenFile*>(area.file.get()); }

Result<Vector<Mapping>> mappings_of(mm::AddressSpace& space) {
  Vector<Mapping> mappings;
  Result<void> outcome;
  space.for_each_area([&](const mm::Area& area) {
    if (!outcome.ok()) return;
    outcome = mappings.push_back({area.start, area.end, area.offset, area.protection, area.maximum_protection, area.flags, open_file_of(area), area.label});
  });
  TRY(std::move(outcome));
  return mappings;
}

void put_escaped_name(TextSink& sink, std::string_view name) {
  for (const char character : name) {
    if (character == '\n') sink.put("\\012");
    else sink.put({&character, 1});
  }
}

// proc_pid_maps(5): names begin at column 73.
Result<void> put_mapping(Kernel& kernel, const Mapping& mapping, TextSink& sink) {
  constexpr size_t kNameColumn = 73;
  char buffer[128];
  BufferSink line(buffer);
  const bool is_shared = mapping.flags & mm::map_flags::kShared;
  format(line, "{08x}-{08x} {}{}{}{}", mapping.start, mapping.end, mapping.protection & guest::kProtRead ? 'r' : '-',
         mapping.protection & guest::kProtWrite ? 'w' : '-', mapping.protection & guest::kProtExec ? 'x' : '-', is_shared ? 's' : 'p');
  String name;
  if (mapping.file) {
    const vfs::Inode& inode = mapping.file->inode();
    const vfs::DeviceNumber device = inode.superblock().device();
    format(line, " {08x} {02x}:{02x} {} ", mapping.offset, device.major, device.minor, inode.number());
    name = mapping.file->path() ? TRY(path_text(kernel, mapping.file->path())) : TRY(mapping.file->describe());
  } else {
    format(line, " {08x} 00:{} 0 ", is_shared ? mapping.offset : 0, is_shared ? "01" : "00");
    name = TRY(String::from(is_shared ? "/dev/zero (deleted)" : mapping.label));
  }
  sink.put(line.view());
  if (!name.empty()) {
    for (size_t column = line.view().size(); column < kNameColumn; ++column) sink.put(" ");
    put_escaped_name(sink, name);
  }
  sink.put("\n");
  return {};
}

struct Resident {
  uint64_t file = 0, anonymous = 0;  // bytes
  uint64_t sum() const { return file + anonymous; }
};

/// What is in memory of a mapping.
Resident resident_of(mm::AddressSpace& space, const Mapping& mapping) {
  Resident resident;
  if (mapping.protection == 0) return resident;
  const uint64_t bytes = resident_pages(space, mapping.start, mapping.end) * kPageSize;
  (mapping.file ? resident.file : resident.anonymous) = bytes;
  return resident;
}

void put_size(TextSink& sink, std::string_view name, uint64_t bytes) { format(sink, "{-16}{8} kB\n", name, bytes / 1024); }

/// The lines that smaps and smaps_rollup share. Whether others map a page too is not known: pages of files count as shared, others as private.
void put_resident(TextSink& sink, const Resident& resident, uint64_t locked) {
  put_size(sink, "Shared_Clean:", resident.file);
  put_size(sink, "Shared_Dirty:", 0);
  put_size(sink, "Private_Clean:", 0);
  put_size(sink, "Private_Dirty:", resident.anonymous);
  put_size(sink, "Referenced:", resident.sum());
  put_size(sink, "Anonymous:", resident.anonymous);
  for (const std::string_view name : {"KSM:", "LazyFree:", "AnonHugePages:", "ShmemPmdMapped:", "FilePmdMapped:", "Shared_Hugetlb:", "Private_Hugetlb:",
                                      "Swap:", "SwapPss:"})
    put_size(sink, name, 0);
  put_size(sink, "Locked:", locked);
}

void put_flags(TextSink& sink, const Mapping& mapping) {
  using namespace mm::map_flags;
  sink.put("VmFlags:");
  const auto flag = [&](bool is_set, std::string_view name) {
    if (is_set) format(sink, " {}", name);
  };
  flag(mapping.protection & guest::kProtRead, "rd");
  flag(mapping.protection & guest::kProtWrite, "wr");
  flag(mapping.protection & guest::kProtExec, "ex");
  flag(mapping.flags & kShared, "sh");
  flag(mapping.maximum_protection & guest::kProtRead, "mr");
  flag(mapping.maximum_protection & guest::kProtWrite, "mw");
  flag(mapping.maximum_protection & guest::kProtExec, "me");
  flag(mapping.flags & kShared, "ms");
  flag(mapping.flags & kGrowsDown, "gd");
  flag(mapping.flags & kLocked, "lo");
  flag(mapping.flags & kNoReserve, "nr");
  sink.put(" \n");
}

/// The address space of the subject, null for a task that has ended.
Result<RefPtr<mm::AddressSpace>> space_of(const Context& context) {
  const RefPtr<Task> task = TRY(context.subject.find(context.kernel));
  return task->address_space_ref();
}

}  // namespace

// The arguments, or what the program has made of them: proc_pid_cmdline(5). When the last NUL was overwritten the text goes on into the environment, as
// programs that set their title do.
Result<void> show_arguments(const Context& context, TextSink& sink) {
  const RefPtr<mm::AddressSpace> space = TRY(space_of(context));
  if (!space) return {};
  const uint64_t start = space->arguments_start, end = space->arguments_end;
  if (end <= start) return {};
  std::byte last{};
  if (space->read_foreign(end - 1, {&last, 1}, mm::AddressSpace::Rights::Debugger) == 0) return {};
  if (last == std::byte{0}) {
    put_user_memory(sink, *space, start, end);
    return {};
  }
  StringSink title;
  put_user_memory(title, *space, start, space->environment_end);
  sink.put(title.view().substr(0, title.view().find('\0')));
  return {};
}

Result<void> show_environment(const Context& context, TextSink& sink) {
  const RefPtr<mm::AddressSpace> space = TRY(space_of(context));
  if (space) put_user_memory(sink, *space, space->environment_start, space->environment_end);
  return {};
}

Result<void> show_auxiliary_vector(const Context& context, TextSink& sink) {
  const RefPtr<mm::AddressSpace> space = TRY(space_of(context));
  if (space) sink.put({reinterpret_cast<const char*>(space->auxiliary_vector.data()), space->auxiliary_vector.size() * sizeof(uint64_t)});
  return {};
}

Result<void> show_maps(const Context& context, TextSink& sink) {
  const RefPtr<mm::AddressSpace> space = TRY(space_of(context));
  if (!space) return {};
  const Vector<Mapping> mappings = TRY(mappings_of(*space));
  for (const Mapping& mapping : mappings) TRY(put_mapping(context.kernel, mapping, sink));
  return {};
}

Result<void> show_detailed_maps(const Context& context, TextSink& sink) {
  const RefPtr<mm::AddressSpace> space = TRY(space_of(context));
  if (!space) return {};
  const Vector<Mapping> mappings = TRY(mappings_of(*space));
  for (const Mapping& mapping : mappings) {
    TRY(put_mapping(context.kernel, mapping, sink));
    const Resident resident = resident_of(*space, mapping);
    put_size(sink, "Size:", mapping.end - mapping.start);
    put_size(sink, "KernelPageSize:", kPageSize);
    put_size(sink, "MMUPageSize:", kPageSize);
    put_size(sink, "Rss:", resident.sum());
    put_size(sink, "Pss:", resident.sum());
    put_size(sink, "Pss_Dirty:", resident.anonymous);
    put_resident(sink, resident, mapping.flags & mm::map_flags::kLocked ? resident.sum() : 0);
    sink.put("THPeligible:           0\n");
    put_flags(sink, mapping);
  }
  return {};
}

Result<void> show_maps_sum(const Context& context, TextSink& sink) {
  const RefPtr<mm::AddressSpace> space = TRY(space_of(context));
  if (!space) return {};
  const Vector<Mapping> mappings = TRY(mappings_of(*space));
  if (mappings.empty()) return {};
  Resident sum;
  for (const Mapping& mapping : mappings) {
    const Resident resident = resident_of(*space, mapping);
    sum.file += resident.file;
    sum.anonymous += resident.anonymous;
  }
  format(sink, "{08x}-{08x} ---p 00000000 00:00 0                          [rollup]\n", mappings[0].start, mappings.back().end);
  put_size(sink, "Rss:", sum.sum());
  put_size(sink, "Pss:", sum.sum());
  put_size(sink, "Pss_Dirty:", sum.anonymous);
  put_size(sink, "Pss_Anon:", sum.anonymous);
  put_size(sink, "Pss_File:", sum.file);
  put_size(sink, "Pss_Shmem:", 0);
  put_resident(sink, sum, space->locked_bytes());
  return {};
}

}  // namespace umk::proc

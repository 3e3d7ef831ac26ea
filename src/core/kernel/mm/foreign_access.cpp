// Guest memory read and written by others than the guest: /proc/PID/mem, process_vm_readv(2), arguments and environment in /proc, a debugger.
#include "core/kernel/mm/address_space.h"
#include "core/kernel/mm/cached_file.h"

namespace umk::mm {

namespace {

using guest::kProtExec, guest::kProtRead, guest::kProtWrite;

constexpr uint64_t kFaultWrite = 2;

struct Job {
  AddressSpace& space;
  const uint64_t address;
  const std::span<std::byte> bytes;
  const bool to_guest;
  const AddressSpace::Rights rights;
  size_t done = 0;
};

/// proc(5), "/proc/pid/mem", and the FOLL_FORCE of debuggers: what a private mapping forbids the guest it does not forbid them.
bool is_allowed(const Area& area, bool to_guest, AddressSpace::Rights rights) {
  const int needed = to_guest ? kProtWrite : kProtRead;
  if (!area.is_visible()) return false;
  // What is writable or executable is readable for the processor, and for those who look.
  if (to_guest ? (area.protection & kProtWrite) != 0 : area.protection != 0) return true;
  if (rights == AddressSpace::Rights::Guest || !(area.maximum_protection & needed)) return false;
  return !to_guest || area.is_private();
}

}  // namespace

size_t AddressSpace::copy_foreign(uint64_t address, std::span<std::byte> bytes, bool to_guest, Rights rights) {
  if (address >= layout::kUserEnd) return 0;
  if (bytes.size() > layout::kUserEnd - address) bytes = bytes.first(layout::kUserEnd - address);
  Job job{.space = *this, .address = address, .bytes = bytes, .to_guest = to_guest, .rights = rights};
  // Nothing is copied when the address space is gone.
  (void)engine_.run_in(
      *this,
      [](void* argument) {
        Job& todo = *static_cast<Job*>(argument);
        while (todo.done < todo.bytes.size()) {
          const size_t copied = todo.space.copy_piece(todo.address + todo.done, todo.bytes.subspan(todo.done), todo.to_guest, todo.rights);
          if (copied == 0) break;
          todo.done += copied;
        }
      },
      &job);
  return job.done;
}

namespace {

/// The guest itself could not do it.
bool needs_force(const Area& area, bool to_guest) { return (to_guest ? area.protection & kProtWrite : area.protection) == 0; }

}  // namespace

// Copies what lies in one area, up to the first page that cannot be had.
size_t AddressSpace::copy_piece(uint64_t address, std::span<std::byte> bytes, bool to_guest, Rights rights) {
  RefPtr<MappableFile> text_file;
  uint64_t text_offset = 0;
  bool is_forced, has_access;
  {
    MutexLock lock(mutex_);
    Area* area = find_locked(address);
    if (!area || !is_allowed(*area, to_guest, rights)) return 0;
    if (bytes.size() > area->end - address) bytes = bytes.first(area->end - address);
    is_forced = needs_force(*area, to_guest);
    has_access = area->protection != 0;
    // The kernel's copy has patches, which are not the file's.
    if (area->backing == Area::Backing::Text && !to_guest && area->file && address < area->mapped_end) {
      text_file = area->file;
      text_offset = area->source_offset(address);
    } else if (const size_t copied = engine_.copy_memory(address, bytes.data(), bytes.size(), to_guest); copied != 0) {
      return copied;
    }
  }
  const size_t rest_of_page = kPageSize - address % kPageSize;
  if (text_file) {
    const Result<size_t> read = text_file->page_source()->read_for_text(text_offset, bytes);
    if (read.ok() && read.value() != 0) return read.value();
    // Behind the end of the file the last page is zero.
    if (address % kPageSize == 0) return 0;
    if (bytes.size() > rest_of_page) bytes = bytes.first(rest_of_page);
    for (std::byte& byte : bytes) byte = std::byte{0};
    return bytes.size();
  }
  if (bytes.size() > rest_of_page) bytes = bytes.first(rest_of_page);
  // As if the guest did it: the page is brought in, and what is written is told of.
  bool is_mapped = false;
  const bool is_there = has_access && handle_fault(address, to_guest && !is_forced ? kFaultWrite : 0, &is_mapped).ok();
  if (!is_there && !is_forced) return 0;
  DeadAreas dead;
  MutexLock lock(mutex_);
  Area* area = find_locked(address);
  if (!area || !is_allowed(*area, to_guest, rights)) return 0;
  if (const size_t copied = engine_.copy_memory(address, bytes.data(), bytes.size(), to_guest); copied != 0) return copied;
  return needs_force(*area, to_guest) ? force_locked(*area, address, bytes, to_guest, dead) : 0;
}

// Within one page, which the guest has made inaccessible for itself.
size_t AddressSpace::force_locked(Area& area, uint64_t address, std::span<std::byte> bytes, bool to_guest, DeadAreas& dead) {
  const uint64_t page = page_down(address);
  Area* here = &area;
  if (address >= here->mapped_end) return 0;
  if (here->backing == Area::Backing::Cache && here->source->cached()) {
    // What is not in the cache cannot be opened.
    if (!here->source->cached()->is_present(here->source_offset(page) >> kPageShift)) return 0;
  }
  if (here->backing == Area::Backing::Text) {
    // This page gets a copy of its own, as if the guest had made it writable and executable again.
    if (!isolate_locked(page, page + kPageSize).ok()) return 0;
    here = find_locked(page);
    const Result<void> sealed = seal_locked(*here);
    drop_unused_trampolines_locked(dead);
    if (!sealed.ok()) return 0;
  }
  if (to_guest) here->was_writable = true;
  if (!engine_.protect(page, kPageSize, kProtRead | (to_guest ? kProtWrite : 0)).ok()) return 0;
  const size_t copied = engine_.copy_memory(address, bytes.data(), bytes.size(), to_guest);
  (void)engine_.protect(page, kPageSize, host_protection(*here));
  return copied;
}

}  // namespace umk::mm

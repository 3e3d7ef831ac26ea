// The image's entry points for the monitor.
#include <errno.h>
#include <signal.h>
#include <sys/mman.h>

#include <cstring>

#include "core/base/log.h"
#include "core/host/calls.h"
#include "core/init/machine_start.h"
#include "core/kernel/mm/cache_window.h"
#include "core/kernel/mm/page_cache.h"
#include "core/kernel/task/kernel.h"
#include "core/kernel/vfs/vfs.h"
#include "core/memory/kernel_heap.h"
#include "engine/gate/call_filter.h"
#include "engine/gate/gate.h"
#include "engine/resident/out_of_memory.h"
#include "engine/resident/patching.h"
#include "engine/resident/resident_engine.h"
#include "engine/vdso/vdso.h"
#include "engine/vessel/host_numbers.h"
#include "engine/vessel/identity.h"

namespace umk::engine {

namespace {

/// Kernel stacks for the monitor's threads. They are fixed, so that attaching needs neither heap nor lock: both may call the host, which only code
/// on a kernel stack can.
constexpr int kAttachedStacks = 16;
struct alignas(UMK_BUNDLE_BYTES) AttachedStack {
  std::byte bytes[UMK_BUNDLE_BYTES];
};
constinit AttachedStack attached_stacks[kAttachedStacks] = {};
constinit std::atomic<bool> attached_in_use[kAttachedStacks] = {};
/// Nothing dispatches the monitor's host calls: their selector is never looked at.
constinit SelectorLine unused_line;

struct Attachment {
  void (*body)(void*);
  void* argument;
  HostThread* context;
  uint64_t caller_rsp;
};

[[noreturn]] void attached_main(void* argument) {
  auto& attachment = *static_cast<Attachment*>(argument);
  attachment.body(attachment.argument);
  umk_switch_stack(&attachment.context->switch_rsp, attachment.caller_rsp);
  __builtin_unreachable();
}

void run_attached(void (*body)(void*), void* argument) {
  int index = 0;
  while (attached_in_use[index].exchange(true)) index = (index + 1) % kAttachedStacks;
  auto* context = new (&attached_stacks[index]) HostThread;
  context->host = context;
  context->current = context;
  context->line = &unused_line;
  context->head.selector = &unused_line.selector;
  Attachment attachment{body, argument, context, 0};
  prepare_context(*context, context->stack_top(), attached_main, &attachment);
  umk_switch_stack(&attachment.caller_rsp, context->switch_rsp);
  attached_in_use[index].store(false);
}

// Objects that live as long as the machine.
alignas(ResidentEngine) constinit std::byte engine_storage[sizeof(ResidentEngine)] = {};
alignas(Kernel) constinit std::byte kernel_storage[sizeof(Kernel)] = {};

void boot_attached(void* argument) {
  const auto& parameters = *static_cast<const BootParameters*>(argument);
  make_machine(parameters);
  Machine& m = machine();
  const uint64_t heap_start = page_up(layout::kKernelData + parameters.kernel_data_used);
  KernelHeap::set_global(KernelHeap::create(heap_start, layout::kKernelData + parameters.kernel_data_bytes - heap_start));
  fill_vdso_slots({.clock_gettime = parameters.vdso_clock_gettime, .gettimeofday = parameters.vdso_gettimeofday, .time = parameters.vdso_time,
                   .getcpu = parameters.vdso_getcpu, .gate = reinterpret_cast<uint64_t>(gate().entry)});
  auto* resident = new (engine_storage) ResidentEngine;
  BootOptions options;
  options.memory_bytes = parameters.memory_bytes;
  options.cpus = parameters.cpus;
  options.quiet = parameters.quiet;
  options.ends_with_init = parameters.ends_with_init;
  options.command_line = m.parameters.command_line;
  m.kernel = new (kernel_storage) Kernel(*resident, options);
  m.vessels_wanted.store(parameters.vessels_at_boot);
}

void boot(const BootParameters* parameters) { run_attached(boot_attached, const_cast<BootParameters*>(parameters)); }

struct KernelSigaction {
  void (*handler)();
  uint64_t flags;
  void (*restorer)();
  uint64_t mask;
};

constexpr uint64_t signal_bit(int signal) { return uint64_t{1} << (signal - 1); }

/// Handlers and mask that all vessels inherit: synchronous faults and the kick come through, everything else waits for ever.
void install_signal_handlers() {
  constexpr int kHandled[] = {SIGSYS, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, kKickSignal};
  uint64_t blocked = ~uint64_t{0};
  for (const int signal : kHandled) {
    constexpr uint64_t kRestorerFlag = 0x04000000;
    const KernelSigaction action{gate().signal_entry, SA_SIGINFO | SA_ONSTACK | kRestorerFlag, umk_signal_restorer, ~uint64_t{0}};
    MUST(host::checked(host::raw_call(host::Call::RtSigaction, static_cast<uint64_t>(signal), reinterpret_cast<uint64_t>(&action), 0, 8)), "valid signals");
    blocked &= ~signal_bit(signal);
  }
  host::raw_call(host::Call::RtSigprocmask, SIG_SETMASK, reinterpret_cast<uint64_t>(&blocked), 0, 8);
}

/// Leaves nothing mapped but the kernel and the host's vDSO, which moves to its fixed place.
void strip_address_space() {
  const BootParameters& parameters = machine().parameters;
  const uint64_t vdso_length = parameters.vdso_end - parameters.vdso_start;
  for (uint32_t i = 0; i < parameters.vdso_piece_count; ++i) {
    const BootParameters::Range& piece = parameters.vdso_pieces[i];
    const uint64_t target = layout::kHostVdso + (piece.start - parameters.vdso_start);
    const uint64_t length = piece.end - piece.start;
    MUST(host::checked(host::raw_call(host::Call::Mremap, piece.start, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, target)), "the vDSO can be moved");
  }
  constexpr uint64_t kTop = 0x7fff'ffff'f000;
  const uint64_t vdso_end = layout::kHostVdso + vdso_length;
  auto unmap = [](uint64_t from, uint64_t to) {
    if (from < to) MUST(host::munmap(from, to - from), "whole ranges");
  };
  unmap(layout::kUserStart, layout::kSlots);
  unmap(layout::kSlots + layout::kSlotsBytes, layout::kHostVdso);
  unmap(page_up(vdso_end), layout::kImage);
  unmap(layout::kImage + layout::kImageBytes, layout::kKernelData);
  unmap(layout::kKernelData + layout::kKernelDataBytes, layout::kCacheWindow);
  unmap(layout::kCacheWindow + layout::kCacheWindowBytes, kTop);
  MUST(host::mmap(layout::kSlots, layout::kSlotsBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0),
       "a small mapping in an empty address space");
}

/// Behind the shield: the vessel page, and the identity that all vessels inherit.
void become_first_identity() {
  map_vessel_page();
  void* low_page = reinterpret_cast<void*>(layout::kUserStart);
  MUST(host::mmap(layout::kUserStart, kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), "the address space is empty");
  CHECK(take_identity(0, low_page), "the host's 32-bit calls were tried before boot");
  MUST(host::munmap(layout::kUserStart, kPageSize), "unmapping whole ranges needs no memory");
}

void nursery_attached(void*) {
  strip_address_space();
  if (machine().parameters.shield) become_first_identity();
  install_signal_handlers();
  if (machine().parameters.filters_calls) install_call_filter();
  run_nursery();
}

void start_attached_nursery() { run_attached(nursery_attached, nullptr); }

}  // namespace

namespace {
/// What can be read again goes: pages of files, and if these are not enough names, with the inodes that nobody else holds.
uint64_t reclaim_memory(uint64_t bytes) {
  constexpr size_t kNamesAtOnce = 1024;
  Kernel& kernel = *machine().kernel;
  const MemoryAccount& account = kernel.cache_window->account();
  const uint64_t freed = kernel.page_cache->reclaim_thoroughly(bytes / kPageSize + 1) * kPageSize;
  const uint64_t charged = account.charged();
  uint64_t by_names = 0;
  while (freed + by_names < bytes && kernel.vfs->dentries().shrink(kNamesAtOnce) != 0) {
    const uint64_t now = account.charged();
    by_names = now < charged ? charged - now : 0;
  }
  return freed + by_names;
}
}  // namespace

/// Found by the monitor through the image's ELF entry point.
extern "C" {
extern const ImageHeader umk_image_header;
[[gnu::section(".umk.header"), gnu::used]] constinit const ImageHeader umk_image_header{
    .magic = ImageHeader::kMagic,
    .boot = boot,
    .run_nursery = start_attached_nursery,
    .run_attached = run_attached,
    .start_machine = [](const init::StartRequest* request, init::StartOutcome* outcome) { *outcome = init::start(*machine().kernel, *request); },
    .run_timers = [] { init::run_timers(*machine().kernel); },
    .run_write_back = [] { init::run_write_back(*machine().kernel); },
    .run_disk_queue = [](ubd::HostQueue* queue) { init::run_disk_queue(*queue); },
    .run_console = [](console::ConsoleDriver* console) { init::run_console(*console); },
    .wait_for_end = [](int* exit_code) { return init::wait_for_end(*machine().kernel, exit_code); },
    .signal_init = [](int signal) { init::signal_first_process(*machine().kernel, signal); },
    .kernel = [] { return machine().kernel; },
    .selector_lines = umk_selector_lines,
    .selector_line_bytes = sizeof umk_selector_lines,
    .status = [] { return &machine().status; },
    .patch = {.next = next_patch_job,
              .read_file = read_patch_file,
              .announce = announce_patch,
              .count = count_patches,
              .rest = rest_from_patches,
              .is_alive = is_patched_text_alive},
    .memory = {.wait_for_overcommit = [] { machine().kernel->cache_window->account().wait_for_overcommit(); },
               .is_overcommitted = [] { return machine().kernel->cache_window->account().is_overcommitted(); },
               .limit_bytes = [] { return machine().kernel->cache_window->account().limit(); },
               .charged_bytes = [] { return machine().kernel->cache_window->account().charged(); },
               .reclaim = reclaim_memory,
               .make_way = [] { machine().kernel->page_cache->make_way_for_commitments(); },
               .list_users = list_memory_users,
               .kill = kill_for_memory},
    .management = &kManagementFunctions,
    .vessel_ended = vessel_process_ended,
};
}

}  // namespace umk::engine

// The host's signals: how traps, faults and kicks reach the kernel.
//
// A handler never runs the kernel. It looks where the host interrupted the thread, saves the general registers where the kernel expects
// them, redirects the saved context to the gate and returns; the kernel then runs on its own stack with the guest's vector registers live. Handlers
// run with all signals blocked, so they never nest, on the alternate stack of the host thread.
//
//   where the thread was        SIGSYS           fault                            kick
//   guest code                  gate entry       register block, gate_interrupt   register block, gate_interrupt
//   gate, leaving               -                a guest fault (bad rip)          gate_interrupt: begin the exit again
//   gate, entering; kernel      kernel bug, or   fixup of a user copy, or panic   nothing: the exit looks for work
//                               the vDSO's call
//
// Behind the shield a guest that jumped into the kernel's text is told from the kernel by the mark in the thread's selector line, and its process ends.
#include <signal.h>
#include <ucontext.h>

#include "core/host/calls.h"
#include "core/kernel/guest/user_memory.h"
#include "core/kernel/mm/address_space.h"
#include "engine/gate/gate.h"
#include "engine/resident/panic.h"
#include "engine/vessel/host_numbers.h"
#include "engine/vessel/machine.h"

namespace umk::engine {

namespace {

struct Fixup {
  uint64_t from, to, landing;
};

extern "C" const Fixup umk_fixups_start[], umk_fixups_end[];

/// Registers of an interrupted host context.
class Interrupted {
 public:
  explicit Interrupted(ucontext_t& context) : context_(context), r_(context.uc_mcontext.gregs) {}

  uint64_t rip() const { return get(REG_RIP); }
  uint64_t get(int which) const { return static_cast<uint64_t>(r_[which]); }
  void set(int which, uint64_t value) { r_[which] = static_cast<greg_t>(value); }

  bool is_in_image() const { return rip() >= layout::kImage && rip() < layout::kImage + layout::kImageBytes; }
  /// The kernel ran: its own text, or the host's vDSO on a kernel stack (guests call that too, on stacks of theirs).
  bool is_in_kernel() const {
    if (is_in_image()) return true;
    const uint64_t rsp = get(REG_RSP);
    return rip() >= layout::kUserEnd && rsp >= layout::kKernelData && rsp < layout::kKernelData + layout::kKernelDataBytes;
  }
  bool is_between(void (*from)(), void (*to)()) const {
    return rip() >= reinterpret_cast<uint64_t>(from) && rip() < reinterpret_cast<uint64_t>(to);
  }

  /// Copies what the guest had into the kernel's register block.
  void save(Registers& registers) const {
    registers = {.r15 = get(REG_R15), .r14 = get(REG_R14), .r13 = get(REG_R13), .r12 = get(REG_R12), .rbp = get(REG_RBP), .rbx = get(REG_RBX),
                 .r11 = get(REG_R11), .r10 = get(REG_R10), .r9 = get(REG_R9), .r8 = get(REG_R8), .rax = get(REG_RAX), .rcx = get(REG_RCX),
                 .rdx = get(REG_RDX), .rsi = get(REG_RSI), .rdi = get(REG_RDI), .orig_rax = ~uint64_t{0}, .rip = rip(), .cs = UMK_USER_CS,
                 .eflags = get(REG_EFL), .rsp = get(REG_RSP), .ss = UMK_USER_SS};
  }

  /// The one function that redirects: 64-bit code, clean flags, whatever the guest had made of them.
  void redirect(void (*to)(), uint64_t rsp, uint64_t rdi) {
    set(REG_RIP, reinterpret_cast<uint64_t>(to));
    set(REG_RSP, rsp);
    set(REG_RDI, rdi);
    clean();
  }
  void redirect_keeping_registers(void (*to)()) {
    set(REG_RIP, reinterpret_cast<uint64_t>(to));
    clean_segments();
  }

 private:
  static constexpr uint64_t kStrictRestoreSs = 4;  // UC_STRICT_RESTORE_SS

  void clean_segments() {
    set(REG_CSGSFS, UMK_USER_CS | (uint64_t{UMK_USER_SS} << 48));
    context_.uc_flags |= kStrictRestoreSs;
  }
  void clean() {
    clean_segments();
    set(REG_EFL, 0x202);
  }

  ucontext_t& context_;
  greg_t* r_;
};

constexpr uint8_t kAlignmentCheck = 17, kPageFault = 14, kX87Error = 16, kSimdError = 19;

/// The fault as the processor gave it. A SIGBUS that is no alignment check is the host's word that a mapped file ends before the page.
Trap fault_of(int signal, const siginfo_t& info, const Interrupted& at) {
  if (signal == SIGBUS && at.get(REG_TRAPNO) != kAlignmentCheck)
    return Trap{.kind = TrapKind::Fault, .vector = kPageFault, .address = reinterpret_cast<uint64_t>(info.si_addr),
                .error_code = at.get(REG_ERR) | mm::AddressSpace::kHostBusError};
  const auto vector = static_cast<uint8_t>(at.get(REG_TRAPNO));
  // What kind of floating-point error it was only the host has seen: it says so in the signal's code.
  const bool is_float = vector == kX87Error || vector == kSimdError;
  return Trap{.kind = TrapKind::Fault, .vector = vector, .address = at.get(REG_CR2),
              .error_code = is_float ? static_cast<uint64_t>(info.si_code) : at.get(REG_ERR)};
}

Trap violation_at(const Interrupted& at) { return Trap{.kind = TrapKind::Violation, .address = at.rip()}; }

/// Where a signal met a thread.
enum class Place {
  Guest,      // in guest code, or in the host's vDSO for it
  Entering,   // on the way in; nothing is lost when that is begun again
  Kernel,
  Leaving,    // on the way out; the guest's registers are still in the register block
  Intruding,  // guest code that jumped into the kernel's text
};

Place place_of(const Interrupted& at, const HostThread& host) {
  const Gate& way = gate();
  if (!machine().parameters.shield) {
    if (!at.is_in_kernel()) return Place::Guest;
    if (at.is_between(way.entry, way.entered)) return Place::Entering;
    return at.is_between(way.exit_begin, way.exit_end) ? Place::Leaving : Place::Kernel;
  }
  // The instruction pointer is the guest's to choose; the mark is not.
  if (host.line->in_kernel) return Place::Kernel;
  if (!at.is_in_image()) return Place::Guest;
  if (at.is_between(way.exit_begin, way.exit_end)) return Place::Leaving;
  return at.is_between(way.entry, way.opened) || at.is_between(way.interrupt, way.interrupted) ? Place::Entering : Place::Intruding;
}

/// Lets a thread that was met on the way in go on. It returns from the signal with its host calls let through, so it must not go on where a guest can have
/// jumped to with the kernel's memory closed: it opens the memory once more.
void resume_entry(Interrupted& at) {
  const Gate& way = gate();
  if (at.is_between(way.opens, way.opened)) at.set(REG_RIP, reinterpret_cast<uint64_t>(way.opens));
  if (at.is_between(way.interrupt, way.interrupted)) at.set(REG_RIP, reinterpret_cast<uint64_t>(way.interrupt));
}

/// A GS base that is not the slot's is the guest's own. It may have set it by an instruction, without the kernel's knowing.
void note_gs_base(HostThread& host, Bundle& bundle) {
  const uint64_t base = read_gs_base();
  if (base == reinterpret_cast<uint64_t>(&host.slot())) return;
  if (!bundle.guest_gs_in_use) bundle.gs_was_found = true;
  bundle.guest_gs = base;
  bundle.guest_gs_in_use = 1;
}

/// Sends guest code to the gate as if it had jumped there by itself, its registers as they are.
void redirect_to_entry(Interrupted& at, HostThread& host, Bundle& bundle) {
  note_gs_base(host, bundle);
  write_gs_base(reinterpret_cast<uint64_t>(&host.slot()));
  at.redirect_keeping_registers(gate().entry);
}

/// Sends guest code to the gate's interrupt entry; its registers are in the register block.
void redirect_to_kernel(Interrupted& at, HostThread& host, Bundle& bundle, const Trap& trap) {
  bundle.trap = trap;
  host.line->redirected = 1;
  at.redirect(gate().interrupt, reinterpret_cast<uint64_t>(&bundle.registers()), reinterpret_cast<uint64_t>(&bundle.registers()));
}

/// redirect_to_kernel() for guest code whose registers are those of the frame.
void interrupt_guest(Interrupted& at, HostThread& host, Bundle& bundle, const Trap& trap) {
  at.save(bundle.registers());
  note_gs_base(host, bundle);
  redirect_to_kernel(at, host, bundle, trap);
}

/// A system call that trapped.
void redirect_call(Interrupted& at, HostThread& host, Bundle& bundle, const siginfo_t& info) {
  constexpr uint32_t kArchX8664 = 0xc000003e;
  if (info.si_arch != kArchX8664) {
    // int $0x80: there is no 32-bit call interface here; the guest gets what a kernel without one gives, a general protection fault.
    at.set(REG_RIP, at.rip() - 2);
    interrupt_guest(at, host, bundle, Trap{.kind = TrapKind::Fault, .vector = 13, .address = 0, .error_code = (0x80 << 3) | 2});
    return;
  }
  bundle.trapped_site = at.rip() - 2;
  at.set(REG_RCX, at.rip());
  redirect_to_entry(at, host, bundle);
}

/// The entry could not use the slot, as the guest has set its GS base by an instruction: begins again with the base that the gate wants.
void enter_again(Interrupted& at, HostThread& host, Bundle& bundle) {
  // Only the plain gate gets further than its first instruction here, which stored the guest's stack pointer where GS led.
  if (at.rip() != reinterpret_cast<uint64_t>(gate().entry)) at.set(REG_RSP, reinterpret_cast<const Slot*>(read_gs_base())->user_rsp);
  redirect_to_entry(at, host, bundle);
}

/// The same behind the shield, where the entry put the registers away before it could look: they are where the guest's GS base leads. What is found there is the
/// guest's to choose, as the registers of any call are. False: the guest did not come by the entry.
bool enter_from_elsewhere(Interrupted& at, HostThread& host, Bundle& bundle) {
  struct Piece {
    uint64_t start, length;
  };
  Slot found;
  const Piece here{reinterpret_cast<uint64_t>(&found), sizeof found}, there{read_gs_base(), sizeof found};
  if (!is_user_range(there.start, there.length)) return false;
  // The host copies, so that memory which has gone meanwhile is no fault here.
  const auto process = static_cast<uint64_t>(host.vessel->leader->tid.load(std::memory_order_relaxed));
  const int64_t copied = host::raw_call(host::Call::ProcessVmReadv, process, reinterpret_cast<uint64_t>(&here), 1, reinterpret_cast<uint64_t>(&there), 1, 0);
  if (copied != sizeof found || !(found.arrived & 1)) return false;
  at.set(REG_RAX, found.rax);
  at.set(REG_RCX, found.rcx);
  at.set(REG_RDX, found.rdx);
  at.set(REG_RSP, found.user_rsp);
  // As the entry packed them: ah, and the overflow flag.
  constexpr uint64_t kArithmetic = 0x8d5, kInAh = 0xd5;
  const uint64_t packed = at.get(REG_R11);
  at.set(REG_EFL, (at.get(REG_EFL) & ~kArithmetic) | (packed >> 8 & kInAh) | (packed & 1) << 11);
  redirect_to_entry(at, host, bundle);
  return true;
}

/// The host's vDSO asks the kernel of the host for the time when it cannot read its clock source, as one that was found unstable may be replaced at any time
/// by one that programs cannot read. That call is none of ours and trapped: makes it, and lets this thread call by itself from now on.
bool make_call_of_vdso(Interrupted& at, HostThread& host, Bundle& bundle) {
  if (at.is_in_image() || at.get(REG_RAX) != static_cast<uint64_t>(host::Call::ClockGettime)) return false;
  host.head.host_clock = nullptr;
  bundle.head.host_clock = nullptr;
  at.set(REG_RAX, static_cast<uint64_t>(host::raw_call(host::Call::ClockGettime, at.get(REG_RDI), at.get(REG_RSI))));
  return true;
}

}  // namespace

extern "C" void umk_host_signal(int signal, siginfo_t* info, ucontext_t* context) {
  // The frame lies on the alternate stack inside this host thread's bundle; GS is the guest's word and not asked.
  auto& host = *reinterpret_cast<HostThread*>(&current_stack());
  Interrupted at(*context);
  auto& bundle = static_cast<Bundle&>(*host.current);
  const Place place = place_of(at, host);

  if (signal == kKickSignal) {
    serve_remote_call(host);
    if (place == Place::Guest || place == Place::Intruding) {
      interrupt_guest(at, host, bundle, Trap{TrapKind::Kick});
    } else if (place == Place::Leaving) {
      redirect_to_kernel(at, host, bundle, Trap{TrapKind::Kick});
    } else if (place == Place::Entering) {
      resume_entry(at);
    }
    // In kernel code and on the way in nothing is to be done: the interrupt that was set before the kick is seen on the way out.
    return;
  }

  constexpr uint64_t kDebugTrap = 1;
  const bool is_in_gate = place == Place::Entering || (place == Place::Kernel && at.is_between(gate().start, gate().exit_begin));
  if (signal == SIGTRAP && at.get(REG_TRAPNO) == kDebugTrap && is_in_gate) {
    // A guest that single-steps has arrived in the gate with the trap flag set.
    bundle.trap_flag_was_set = true;
    at.set(REG_EFL, at.get(REG_EFL) & ~uint64_t{UMK_EFLAGS_TF});
    if (place == Place::Entering) resume_entry(at);
    return;
  }

  switch (place) {
    case Place::Guest:
      if (signal == SIGSYS) return redirect_call(at, host, bundle, *info);
      return interrupt_guest(at, host, bundle, fault_of(signal, *info, at));
    case Place::Leaving:
      // The gate refuses what was tampered with by an invalid opcode; all else is a bad address or stack of the guest's own.
      if (signal == SIGSYS || signal == SIGILL) return interrupt_guest(at, host, bundle, violation_at(at));
      return redirect_to_kernel(at, host, bundle, fault_of(signal, *info, at));
    case Place::Entering:
      if (at.is_between(gate().entry, gate().entered)) return enter_again(at, host, bundle);
      [[fallthrough]];
    case Place::Intruding:
      if (at.rip() == reinterpret_cast<uint64_t>(gate().lost) && enter_from_elsewhere(at, host, bundle)) return;
      return interrupt_guest(at, host, bundle, violation_at(at));
    case Place::Kernel:
      break;
  }
  if (signal == SIGSYS) {
    if (make_call_of_vdso(at, host, bundle)) return;
    panic_with_registers("a host call was not let through", context);
  }
  for (const Fixup* fixup = umk_fixups_start; fixup != umk_fixups_end; ++fixup) {
    if (at.rip() < fixup->from || at.rip() >= fixup->to) continue;
    bundle.trap = fault_of(signal, *info, at);
    // The copy routines' sign of a fault is an address that is not 0; the first page is never the guest's.
    at.set(REG_RDX, bundle.trap.address ? bundle.trap.address : 1);
    at.set(REG_RIP, fixup->landing);
    return;
  }
  panic_with_registers(signal == SIGSEGV || signal == SIGBUS ? "the kernel used a bad address" : "the kernel faulted", context);
}

}  // namespace umk::engine

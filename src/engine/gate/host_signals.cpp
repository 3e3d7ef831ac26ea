// The host's signals: how traps, faults and kicks reach the kernel.
//
// A handler never runs the kernel. It looks where the host interrupted the thread, saves the general registers where the kernel expects
// them, redirects the saved context to the gate and returns; the kernel then runs on its own stack with the guest's vector registers live. Handlers
// run with all signals blocked, so they never nest, on the alternate stack of the host thread.
//
//   where the thread was        SIGSYS           fault                            kick
//   guest code                  gate entry       register block, gate_interrupt   register block, gate_interrupt
//   gate, leaving               -                a guest fault (bad rip)          begin the exit again
//   gate, entering; kernel      kernel bug       fixup of a user copy, or panic   nothing: the exit looks for work
#include <signal.h>
#include <ucontext.h>

#include "core/host/calls.h"
#include "core/kernel/mm/address_space.h"
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

  /// The kernel ran: its own text, or the host's vDSO on a kernel stack (guests call that too, on stacks of theirs).
  bool is_in_kernel() const {
    if (rip() >= layout::kImage && rip() < layout::kImage + layout::kImageBytes) return true;
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

}  // namespace

extern "C" void umk_host_signal(int signal, siginfo_t* info, ucontext_t* context) {
  // The frame lies on the alternate stack inside this host thread's bundle; GS is the guest's word and not asked.
  auto& host = *reinterpret_cast<HostThread*>(&current_stack());
  Interrupted at(*context);
  Context& running = *host.current;
  const bool in_guest = !at.is_in_kernel();
  const bool leaving = at.is_between(umk_gate_exit_begin, umk_gate_exit_end);

  if (signal == kKickSignal) {
    if (in_guest) {
      auto& bundle = static_cast<Bundle&>(running);
      at.save(bundle.registers());
      if (bundle.guest_gs_in_use) bundle.guest_gs = read_gs_base();
      bundle.trap = Trap{.kind = TrapKind::Kick};
      at.redirect(umk_gate_interrupt, reinterpret_cast<uint64_t>(&bundle.registers()), reinterpret_cast<uint64_t>(&bundle.registers()));
    } else if (leaving) {
      auto& bundle = static_cast<Bundle&>(running);
      at.redirect(umk_gate_exit_again, reinterpret_cast<uint64_t>(&bundle.registers()), reinterpret_cast<uint64_t>(&bundle.registers()));
    }
    return;
  }

  if (signal == SIGSYS && info->si_code == 2 /* SYS_USER_DISPATCH */) {
    if (!in_guest) {
      panic_with_registers("a host call of the kernel was dispatched", context);
    }
    auto& bundle = static_cast<Bundle&>(running);
    constexpr unsigned kX86_64 = 0xc000003e;
    if (info->si_arch != kX86_64) {
      // int $0x80: there is no 32-bit call interface here; the guest gets what a kernel without one gives, a general protection fault.
      at.set(REG_RIP, at.rip() - 2);
      at.save(bundle.registers());
      bundle.trap = Trap{.kind = TrapKind::Fault, .vector = 13, .address = 0, .error_code = (0x80 << 3) | 2};
      at.redirect(umk_gate_interrupt, reinterpret_cast<uint64_t>(&bundle.registers()), reinterpret_cast<uint64_t>(&bundle.registers()));
      return;
    }
    bundle.trapped_site = at.rip() - 2;
    if (bundle.guest_gs_in_use) bundle.guest_gs = read_gs_base();
    write_gs_base(reinterpret_cast<uint64_t>(&host.slot()));
    at.set(REG_RCX, at.rip());
    at.redirect_keeping_registers(umk_gate_entry);
    return;
  }

  // A fault.
  if (in_guest || leaving) {
    auto& bundle = static_cast<Bundle&>(running);
    if (in_guest) {
      at.save(bundle.registers());
      if (bundle.guest_gs_in_use) bundle.guest_gs = read_gs_base();
    }
    bundle.trap = fault_of(signal, *info, at);
    at.redirect(umk_gate_interrupt, reinterpret_cast<uint64_t>(&bundle.registers()), reinterpret_cast<uint64_t>(&bundle.registers()));
    return;
  }
  constexpr uint64_t kDebugTrap = 1;
  if (at.get(REG_TRAPNO) == kDebugTrap && at.is_between(umk_gate_start, umk_gate_exit_begin)) {
    // A guest that single-steps has arrived in the gate with the trap flag set.
    static_cast<Bundle&>(running).trap_flag_was_set = true;
    at.set(REG_EFL, at.get(REG_EFL) & ~uint64_t{UMK_EFLAGS_TF});
    return;
  }
  for (const Fixup* fixup = umk_fixups_start; fixup != umk_fixups_end; ++fixup) {
    if (at.rip() < fixup->from || at.rip() >= fixup->to) continue;
    const Trap trap = fault_of(signal, *info, at);
    static_cast<Bundle&>(running).trap = trap;
    // The copy routines' sign of a fault is an address that is not 0; the first page is never the guest's.
    at.set(REG_RDX, trap.address ? trap.address : 1);
    at.set(REG_RIP, fixup->landing);
    return;
  }
  panic_with_registers(signal == SIGSEGV || signal == SIGBUS ? "the kernel used a bad address" : "the kernel faulted", context);
}

}  // namespace umk::engine

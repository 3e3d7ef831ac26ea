#include "core/abi/signal_frame.h"

#include "core/base/bits.h"
#include "core/kernel/guest/user_memory.h"
#include "core/kernel/mm/address_space.h"
#include "core/kernel/task/signal_delivery.h"
#include "core/kernel/task/signals.h"
#include "core/kernel/task/vdso_source.h"

namespace umk {

namespace {

using namespace signal_frame;

/// What lies at the handler's stack pointer.
struct Frame {
  uint64_t return_address;
  Context context;
  SignalInfo info;
};
static_assert(sizeof(Frame) == 440);

constexpr uint64_t kRedZone = 128;  // x86-64 ABI: leaf functions use memory below their stack pointer
constexpr size_t kVectorAlignment = 64;
constexpr uint64_t kEflagsOfGuest = 0x50dd5;  // AC OF DF TF SF ZF AF PF CF RF: what a program may set by itself
constexpr uint64_t kEflagsFixed = 0x202;      // IF and the bit that is always 1
constexpr uint64_t kEflagsDf = 0x400, kEflagsRf = 0x10000, kEflagsTf = 0x100;
constexpr uint64_t kUserCs = 0x33, kUserSs = 0x2b;
constexpr uint64_t kCanonicalEnd = uint64_t{1} << 47;
constexpr size_t kMinimumStackBytes = 2048;  // MINSIGSTKSZ

bool is_on_alternate_stack(const Task& task, uint64_t stack_pointer) {
  return !(task.alternate_stack_flags & kStackAutoDisarm) && stack_pointer > task.alternate_stack_base &&
         stack_pointer - task.alternate_stack_base <= task.alternate_stack_size;
}

Machine machine_of(const Task& task, const Registers& r, uint64_t vectors, SignalSet mask) {
  return Machine{.r8 = r.r8, .r9 = r.r9, .r10 = r.r10, .r11 = r.r11, .r12 = r.r12, .r13 = r.r13, .r14 = r.r14, .r15 = r.r15,
                 .rdi = r.rdi, .rsi = r.rsi, .rbp = r.rbp, .rbx = r.rbx, .rdx = r.rdx, .rax = r.rax, .rcx = r.rcx, .rsp = r.rsp,
                 .rip = r.rip, .eflags = r.eflags, .cs = kUserCs, .gs = 0, .fs = 0, .ss = kUserSs,
                 .error = task.fault_error, .vector = task.fault_vector, .old_mask = mask.bits, .fault_address = task.fault_address,
                 .vectors = vectors, .reserved = {}};
}

void set_registers(Registers& r, const Machine& m) {
  r.r8 = m.r8; r.r9 = m.r9; r.r10 = m.r10; r.r11 = m.r11; r.r12 = m.r12; r.r13 = m.r13; r.r14 = m.r14; r.r15 = m.r15;
  r.rdi = m.rdi; r.rsi = m.rsi; r.rbp = m.rbp; r.rbx = m.rbx; r.rdx = m.rdx; r.rax = m.rax; r.rcx = m.rcx; r.rsp = m.rsp; r.rip = m.rip;
  // Segments and the flags that matter to the kernel are never the frame's.
  r.eflags = (r.eflags & ~kEflagsOfGuest) | (m.eflags & kEflagsOfGuest) | kEflagsFixed;
  r.cs = kUserCs;
  r.ss = kUserSs;
  r.orig_rax = ~uint64_t{0};
}

/// Handlers return through our vDSO's restorer, which enters the gate without a trap, or through the one that the program registered.
uint64_t restorer_of(const Task& task, const SignalAction& action) {
  const uint64_t vdso = task.address_space().vdso_start;
  return vdso != 0 && task.kernel().vdso && !task.address_space().trap_only ? vdso + task.kernel().vdso->restorer_offset() : action.restorer;
}

Result<void> write_vectors(guest::Engine& engine, uint64_t address) {
  const size_t image = engine.vector_image_bytes();
  // The header of the image must be zero where XSAVE does not write it.
  if (zero_user(address + 512, 64).faulted) return error(EFAULT);
  TRY(engine.save_vectors(address));
  const SoftwareBytes software{.magic1 = kMagic1,
                               .extended_size = static_cast<uint32_t>(image + sizeof kMagic2),
                               .features = engine.vector_feature_mask(),
                               .xstate_size = static_cast<uint32_t>(image),
                               .padding = {}};
  TRY(UserPtr<SoftwareBytes>(address + kSoftwareBytesOffset).write(software));
  return UserPtr<uint32_t>(address + image).write(kMagic2);
}

Result<void> read_vectors(guest::Engine& engine, uint64_t address) {
  if (address == 0) return engine.load_vectors(0);
  const SoftwareBytes software = TRY(UserPtr<SoftwareBytes>(address + kSoftwareBytesOffset).read());
  const size_t image = engine.vector_image_bytes();
  if (software.magic1 != kMagic1 || software.xstate_size != image) return error(EFAULT);
  if (TRY(UserPtr<uint32_t>(address + image).read()) != kMagic2) return error(EFAULT);
  return engine.load_vectors(address);
}

}  // namespace

size_t minimum_signal_stack(guest::Engine& engine) {
  return sizeof(Frame) + kRedZone + 16 + kVectorAlignment + engine.vector_image_bytes() + sizeof kMagic2;
}

KernelSignalStack alternate_stack(const Task& task, uint64_t stack_pointer) {
  int32_t flags = static_cast<int32_t>(task.alternate_stack_flags & kStackAutoDisarm);
  if (task.alternate_stack_size == 0) flags |= static_cast<int32_t>(kStackDisable);
  else if (is_on_alternate_stack(task, stack_pointer)) flags |= static_cast<int32_t>(kStackOnStack);
  return {task.alternate_stack_base, flags, 0, task.alternate_stack_size};
}

Result<void> set_alternate_stack(Task& task, const KernelSignalStack& stack, uint64_t stack_pointer) {
  if (task.alternate_stack_size != 0 && is_on_alternate_stack(task, stack_pointer)) return error(EPERM);
  const uint32_t flags = static_cast<uint32_t>(stack.flags);
  const uint32_t mode = flags & ~kStackAutoDisarm;
  if (mode != kStackDisable && mode != kStackOnStack && mode != 0) return error(EINVAL);
  if (mode == kStackDisable) {
    task.alternate_stack_base = task.alternate_stack_size = 0;
  } else {
    if (stack.size < kMinimumStackBytes) return error(ENOMEM);
    task.alternate_stack_base = stack.base;
    task.alternate_stack_size = stack.size;
  }
  task.alternate_stack_flags = flags;
  return {};
}

Result<void> push_signal_frame(Task& task, Registers& registers, const SignalAction& action, const SignalInfo& info, SignalSet saved_mask) {
  guest::Engine& engine = task.kernel().engine;
  if (!(action.flags & action_flags::kRestorer) || action.handler >= kCanonicalEnd) return error(EFAULT);
  const KernelSignalStack alternate = alternate_stack(task, registers.rsp);
  uint64_t top = registers.rsp - kRedZone;
  bool on_alternate = is_on_alternate_stack(task, registers.rsp) && task.alternate_stack_size != 0;
  if ((action.flags & action_flags::kOnStack) && task.alternate_stack_size != 0 && !on_alternate) {
    top = task.alternate_stack_base + task.alternate_stack_size;
    on_alternate = true;
  }
  const size_t vector_bytes = engine.vector_image_bytes();
  const uint64_t vectors = vector_bytes == 0 ? 0 : round_down(top - vector_bytes - sizeof kMagic2, kVectorAlignment);
  // As if called: the stack pointer is 8 below a multiple of 16.
  const uint64_t place = round_down((vectors != 0 ? vectors : top) - sizeof(Frame), 16) - 8;
  // An overflow of the alternate stack must not run into what lies below it.
  if (on_alternate && (place < task.alternate_stack_base || place >= task.alternate_stack_base + task.alternate_stack_size)) return error(EFAULT);
  if (!is_user_range(place, top - place)) return error(EFAULT);

  if (vectors != 0) TRY(write_vectors(engine, vectors));
  Frame frame;
  frame.return_address = restorer_of(task, action);
  frame.context = Context{.flags = (vectors != 0 ? kHasXsave : 0) | kHasSs | kStrictSs,
                          .link = 0,
                          .stack = {alternate.base, alternate.flags, 0, alternate.size},
                          .machine = machine_of(task, registers, vectors, saved_mask),
                          .mask = saved_mask.bits};
  frame.info = info;
  if (copy_to_user(place, &frame, sizeof frame).faulted) return error(EFAULT);

  if (task.alternate_stack_flags & kStackAutoDisarm) {
    task.alternate_stack_base = task.alternate_stack_size = 0;
    task.alternate_stack_flags = kStackDisable;
  }
  registers.rdi = static_cast<uint64_t>(info.number);
  registers.rsi = place + offsetof(Frame, info);
  registers.rdx = place + offsetof(Frame, context);
  registers.rax = 0;
  registers.rip = action.handler;
  registers.rsp = place;
  registers.cs = kUserCs;
  registers.ss = kUserSs;
  registers.eflags &= ~(kEflagsDf | kEflagsRf | kEflagsTf);
  registers.orig_rax = ~uint64_t{0};
  return {};
}

void restore_signal_frame(Task& task, Registers& registers) {
  const uint64_t place = registers.rsp - 8;
  auto fail = [&] {
    registers.orig_rax = ~uint64_t{0};
    force_signal(task, SignalInfo::from_kernel(signals::kSegv));
  };
  task.restart_function = nullptr;
  const Result<Context> read = UserPtr<Context>(place + offsetof(Frame, context)).read();
  if (!read.ok()) return fail();
  const Context& context = read.value();
  set_blocked(task, {context.mask});
  // Outside the canonical range the jump back would fault in the kernel's exit instead of in the guest.
  if (context.machine.rip >= kCanonicalEnd) return fail();
  set_registers(registers, context.machine);
  if (!read_vectors(task.kernel().engine, context.machine.vectors).ok()) return fail();
  const Stack& stack = context.stack;
  (void)set_alternate_stack(task, {stack.base, stack.flags & ~static_cast<int32_t>(kStackOnStack), 0, stack.size}, registers.rsp);
}

}  // namespace umk

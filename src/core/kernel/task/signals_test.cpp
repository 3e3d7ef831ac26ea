// Delivery, frames, restarts, waiting for signals, timers.
#include "core/kernel/task/signals.h"

#include <gtest/gtest.h>

#include "core/abi/signal_frame.h"
#include "core/kernel/task/fake_machine.h"
#include "core/kernel/task/process_timers.h"
#include "core/kernel/task/signal_delivery.h"
#include "core/kernel/time/clocks.h"

namespace umk {
namespace {

using fake::FakeMachine;

constexpr uint64_t kHandler = 0x400000;
constexpr SignalAction handler(uint64_t flags = 0) {
  return {.handler = kHandler, .flags = flags | action_flags::kRestorer, .restorer = 0x401000, .mask = {}};
}

struct Signals : testing::Test {
  FakeMachine machine;
  Task& task = machine.init();
  Registers& registers = task.registers();
  alignas(64) std::byte stack[16384];
  alignas(64) std::byte other_stack[16384];

  Signals() {
    registers.rsp = reinterpret_cast<uint64_t>(stack) + sizeof stack - 64;
    registers.rip = 0x123456;
    registers.rbx = 77;
    registers.eflags = 0x246;
    registers.orig_rax = ~uint64_t{0};
  }
  void handle(int signal, uint64_t flags = 0) {
    const SignalAction action = handler(flags);
    ASSERT_TRUE(exchange_action(task, signal, &action).ok());
  }
  void raise(int signal) { ASSERT_TRUE(kill(task, 1, signal).ok()); }
  void interrupted_call(uint64_t number, int code) {
    registers.orig_rax = number;
    registers.rax = static_cast<uint64_t>(-int64_t{code});
  }
};

TEST_F(Signals, AHandlerRunsOnAFrameAndReturnsToWhereItWas) {
  handle(signals::kUser1);
  registers.rax = 42;
  const Registers before = registers;
  raise(signals::kUser1);
  handle_pending_work(task, registers);
  EXPECT_EQ(registers.rip, kHandler);
  EXPECT_EQ(registers.rdi, static_cast<uint64_t>(signals::kUser1));
  EXPECT_EQ(registers.rsp % 16, 8u);
  EXPECT_LE(registers.rsp, before.rsp - 128 - 440);
  EXPECT_EQ(*reinterpret_cast<uint64_t*>(registers.rsp), 0x401000u);
  const auto& info = *reinterpret_cast<SignalInfo*>(registers.rsi);
  EXPECT_EQ(info.number, signals::kUser1);
  EXPECT_EQ(info.sender.pid, 1);
  const auto& context = *reinterpret_cast<signal_frame::Context*>(registers.rdx);
  EXPECT_EQ(context.machine.rip, before.rip);
  EXPECT_EQ(context.machine.rbx, 77u);
  EXPECT_EQ(context.machine.cs, 0x33);
  EXPECT_TRUE(task.blocked().has(signals::kUser1));

  registers.rsp += 8;  // the restorer was returned to
  restore_signal_frame(task, registers);
  EXPECT_EQ(registers.rip, before.rip);
  EXPECT_EQ(registers.rsp, before.rsp);
  EXPECT_EQ(registers.rax, 42u);
  EXPECT_TRUE(task.blocked().empty());
}

TEST_F(Signals, NothingOfAFrameIsTrusted) {
  handle(signals::kUser1);
  raise(signals::kUser1);
  handle_pending_work(task, registers);
  auto& context = *reinterpret_cast<signal_frame::Context*>(registers.rdx);
  context.machine.cs = 0x10;
  context.machine.ss = 0x18;
  context.machine.eflags = ~uint64_t{0};
  context.mask = ~uint64_t{0};
  registers.rsp += 8;
  restore_signal_frame(task, registers);
  EXPECT_EQ(registers.cs, 0x33u);
  EXPECT_EQ(registers.ss, 0x2bu);
  EXPECT_EQ(registers.eflags & 0x3000, 0u) << "the I/O privilege level is the kernel's";
  EXPECT_FALSE(task.blocked().has(signals::kKill));
}

TEST_F(Signals, TheAlternateStackIsUsedAndSeen) {
  const KernelSignalStack alternate{reinterpret_cast<uint64_t>(other_stack), 0, 0, sizeof other_stack};
  ASSERT_TRUE(set_alternate_stack(task, alternate, registers.rsp).ok());
  handle(signals::kUser1, action_flags::kOnStack);
  raise(signals::kUser1);
  handle_pending_work(task, registers);
  EXPECT_GE(registers.rsp, alternate.base);
  EXPECT_LT(registers.rsp, alternate.base + alternate.size);
  EXPECT_EQ(alternate_stack(task, registers.rsp).flags, static_cast<int>(kStackOnStack));
  EXPECT_EQ(set_alternate_stack(task, alternate, registers.rsp).code(), EPERM);
  const KernelSignalStack small{alternate.base, 0, 0, 1024};
  registers.rsp = reinterpret_cast<uint64_t>(stack) + 8192;
  EXPECT_EQ(set_alternate_stack(task, small, registers.rsp).code(), ENOMEM);
}

TEST_F(Signals, InterruptedCallsRestartAsTheirCodeSays) {
  struct Case {
    int code;
    bool with_handler;
    uint64_t flags;
    bool restarts;
    uint64_t number;
  };
  const Case cases[] = {
      {ERESTARTSYS, true, 0, false, 0},     {ERESTARTSYS, true, action_flags::kRestart, true, 7}, {ERESTARTSYS, false, 0, true, 7},
      {ERESTARTNOHAND, true, action_flags::kRestart, false, 0}, {ERESTARTNOHAND, false, 0, true, 7}, {ERESTARTNOINTR, true, 0, true, 7},
      {ERESTART_RESTARTBLOCK, true, action_flags::kRestart, false, 0}, {ERESTART_RESTARTBLOCK, false, 0, true, 219},
  };
  for (const Case& c : cases) {
    set_blocked(task, {});
    registers.rsp = reinterpret_cast<uint64_t>(stack) + sizeof stack - 64;
    registers.rip = 0x5002;
    if (c.with_handler) {
      handle(signals::kUser1, c.flags);
      raise(signals::kUser1);
    }
    interrupted_call(7, c.code);
    handle_pending_work(task, registers);
    uint64_t rip = registers.rip, rax = registers.rax;
    if (c.with_handler) {
      EXPECT_EQ(rip, kHandler);
      const auto& context = *reinterpret_cast<signal_frame::Context*>(registers.rdx);
      rip = context.machine.rip;
      rax = context.machine.rax;
    }
    EXPECT_EQ(rip, c.restarts ? 0x5000u : 0x5002u) << c.code;
    EXPECT_EQ(rax, c.restarts ? c.number : static_cast<uint64_t>(-EINTR)) << c.code;
  }
}

TEST_F(Signals, AFrameWithoutRoomKills) {
  handle(signals::kUser1);
  const ProcessId child = machine.fork(task, [](Task& inner) {
    inner.registers().rsp = 0x800;
    (void)kill(inner, inner.process().pid(), signals::kUser1);
    FakeMachine::return_to_user(inner);
    ADD_FAILURE() << "it must not survive";
  });
  std::this_thread::yield();
  MutexLock lock(machine.kernel.tasks.mutex);
  while (true) {
    const RefPtr<Process> process = machine.kernel.tasks.find_process(child);
    if (process->is_zombie) {
      EXPECT_EQ(process->exit_status, signals::kSegv);
      break;
    }
    (void)task.process().child_events.wait(machine.kernel.tasks.mutex, Sleep::Uninterruptible, Deadline::after_ns(10'000'000));
  }
}

TEST_F(Signals, ResetHandRunsOnce) {
  handle(signals::kUser1, action_flags::kResetHand);
  raise(signals::kUser1);
  handle_pending_work(task, registers);
  EXPECT_EQ(registers.rip, kHandler);
  EXPECT_TRUE(task.process().handlers->of(signals::kUser1).is_default());
}

TEST_F(Signals, IgnoredOnesAreDroppedAndBlockedOnesWait) {
  raise(signals::kChild);
  EXPECT_TRUE(pending_signals(task).empty());
  set_blocked(task, SignalSet::of(signals::kChild));
  raise(signals::kChild);
  EXPECT_TRUE(pending_signals(task).has(signals::kChild));
  const SignalAction ignore{.handler = 1};
  ASSERT_TRUE(exchange_action(task, signals::kChild, &ignore).ok());
  EXPECT_TRUE(pending_signals(task).empty()) << "setting it to ignored discards it";
  EXPECT_EQ(exchange_action(task, signals::kKill, &ignore).code(), EINVAL);
}

TEST_F(Signals, SigtimedwaitTakesABlockedSignalAndTimesOut) {
  const SignalSet wanted = SignalSet::of(signals::kUser2);
  set_blocked(task, wanted);
  EXPECT_EQ(wait_for_signal(task, wanted, Deadline::after_ns(1'000'000)).code(), EAGAIN);
  std::thread sender([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    (void)send_signal(task.process(), SignalInfo::from_user(signals::kUser2, 0, 5, 6));
  });
  EXPECT_EQ(wait_for_signal(task, wanted, Deadline::never()).take().sender.pid, 5);
  sender.join();
  handle(signals::kUser1);
  raise(signals::kUser1);
  EXPECT_EQ(wait_for_signal(task, wanted, Deadline::never()).code(), EINTR);
}

TEST_F(Signals, ATemporaryMaskIsReplacedAfterTheHandler) {
  handle(signals::kUser1);
  set_blocked(task, SignalSet::of(signals::kUser1));
  raise(signals::kUser1);
  set_temporary_mask(task, {});
  interrupted_call(130, ERESTARTNOHAND);
  handle_pending_work(task, registers);
  EXPECT_EQ(registers.rip, kHandler);
  const auto& context = *reinterpret_cast<signal_frame::Context*>(registers.rdx);
  EXPECT_EQ(context.mask, SignalSet::of(signals::kUser1).bits);
  EXPECT_EQ(static_cast<int64_t>(context.machine.rax), -EINTR);
}

TEST_F(Signals, FaultsCarryCodeAndAddress) {
  handle(signals::kSegv, action_flags::kSigInfo);
  deliver_fault(task, Trap{.kind = TrapKind::Fault, .vector = 14, .address = 0xdead000, .error_code = 6}, true);
  handle_pending_work(task, registers);
  const auto& info = *reinterpret_cast<SignalInfo*>(registers.rsi);
  EXPECT_EQ(info.number, signals::kSegv);
  EXPECT_EQ(info.code, signal_codes::kSegvAccess);
  EXPECT_EQ(info.fault.address, 0xdead000u);
  const auto& context = *reinterpret_cast<signal_frame::Context*>(registers.rdx);
  EXPECT_EQ(context.machine.fault_address, 0xdead000u);
  EXPECT_EQ(context.machine.vector, 14u);
}

TEST_F(Signals, AnIntervalTimerSendsAlarms) {
  machine.start_timers();
  set_blocked(task, SignalSet::of(signals::kAlarm));
  ProcessTimers& timers = ProcessTimers::of(task.process()).take();
  const KernelTimerVal value{{0, 2000}, {0, 2000}};
  timers.exchange_interval_timer(0, &value);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(wait_for_signal(task, SignalSet::of(signals::kAlarm), Deadline::after_ns(5'000'000'000)).ok());
  const KernelTimerVal off{};
  EXPECT_EQ(timers.exchange_interval_timer(0, &off).interval.microseconds, 2000);
  EXPECT_EQ(timers.exchange_interval_timer(0, nullptr).value.microseconds, 0);
}

TEST_F(Signals, APosixTimerCountsItsOverruns) {
  machine.start_timers();
  set_blocked(task, SignalSet::of(40));
  ProcessTimers& timers = ProcessTimers::of(task.process()).take();
  const int id = timers.create(task, ClockSpec{}, 0, 40, 1234, true, nullptr).take();
  const KernelTimerSpec every_millisecond{{0, 1'000'000}, {0, 1'000'000}};
  ASSERT_TRUE(timers.set(id, false, &every_millisecond).ok());
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  const SignalInfo info = wait_for_signal(task, SignalSet::of(40), Deadline::after_ns(5'000'000'000)).take();
  EXPECT_EQ(info.code, signal_codes::kTimer);
  EXPECT_EQ(info.timer.value, 1234u);
  EXPECT_GT(info.timer.overrun, 2);
  EXPECT_EQ(timers.overrun(id).take(), info.timer.overrun);
  EXPECT_TRUE(timers.remove(id).ok());
  EXPECT_EQ(timers.remove(id).code(), EINVAL);
}

TEST(ClockSpec, ReadsTheNumbersOfCpuClocks) {
  // clock_getcpuclockid(3) of process 5: ~5 << 3 | CPUCLOCK_SCHED.
  const ClockSpec clock = ClockSpec::parse((~5 << 3) | 2).take();
  EXPECT_EQ(clock.kind, ClockSpec::Kind::ProcessCpu);
  EXPECT_EQ(clock.id, 5);
  EXPECT_EQ(ClockSpec::parse((~5 << 3) | 6).take().kind, ClockSpec::Kind::ThreadCpu);
  EXPECT_EQ(ClockSpec::parse(12).code(), EINVAL);
  EXPECT_EQ(ClockSpec::parse(-1).code(), EINVAL);
}

}  // namespace
}  // namespace umk

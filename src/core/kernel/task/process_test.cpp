// Forking, ending, waiting, groups and sessions, on threads that stand for tasks.
#include <gtest/gtest.h>

#include "core/kernel/task/exec_support.h"
#include "core/kernel/task/fake_machine.h"
#include "core/kernel/task/job_control.h"
#include "core/kernel/task/signals.h"
#include "core/kernel/task/wait.h"

namespace umk {
namespace {

using fake::FakeMachine;
using namespace wait_options;

void sleep_until_killed(Task& task) {
  for (;;) {
    sync::prepare_to_park();
    (void)sync::park(Sleep::Interruptible);
    FakeMachine::return_to_user(task);
  }
}

WaitOutcome wait_for(Task& task, ProcessId pid, uint32_t options = kExited) {
  return wait_for_child(task, {.who = WaitRequest::Who::Process, .id = pid, .options = options}).take();
}

TEST(TaskList, NumbersGrowAndWrapBehindTheFirst300) {
  TaskList tasks;
  MutexLock lock(tasks.mutex);
  const ThreadId first = tasks.allocate_id().take();
  EXPECT_EQ(first, 1);
  for (int id = 2; id < TaskList::kMaximumId; ++id) {
    const ThreadId made = tasks.allocate_id().take();
    ASSERT_EQ(made, id);
    if (id > 301) tasks.release_id(made);
  }
  // 300 and 301 are in use still.
  EXPECT_EQ(tasks.allocate_id().take(), 302);
}

TEST(TaskList, ANumberIsKeptWhileItsGroupLives) {
  FakeMachine machine;
  Task& init = machine.init();
  const ProcessId leader = machine.fork(init, [](Task& task) { sleep_until_killed(task); });
  ASSERT_TRUE(set_process_group(init, leader, leader).ok());
  const ProcessId member = machine.fork(init, [](Task& task) { sleep_until_killed(task); });
  ASSERT_TRUE(set_process_group(init, member, leader).ok());
  ASSERT_TRUE(kill(init, leader, signals::kKill).ok());
  EXPECT_EQ(wait_for(init, leader).wait_status, signals::kKill);
  {
    MutexLock lock(machine.kernel.tasks.mutex);
    EXPECT_FALSE(machine.kernel.tasks.find_task(leader));
    EXPECT_TRUE(machine.kernel.tasks.find_group(leader));
  }
  ASSERT_TRUE(kill(init, -leader, signals::kKill).ok());
  EXPECT_EQ(wait_for(init, member).status, signals::kKill);
  MutexLock lock(machine.kernel.tasks.mutex);
  EXPECT_FALSE(machine.kernel.tasks.find_group(leader));
}

TEST(Wait, ReportsTheExitCodeOnceAndFreesTheTask) {
  FakeMachine machine;
  const ProcessId child = machine.fork(machine.init(), [](Task& task) { exit_group(task, exit_status_of_code(7)); });
  const WaitOutcome outcome = wait_for(machine.init(), child);
  EXPECT_EQ(outcome.pid, child);
  EXPECT_EQ(outcome.code, signal_codes::kChildExited);
  EXPECT_EQ(outcome.status, 7);
  EXPECT_EQ(outcome.wait_status, 0x700);
  EXPECT_EQ(outcome.usage.user_ns, 10'000'000u);
  EXPECT_EQ(wait_for_child(machine.init(), {.options = kExited}).code(), ECHILD);
}

TEST(Wait, WithNoHangSaysNothingWhileTheChildRuns) {
  FakeMachine machine;
  const ProcessId child = machine.fork(machine.init(), [](Task& task) { sleep_until_killed(task); });
  EXPECT_EQ(wait_for(machine.init(), child, kExited | kNoHang).pid, 0);
  ASSERT_TRUE(kill(machine.init(), child, signals::kTerminate).ok());
  EXPECT_EQ(wait_for(machine.init(), child).wait_status, signals::kTerminate);
}

TEST(Wait, NoWaitLeavesTheZombie) {
  FakeMachine machine;
  const ProcessId child = machine.fork(machine.init(), [](Task&) {});
  EXPECT_EQ(wait_for(machine.init(), child, kExited | kNoWait).pid, child);
  EXPECT_EQ(wait_for(machine.init(), child).pid, child);
}

TEST(Wait, ChildrenOfWhoIgnoresThemVanish) {
  FakeMachine machine;
  const SignalAction ignore{.handler = 1};
  ASSERT_TRUE(exchange_action(machine.init(), signals::kChild, &ignore).ok());
  const ProcessId child = machine.fork(machine.init(), [](Task&) {});
  EXPECT_EQ(wait_for_child(machine.init(), {.who = WaitRequest::Who::Process, .id = child, .options = kExited}).code(), ECHILD);
}

TEST(Wait, CloneChildrenNeedTheirOption) {
  FakeMachine machine;
  const ProcessId child = machine.fork(machine.init(), [](Task&) {}, 0, 0);
  EXPECT_EQ(wait_for_child(machine.init(), {.options = kExited}).code(), ECHILD);
  EXPECT_EQ(wait_for_child(machine.init(), {.options = kExited | kClone}).take().pid, child);
}

TEST(Wait, ReportsStopAndContinue) {
  FakeMachine machine;
  Task& init = machine.init();
  const ProcessId child = machine.fork(init, [](Task& task) { sleep_until_killed(task); });
  ASSERT_TRUE(kill(init, child, signals::kStop).ok());
  WaitOutcome outcome = wait_for(init, child, kStopped);
  EXPECT_EQ(outcome.wait_status, signals::kStop << 8 | 0x7f);
  EXPECT_EQ(wait_for(init, child, kStopped | kNoHang).pid, 0);
  ASSERT_TRUE(kill(init, child, signals::kContinue).ok());
  outcome = wait_for(init, child, kContinued);
  EXPECT_EQ(outcome.wait_status, 0xffff);
  // Stopped again, it can still be killed.
  ASSERT_TRUE(kill(init, child, signals::kStop).ok());
  wait_for(init, child, kStopped);
  ASSERT_TRUE(kill(init, child, signals::kKill).ok());
  EXPECT_EQ(wait_for(init, child).wait_status, signals::kKill);
}

TEST(Wait, AStoppedProcessDiesOfSigtermOnlyWhenItContinues) {
  FakeMachine machine;
  Task& init = machine.init();
  const ProcessId child = machine.fork(init, [](Task& task) { sleep_until_killed(task); });
  ASSERT_TRUE(kill(init, child, signals::kStop).ok());
  wait_for(init, child, kStopped);
  ASSERT_TRUE(kill(init, child, signals::kTerminate).ok());
  EXPECT_EQ(wait_for(init, child, kExited | kNoHang).pid, 0);
  ASSERT_TRUE(kill(init, child, signals::kContinue).ok());
  EXPECT_EQ(wait_for(init, child).wait_status, signals::kTerminate);
}

TEST(Exit, OrphansGoToTheNearestSubreaper) {
  FakeMachine machine;
  std::atomic<ProcessId> grandchild{0};
  std::atomic<bool> release{false};
  const ProcessId reaper = machine.fork(machine.init(), [&](Task& task) {
    {
      MutexLock lock(machine.kernel.tasks.mutex);
      task.process().is_child_subreaper = true;
    }
    const ProcessId parent = machine.fork(task, [&](Task& inner) {
      grandchild = machine.fork(inner, [&](Task& orphan) {
        while (!release) std::this_thread::yield();
        EXPECT_EQ(orphan.process().parent_pid.load(), 2);
      });
    });
    EXPECT_EQ(wait_for(task, parent).pid, parent);
    release = true;
    EXPECT_EQ(wait_for(task, grandchild).pid, grandchild.load());
  });
  EXPECT_EQ(reaper, 2);
  EXPECT_EQ(wait_for(machine.init(), reaper).pid, reaper);
}

TEST(Exit, ProcessEndsWithItsLastThread) {
  FakeMachine machine;
  const ProcessId child = machine.fork(machine.init(), [&](Task& task) {
    machine.thread(task, [](Task& other) { exit_task(other, exit_status_of_code(3)); });
    machine.thread(task, [](Task& other) { sleep_until_killed(other); });
    exit_group(task, exit_status_of_code(9));
  });
  EXPECT_EQ(wait_for(machine.init(), child).status, 9);
}

TEST(Exit, TheLastThreadsStatusCountsWhenThreadsEndOneByOne) {
  FakeMachine machine;
  const ProcessId child = machine.fork(machine.init(), [&](Task& task) {
    std::atomic<bool>* const go = new std::atomic<bool>(false);
    machine.thread(task, [go](Task& other) {
      while (!*go) std::this_thread::yield();
      delete go;
      exit_task(other, exit_status_of_code(5));
    });
    *go = true;
    exit_task(task, exit_status_of_code(4));
  });
  EXPECT_EQ(wait_for(machine.init(), child).status, 5);
}

TEST(Vfork, ParentWaitsForTheEndOfTheChild) {
  FakeMachine machine;
  bool ran = false;
  const ProcessId child = machine.fork(machine.init(), [&](Task&) { ran = true; }, clone_flags::kVfork | clone_flags::kVm);
  EXPECT_TRUE(ran);
  EXPECT_EQ(wait_for(machine.init(), child).pid, child);
}

TEST(Vfork, WithACopiedAddressSpaceItWaitsToo) {
  FakeMachine machine;
  std::atomic<bool> ran{false};
  const ProcessId child = machine.fork(machine.init(), [&](Task&) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    ran = true;
  }, clone_flags::kVfork);
  EXPECT_TRUE(ran);
  EXPECT_EQ(wait_for(machine.init(), child).pid, child);
}

TEST(Clone, RefusesWhatLinuxRefuses) {
  FakeMachine machine;
  using namespace clone_flags;
  const uint64_t wrong[] = {kThread, kThread | kVm, kSigHand, kNewNs | kFs, kThread | kSigHand, kPidFd | kDetached, kNewUser, kNewPid};
  for (const uint64_t flags : wrong) EXPECT_EQ(clone_task(machine.init(), {.flags = flags}).code(), EINVAL) << std::hex << flags;
  EXPECT_EQ(machine.stacks, 1);
}

TEST(Clone, ChildTidIsWrittenByTheChildAndClearedAtItsEnd) {
  FakeMachine machine;
  uint32_t word = 0;
  std::atomic<uint32_t> seen{0};
  machine.set_next_program([&](Task&) { seen = __atomic_load_n(&word, __ATOMIC_SEQ_CST); });
  using namespace clone_flags;
  const int64_t tid = clone_task(machine.init(), {.flags = kVm | kFs | kFiles | kSigHand | kThread | kChildSetTid | kChildClearTid,
                                                  .child_tid = reinterpret_cast<uint64_t>(&word)}).take();
  while (seen == 0 || __atomic_load_n(&word, __ATOMIC_SEQ_CST) != 0) {
    std::this_thread::yield();
    // The thread's exit_group marks the test's own task too; it stays alive since it never returns to user mode.
    if (seen != 0 && __atomic_load_n(&word, __ATOMIC_SEQ_CST) == 0) break;
  }
  EXPECT_EQ(seen, static_cast<uint32_t>(tid));
}

TEST(Exec, AThreadBecomesTheLeader) {
  FakeMachine machine;
  std::atomic<ThreadId> tid_after{0};
  std::atomic<int> failures{0};
  const ProcessId child = machine.fork(machine.init(), [&](Task& task) {
    machine.thread(task, [&](Task& other) {
      if (!kill_other_threads_for_exec(other).ok()) ++failures;
      tid_after = other.tid();
      exit_group(other, exit_status_of_code(6));
    });
    sleep_until_killed(task);
  });
  EXPECT_EQ(wait_for(machine.init(), child).status, 6);
  EXPECT_EQ(tid_after, child);
  EXPECT_EQ(failures, 0);
}

TEST(Session, AGroupLeaderCannotMakeOne) {
  FakeMachine machine;
  EXPECT_EQ(create_session(machine.init()).code(), EPERM);
  const ProcessId child = machine.fork(machine.init(), [](Task& task) {
    const ProcessId pid = task.process().pid();
    EXPECT_EQ(create_session(task).take(), pid);
    EXPECT_EQ(task.process().session->id(), pid);
    EXPECT_EQ(create_session(task).code(), EPERM);
    EXPECT_EQ(set_process_group(task, 0, 0).code(), EPERM);
  });
  wait_for(machine.init(), child);
}

TEST(Session, GroupsStayWithinTheirSession) {
  FakeMachine machine;
  Task& init = machine.init();
  std::atomic<bool> ready{false}, release{false};
  const ProcessId child = machine.fork(init, [&](Task& task) {
    (void)create_session(task);
    ready = true;
    while (!release) std::this_thread::yield();
  });
  while (!ready) std::this_thread::yield();
  EXPECT_EQ(set_process_group(init, child, 1).code(), EPERM);
  EXPECT_EQ(set_process_group(init, 0, 99).code(), EPERM);
  EXPECT_EQ(set_process_group(init, 4711, 0).code(), ESRCH);
  EXPECT_EQ(set_process_group(init, 0, -1).code(), EINVAL);
  release = true;
  wait_for(init, child);
}

TEST(Session, AnExecutedChildKeepsItsGroup) {
  FakeMachine machine;
  Task& init = machine.init();
  const ProcessId child = machine.fork(init, [](Task& task) { sleep_until_killed(task); });
  {
    MutexLock lock(machine.kernel.tasks.mutex);
    machine.kernel.tasks.find_process(child)->has_execed = true;
  }
  EXPECT_EQ(set_process_group(init, child, child).code(), EACCES);
  ASSERT_TRUE(kill(init, child, signals::kKill).ok());
  wait_for(init, child);
}

TEST(Kill, AnswersAsTheManualPageSays) {
  FakeMachine machine;
  Task& init = machine.init();
  EXPECT_EQ(kill(init, 4711, 0).code(), ESRCH);
  EXPECT_EQ(kill(init, 1, 65).code(), EINVAL);
  EXPECT_EQ(kill(init, -4711, 0).code(), ESRCH);
  EXPECT_EQ(kill(init, -1, 0).code(), ESRCH);
  EXPECT_TRUE(kill(init, 1, 0).ok());
  EXPECT_TRUE(kill(init, 0, 0).ok());
}

}  // namespace
}  // namespace umk

#include "core/kernel/sysrq/sysrq.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <string>

#include "core/kernel/task/fake_machine.h"
#include "core/kernel/task/signals.h"
#include "core/kernel/task/wait.h"
#include "core/kernel/tty/task_job_control.h"
#include "core/kernel/tty/tty_registry.h"

namespace umk::sysrq {

namespace {

std::string give(Kernel& kernel, char key, Source source = Source::Key) {
  StringSink sink;
  handle(kernel, key, source, &sink);
  return std::string(sink.view());
}

TEST(Sysrq, UnknownKeysExplainAll) {
  fake::FakeMachine machine;
  const std::string text = give(machine.init().kernel(), 'h');
  EXPECT_TRUE(text.starts_with("sysrq: HELP : loglevel(0-9) reboot(b) ")) << text;
  EXPECT_TRUE(text.ends_with("unmount(u) show-blocked-tasks(w) \n")) << text;
  EXPECT_EQ(give(machine.init().kernel(), '\0'), text);
}

TEST(Sysrq, DigitsSetTheConsolesLevel) {
  fake::FakeMachine machine;
  Kernel& kernel = machine.init().kernel();
  EXPECT_EQ(give(kernel, '3'), "sysrq: Changing Loglevel\nsysrq: Loglevel set to 3\n");
  EXPECT_TRUE(kernel.kernel_log.is_shown(LogLevel::Critical));
  EXPECT_FALSE(kernel.kernel_log.is_shown(LogLevel::Error));
}

TEST(Sysrq, KeysDoWhatTheSettingAllowsAndTheTriggerDoesAll) {
  fake::FakeMachine machine;
  Kernel& kernel = machine.init().kernel();
  tty::TaskJobControl jobs(kernel);
  tty::TtyRegistry terminals(jobs);
  kernel.ttys = &terminals;
  terminals.sysrq_keys = keys::kLogLevels | keys::kNice;
  EXPECT_EQ(give(kernel, '3'), "sysrq: Changing Loglevel\nsysrq: Loglevel set to 3\n");
  EXPECT_EQ(give(kernel, 'n'), "sysrq: Nice All RT Tasks\nNo task is real-time\n");
  for (const char key : {'b', 'e', 'k', 'm', 's', 'u'}) EXPECT_EQ(give(kernel, key), "sysrq: This sysrq operation is disabled.\n") << key;
  EXPECT_EQ(kernel.power_action.load(), PowerAction::None);
  EXPECT_TRUE(give(kernel, 'h').starts_with("sysrq: HELP : "));
  EXPECT_TRUE(give(kernel, 'm', Source::Trigger).starts_with("sysrq: Show Memory\n"));
  terminals.sysrq_keys = 0;
  EXPECT_EQ(give(kernel, 'h'), "");
  EXPECT_EQ(give(kernel, '3'), "");
  EXPECT_TRUE(give(kernel, 'h', Source::Trigger).starts_with("sysrq: HELP : "));
  kernel.ttys = nullptr;
}

TEST(Sysrq, ShowsTimersByWhatTheyAre) {
  class Alarm final : public time::Timer {
    void on_expired() override {}
  };
  fake::FakeMachine machine;
  Kernel& kernel = machine.init().kernel();
  EXPECT_NE(give(kernel, 'q').find("active timers: 0\n"), std::string::npos);
  Alarm alarms[70];
  for (Alarm& alarm : alarms) kernel.timers->arm(alarm, 5'000'000'000'000'000);
  const std::string text = give(kernel, 'q');
  uint64_t kind;
  std::memcpy(&kind, static_cast<const void*>(&alarms[0]), sizeof kind);
  char first[64];
  std::snprintf(first, sizeof first, " #0: [<%lx>]\n # expires at 5000000000000000 nsecs [in ", kind);
  EXPECT_NE(text.find(first), std::string::npos) << text;
  EXPECT_TRUE(text.ends_with("and 6 more\n")) << text;
  for (Alarm& alarm : alarms) kernel.timers->cancel(alarm);
}

TEST(Sysrq, ShowsEveryTask) {
  fake::FakeMachine machine;
  std::strcpy(machine.init().name, "first");
  const std::string text = give(machine.init().kernel(), 't');
  EXPECT_NE(text.find("sysrq: Show State\n"), std::string::npos) << text;
  EXPECT_NE(text.find("task:first           state:R stack:0     pid:1"), std::string::npos) << text;
}

TEST(Sysrq, KillsAllButTheFirstProcess) {
  fake::FakeMachine machine;
  Task& init = machine.init();
  machine.fork(init, [](Task& task) {
    for (;;) {
      sync::prepare_to_park();
      (void)sync::park(Sleep::Interruptible);
      fake::FakeMachine::return_to_user(task);
    }
  });
  give(init.kernel(), 'i');
  WaitRequest request;
  request.options = wait_options::kExited;
  const auto ended = wait_for_child(init, request);
  ASSERT_TRUE(ended.ok());
  EXPECT_EQ(init.kernel().power_action.load(), PowerAction::None);
}

TEST(Sysrq, AsksForTheEnd) {
  fake::FakeMachine machine;
  give(machine.init().kernel(), 'b');
  EXPECT_EQ(machine.init().kernel().power_action.load(), PowerAction::RestartNow);
}

}  // namespace

}  // namespace umk::sysrq

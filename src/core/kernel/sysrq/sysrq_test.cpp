#include "core/kernel/sysrq/sysrq.h"

#include <gtest/gtest.h>

#include <string>

#include "core/kernel/task/fake_machine.h"
#include "core/kernel/task/signals.h"
#include "core/kernel/task/wait.h"

namespace umk::sysrq {

namespace {

std::string give(Kernel& kernel, char key) {
  StringSink sink;
  handle(kernel, key, &sink);
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

#include "monitor/mconsole/commands.h"

#include <fmt/format.h>

#include <cerrno>

namespace umk::monitor {

struct Commands::Command {
  std::string_view name;
  Answer (Commands::*run)(std::string_view rest);
  bool is_urgent;
};

// Looked through in this order; what begins with a name is that command.
const Commands::Command Commands::kCommands[] = {
    {"version", &Commands::version, true}, {"halt", &Commands::halt, true},        {"reboot", &Commands::reboot, true},
    {"config", &Commands::config, false},  {"remove", &Commands::remove, false},   {"sysrq", &Commands::sysrq, false},
    {"help", &Commands::help, true},       {"cad", &Commands::ctrl_alt_del, true}, {"stop", &Commands::stop, false},
    {"go", &Commands::go, false},          {"log", &Commands::log, true},          {"proc", &Commands::proc, false},
    {"stack", &Commands::stack, false},
};

namespace {

constexpr std::string_view kHelp =
    "Commands: \n"
    "    version - Get kernel version \n"
    "    help - Print this message \n"
    "    halt - Halt UML \n"
    "    reboot - Reboot UML \n"
    "    config <dev>=<config> - Add a new device to UML;  \n"
    "\tsame syntax as command line \n"
    "    config <dev> - Query the configuration of a device \n"
    "    remove <dev> - Remove a device from UML \n"
    "    sysrq <letter> - Performs the SysRq action controlled by the letter \n"
    "    cad - invoke the Ctrl-Alt-Del handler \n"
    "    stop - pause the UML; it will do nothing until it receives a 'go' \n"
    "    go - continue the UML after a 'stop' \n"
    "    log <string> - make UML enter <string> into the kernel log\n"
    "    proc <file> - returns the contents of the UML's /proc/<file>\n"
    "    stack <pid> - returns the stack of the specified pid\n";

std::string_view skip_blanks(std::string_view text) {
  const size_t start = text.find_first_not_of(" \t\n\r\v\f");
  return start == std::string_view::npos ? std::string_view() : text.substr(start);
}

/// The first character after blanks; '\0' for none.
char letter_of(std::string_view rest) {
  const std::string_view text = skip_blanks(rest);
  return text.empty() ? '\0' : text[0];
}

}  // namespace

const Commands::Command* Commands::find(std::string_view text) {
  for (const Command& command : kCommands)
    if (text.starts_with(command.name)) return &command;
  return nullptr;
}

bool Commands::is_urgent(std::string_view text) {
  const Command* command = find(text);
  if (!command) return true;
  // A restart without anything written out is what is left when nothing else works.
  return command->is_urgent || (command->run == &Commands::sysrq && letter_of(text.substr(command->name.size())) == 'b');
}

Answer Commands::run(std::string_view text) {
  const Command* const command = find(text);
  if (!command) return Answer::failed(1, "Unknown command");
  return (this->*command->run)(text.substr(command->name.size()));
}

void Commands::finish() {
  if (!due_) return;
  end_(*due_);
  due_.reset();
}

Answer Commands::version(std::string_view) { return Answer::ok(kernel_.describe().text); }

Answer Commands::help(std::string_view) { return Answer::ok(std::string(kHelp)); }

Answer Commands::halt(std::string_view) {
  due_ = PowerAction::Halt;
  return Answer::ok();
}

Answer Commands::reboot(std::string_view) {
  due_ = PowerAction::Restart;
  return Answer::ok();
}

Answer Commands::config(std::string_view rest) { return devices_.config(skip_blanks(rest)); }

Answer Commands::remove(std::string_view rest) { return devices_.remove(skip_blanks(rest)); }

Answer Commands::sysrq(std::string_view rest) {
  const char key = letter_of(rest);
  if (key == 'b') {
    due_ = PowerAction::Restart;
    return Answer::ok();
  }
  KernelCalls::Text printed = kernel_.sysrq(key);
  if (printed.error != 0) return Answer::failed(1, "Out of memory");
  return Answer::stream({symbols_.annotate(printed.text)});
}

Answer Commands::ctrl_alt_del(std::string_view) {
  kernel_.press_ctrl_alt_del();
  return Answer::ok();
}

Answer Commands::stop(std::string_view) {
  if (kernel_.is_holding()) return Answer::failed(1, "Already stopped");
  if (const uint32_t busy = kernel_.hold())
    kernel_.log(fmt::format("mconsole: {} tasks are still at work in the kernel after a stop", busy));
  return Answer::ok("stopped");
}

Answer Commands::go(std::string_view) {
  if (!kernel_.is_holding()) return Answer::failed(1, "Not stopped");
  kernel_.release();
  return Answer::ok();
}

Answer Commands::log(std::string_view rest) {
  // Just one blank stands between the command and what it logs.
  if (!rest.empty()) kernel_.log(rest.substr(1));
  return Answer::ok();
}

Answer Commands::proc(std::string_view rest) {
  KernelCalls::Text file = kernel_.read_proc(skip_blanks(rest));
  if (file.error == ENOMEM) return Answer::failed(1, "Failed to allocate buffer");
  if (file.error != 0) return Answer::failed(1, file.was_opened ? "Read of file failed" : "Failed to open file");
  Answer answer = Answer::stream({"\n"});
  if (!file.text.empty()) answer.texts.push_back(std::move(file.text));
  return answer;
}

Answer Commands::stack(std::string_view rest) {
  std::string_view text = skip_blanks(rest);
  const int pid = take_device_number(text);
  if (pid < 0) return Answer::failed(1, "Please specify a pid");
  KernelCalls::Text stack = kernel_.show_stack(pid);
  if (stack.error == ESRCH) return Answer::failed(1, "Couldn't find that pid");
  if (stack.error != 0) return Answer::failed(1, "Out of memory");
  return Answer::stream({symbols_.annotate(stack.text)});
}

}  // namespace umk::monitor

#include "monitor/command_line.h"

#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <algorithm>

#include "monitor/switches.h"

namespace umk::monitor {

namespace {

using Outcome = std::variant<Configuration, CommandLineError>;

constexpr const char* kRunUsage = "umk run [--root DIR|IMAGE] [--cow FILE] [--ro] [--mem SIZE] [--cpus N] [--env K=V] [--workdir DIR] [SWITCH...] -- COMMAND [ARG...]";

CommandLineError wrong(std::string text) { return {"umk: " + std::move(text)}; }

/// The options of the run form. They write into `configuration` when parsed; what is left over are switches.
struct RunOptions {
  std::string root, copy_on_write, memory, cpus, working_directory;
  bool is_read_only = false;
  std::vector<std::string> environment;

  void declare(CLI::App& app) {
    app.add_option("--root", root, "host directory, or image of a disk, to use as the root filesystem; default: the embedded one")->type_name("DIR|IMAGE");
    app.add_option("--cow", copy_on_write, "file that takes what is changed of the image of --root; made when it is not there")->type_name("FILE");
    app.add_flag("--ro", is_read_only, "mount the root read-only");
    app.add_option("--mem", memory, "how much memory the command may use, as in 512M")->type_name("SIZE");
    app.add_option("--cpus", cpus, "how many processors it sees")->type_name("N");
    app.add_option("--env", environment, "set a variable of its environment; may be repeated")->type_name("K=V")->take_all()->expected(1);
    app.add_option("--workdir", working_directory, "directory inside the root to start in")->type_name("DIR");
  }
};

/// What switches say together about the root filesystem, wherever they stand.
std::optional<std::string> check_root(const Configuration& configuration) {
  const std::string accepted = "Accepted: root=/dev/ubda with a disk ubd0=IMAGE; root=/dev/root rootfstype=hostfs rootflags=DIRECTORY; without these, the embedded root is used.";
  const std::string& root = configuration.root;
  const bool is_disk = root.starts_with("/dev/ubd") || root.starts_with("ubd") || root.starts_with("98:");
  if (configuration.root_type == "hostfs") return is_disk ? std::optional<std::string>("root=" + root + " rootfstype=hostfs: a disk has no hostfs. " + accepted) : std::nullopt;
  if (!root.empty() && !is_disk) return "root=" + root + ": there is no such device. " + accepted;
  if (root.empty() && !configuration.root_type.empty() && configuration.disks.empty())
    return "rootfstype=" + configuration.root_type + ": there is no disk with such a filesystem. " + accepted;
  return {};
}

/// Something on the host that is a disk rather than a tree of files.
bool is_image(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 && (S_ISREG(status.st_mode) || S_ISBLK(status.st_mode));
}

/// The first disk that no switch has taken, as the root.
void add_root_disk(Configuration& configuration, const std::string& image, const std::string& copy_on_write, bool is_read_only) {
  DiskOption disk;
  for (const DiskOption& other : configuration.disks) disk.number = std::max(disk.number, other.number + 1);
  disk.file = copy_on_write.empty() ? image : copy_on_write;
  if (!copy_on_write.empty()) disk.second_file = image;
  disk.is_read_only = is_read_only;
  configuration.root = "/dev/ubd" + std::to_string(disk.number);
  configuration.disks.push_back(std::move(disk));
}

Outcome parse_run(std::span<const std::string> before, std::span<const std::string> command, bool has_separator) {
  Configuration configuration;
  configuration.action = Configuration::Action::Run;
  configuration.quiet = true;

  CLI::App app{"Boots, runs COMMAND with the caller's standard streams, and exits with its status.", "umk run"};
  RunOptions options;
  options.declare(app);
  app.allow_extras();
  std::vector<std::string> reversed(before.rbegin(), before.rend());  // as CLI11 takes them
  try {
    app.parse(reversed);
  } catch (const CLI::CallForHelp&) {
    configuration.action = Configuration::Action::RunHelp;
    return configuration;
  } catch (const CLI::ParseError& error) {
    return wrong(std::string("run: ") + error.what() + "\nUsage: " + kRunUsage);
  }

  for (const std::string& extra : app.remaining()) {
    if (extra.starts_with('-')) {
      std::string text = "run: there is no option " + extra + ".";
      for (const CLI::Option* option : app.get_options())
        if (const std::string name = option->get_name(); edit_distance(name, extra.substr(0, extra.find('='))) <= 2) {
          text += " Did you mean " + name + "?";
          break;
        }
      return wrong(text + "\nUsage: " + kRunUsage);
    }
    if (const std::optional<std::string> problem = apply_switch(configuration, extra)) return wrong(*problem);
  }
  // Words that Linux would hand to init have nobody to go to here.
  if (!configuration.init_arguments.empty())
    return wrong("run: " + configuration.init_arguments.front() + ": the command goes after ‘--’.\nUsage: " + kRunUsage);

  if (!options.memory.empty())
    if (const std::optional<std::string> problem = set_memory(configuration, "--mem", options.memory)) return wrong("run: " + *problem);
  if (!options.cpus.empty())
    if (const std::optional<std::string> problem = set_cpus(configuration, "--cpus", options.cpus)) return wrong("run: " + *problem);
  if (const std::optional<std::string> problem = check_root(configuration)) return wrong("run: " + *problem);
  if (!options.root.empty()) {
    if (!configuration.root.empty() || !configuration.root_type.empty())
      return wrong("run: --root and root= or rootfstype= name two root filesystems. Use one of them.");
    if (is_image(options.root) || !options.copy_on_write.empty()) {
      add_root_disk(configuration, options.root, options.copy_on_write, options.is_read_only);
    } else {
      configuration.root = "/dev/root";
      configuration.root_type = "hostfs";
      configuration.root_flags = options.root;
    }
  } else if (!options.copy_on_write.empty()) {
    return wrong("run: --cow " + options.copy_on_write + ": there is no image whose changes it could take. Name it with --root.");
  }
  if (options.is_read_only) configuration.root_is_read_only = true;
  for (const std::string& variable : options.environment)
    if (const size_t equals = variable.find('='); equals == 0 || equals == std::string::npos)
      return wrong("run: --env " + variable + ": a variable is written NAME=VALUE.");
  if (!options.working_directory.empty() && options.working_directory[0] != '/')
    return wrong("run: --workdir " + options.working_directory + ": an absolute path inside the root is needed.");

  if (command.empty()) {
    const std::string what = has_separator ? "after ‘--’ stands no command." : "there is no ‘--’ with a command after it.";
    return wrong("run: " + what + "\nUsage: " + kRunUsage);
  }
  configuration.run.command.assign(command.begin(), command.end());
  configuration.run.environment = std::move(configuration.init_environment);
  configuration.init_environment.clear();
  configuration.run.environment.insert(configuration.run.environment.end(), options.environment.begin(), options.environment.end());
  configuration.run.working_directory = options.working_directory;
  return configuration;
}

Outcome parse_boot(std::span<const std::string> before, std::span<const std::string> after) {
  Configuration configuration;
  for (const std::string& text : before) {
    // They act where they stand, before anything that comes later is looked at.
    if (text == "--help" || text == "-h") configuration.action = Configuration::Action::Help;
    if (text == "--version") configuration.action = Configuration::Action::Version;
    if (text == "--showconfig") configuration.action = Configuration::Action::ShowConfiguration;
    if (configuration.action != Configuration::Action::Boot) return configuration;
    if (const std::optional<std::string> problem = apply_switch(configuration, text))
      return wrong(*problem + "\nSee ‘umk --help’ for what is accepted.");
  }
  if (const std::optional<std::string> problem = check_root(configuration)) return wrong(*problem);
  configuration.init_arguments.insert(configuration.init_arguments.end(), after.begin(), after.end());
  return configuration;
}

}  // namespace

std::variant<Configuration, CommandLineError> parse_command_line(std::span<const std::string> arguments) {
  const auto separator = std::find(arguments.begin(), arguments.end(), "--");
  const bool has_separator = separator != arguments.end();
  const auto count = static_cast<size_t>(separator - arguments.begin());
  std::span<const std::string> before = arguments.first(count);
  const std::span<const std::string> after = has_separator ? arguments.subspan(count + 1) : std::span<const std::string>();

  if (!before.empty() && before.front() == "run") return parse_run(before.subspan(1), after, has_separator);
  // `umk mem=1G run --root / -- bash` is understood too: nobody wants `run` as an argument of init before the `--`.
  const auto run = std::find(before.begin(), before.end(), "run");
  if (run != before.end()) {
    std::vector<std::string> others(before.begin(), run);
    others.insert(others.end(), run + 1, before.end());
    return parse_run(others, after, has_separator);
  }
  return parse_boot(before, after);
}

std::string help_text() {
  return "umk, a user-mode kernel\n"
         "\n"
         "Usage: umk [SWITCH...] [-- INIT-ARG...]\n"
         "       " +
         std::string(kRunUsage) +
         "\n"
         "\n"
         "The first form boots a machine on the terminal it was started from. The second one boots, runs COMMAND with\n"
         "the caller's standard streams, and exits with its status: see ‘umk run --help’.\n"
         "\n"
         "Switches:\n" +
         describe_switches() +
         "  --help                     show this text\n"
         "  --version                  show the version\n"
         "  --showconfig               show how umk was built\n"
         "\n"
         "An unknown NAME=VALUE goes to init's environment, an unknown word to its arguments.\n";
}

std::string run_help_text() {
  CLI::App app{"Boots, runs COMMAND with the caller's standard streams, and exits with its status (128 + the signal's number when a signal "
               "killed it).",
               "umk run"};
  RunOptions options;
  options.declare(app);
  std::string text = app.help();
  // CLI11 writes a usage line of its own.
  const size_t usage = text.find("Usage:");
  if (usage != std::string::npos) text.replace(usage, text.find('\n', usage) - usage, std::string("Usage: ") + kRunUsage);
  return text + "\nSwitches of ‘umk --help’ may stand before the ‘--’ as well.\n";
}

}  // namespace umk::monitor

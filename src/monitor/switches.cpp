#include "monitor/switches.h"

#include "monitor/console_switch.h"
#include "monitor/disk_switch.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <vector>

namespace umk::monitor {

namespace {

using Wrong = std::optional<std::string>;

constexpr uint64_t kMinimumMemory = uint64_t{16} << 20;
constexpr unsigned kMaximumCpus = 256;
constexpr unsigned kConsoles = 64, kSerialLines = 64;

std::string quoted(std::string_view text) { return "‘" + std::string(text) + "’"; }

template <typename T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || end != text.data() + text.size()) return {};
  return value;
}

Wrong wrong_value(std::string_view name, std::string_view value, std::string_view accepted) {
  return std::string(name) + "=" + std::string(value) + ": " + quoted(value) + " is not accepted. " + std::string(name) + "= takes " +
         std::string(accepted) + ".";
}

// --- values

Wrong set_shield(Configuration& c, std::string_view value) {
  if (value == "on") c.shield = Configuration::Shield::On;
  else if (value == "off") c.shield = Configuration::Shield::Off;
  else if (value == "auto") c.shield = Configuration::Shield::Auto;
  else return wrong_value("shield", value, "on, off, or auto (on where the processor has protection keys)");
  return {};
}

Wrong set_dispatch(Configuration& c, std::string_view value) {
  if (value == "auto") c.dispatch = Configuration::Dispatch::Auto;
  else if (value == "user") c.dispatch = Configuration::Dispatch::UserDispatch;
  else if (value == "seccomp") c.dispatch = Configuration::Dispatch::Seccomp;
  else return wrong_value("dispatch", value, "user (Syscall User Dispatch), seccomp, or auto (the first that the host offers)");
  return {};
}

Wrong set_io_uring(Configuration& c, std::string_view value) {
  if (value != "auto" && value != "off") return wrong_value("io_uring", value, "off, or auto (used where the host has it)");
  c.may_use_io_uring = value == "auto";
  return {};
}

Wrong set_root(Configuration& c, std::string_view value) {
  c.root = value;
  return {};
}

Wrong set_init(Configuration& c, std::string_view value) {
  if (!value.starts_with('/')) return wrong_value("init", value, "the absolute path of a program in the root filesystem, such as init=/bin/sh");
  c.init = value;
  return {};
}

Wrong set_name(Configuration& c, std::string_view value) {
  if (!c.name.empty()) return "umid=" + std::string(value) + ": umid already set to " + quoted(c.name) + ".";
  const bool has_only_good = std::all_of(value.begin(), value.end(), [](unsigned char ch) { return std::isalnum(ch) || std::strchr("._-", ch); });
  if (value.empty() || value.size() > 64 || !has_only_good || value.starts_with('.'))
    return wrong_value("umid", value, "up to 64 letters, digits, dots, dashes and underscores, not beginning with a dot");
  c.name = value;
  return {};
}

Wrong set_environment(Configuration& c, std::string_view value) {
  const size_t equals = value.find('=');
  if (equals == 0 || equals == std::string_view::npos) return wrong_value("env", value, "NAME=VALUE, which goes to init's environment");
  c.init_environment.emplace_back(value);
  return {};
}

Wrong set_notify_socket(Configuration& c, std::string_view value) {
  constexpr std::string_view kNotify = "notify:";
  if (!value.starts_with(kNotify) || value.size() == kNotify.size())
    return "mconsole=" + std::string(value) + ": mconsole_setup : Unknown option - '" + std::string(value) + "'. mconsole= takes notify: and the path of a socket.";
  c.notify_socket = value.substr(kNotify.size());
  return {};
}

/// As of Linux; and of User Mode Linux, where it says on two lines that debuggers do not need it.
Wrong set_debug(Configuration& c, std::string_view) {
  c.debug = true;
  c.notes.push_back("'debug' is not needed to run gdb: 'gdb umk', or 'gdb -p PID', shows the kernel's frames");
  c.notes.push_back("its tasks and their stacks are shown by the commands of tools/gdb/umk.py, see docs/debugging.md");
  return {};
}

Wrong set_log_level(Configuration& c, std::string_view value) {
  const std::optional<int> level = parse_number<int>(value);
  if (!level || *level < 0) return wrong_value("loglevel", value, "a number: lines of the log whose level is below it are shown on the console, 0 to 8");
  c.console_level = std::min(*level, 15);
  return {};
}

Wrong set_log_copy(Configuration& c, std::string_view value) {
  if (value != "0" && value != "1") return wrong_value("stderr", value, "0 or 1");
  c.copies_log_to_error = value == "1";
  return {};
}

Wrong set_log_times(Configuration& c, std::string_view value) {
  const bool is_on = value == "1" || value == "y" || value == "Y" || value == "on", is_off = value == "0" || value == "n" || value == "N" || value == "off";
  if (!is_on && !is_off) return wrong_value("printk.time", value, "0 or 1");
  c.log_has_times = is_on;
  return {};
}

Wrong set_program_lines(Configuration& c, std::string_view value) {
  if (value != "on" && value != "off" && value != "ratelimit")
    return wrong_value("printk.devkmsg", value, "on, off or ratelimit: what becomes of lines that programs write to /dev/kmsg");
  c.program_lines = value;
  return {};
}

/// earlyprintk, earlyprintk=DEVICE[,keep]
Wrong set_early_log(Configuration& c, std::string_view value) {
  c.shows_early_log = true;
  c.keeps_early_log = value == "keep" || value.ends_with(",keep");
  const std::string_view device = value.substr(0, value.find(','));
  if (!device.empty() && device != "keep" && device != "stderr")
    c.notes.push_back("earlyprintk=" + std::string(value) + ": there is no " + quoted(device) + "; early messages go to standard error");
  return {};
}

/// console=NAME[,OPTIONS]
Wrong set_log_console(Configuration& c, std::string_view value) {
  std::string name(value.substr(0, value.find(',')));
  if (name.empty() || name == "ttynull") name = "null";
  if (name == "tty" || name == "ttyS") name += '0';
  const auto is_line = [&](std::string_view prefix, unsigned count) {
    if (!std::string_view(name).starts_with(prefix)) return false;
    const std::optional<unsigned> number = parse_number<unsigned>(std::string_view(name).substr(prefix.size()));
    return number && *number < count;
  };
  if (name != "null" && !is_line("ttyS", kSerialLines) && !is_line("tty", kConsoles)) {
    c.notes.push_back("console=" + std::string(value) + " has no effect: there is no such device. There are tty0 to tty63, ttyS0 to ttyS63, and null");
    return {};
  }
  // As on Linux, one that is named again counts where it stands last.
  std::erase(c.log_consoles, name);
  c.log_consoles.push_back(std::move(name));
  return {};
}

Wrong set_tty_log_descriptor(Configuration& c, std::string_view value) {
  const bool is_hexadecimal = value.starts_with("0x");
  const std::string_view digits = is_hexadecimal ? value.substr(2) : value;
  int number = -1;
  const auto [end, failure] = std::from_chars(digits.data(), digits.data() + digits.size(), number, is_hexadecimal ? 16 : 10);
  if (failure != std::errc() || end != digits.data() + digits.size() || number < 0)
    return "tty_log_fd=" + std::string(value) + ": set_tty_log_fd - strtoul failed on '" + std::string(value) + "'. It takes the number of a descriptor that umk inherits.";
  c.tty_log_descriptor = number;
  return {};
}

Wrong set_tty_log_directory(Configuration& c, std::string_view value) {
  if (value.empty()) return "tty_log_dir=: it takes a directory.";
  c.tty_log_directory = value;
  return {};
}

Wrong check_seccomp(Configuration& c, std::string_view value) {
  if (value != "on" && value != "auto" && value != "off") return wrong_value("seccomp", value, "on, auto or off");
  c.notes.push_back("seccomp= has no effect: umk has an engine of its own");
  return {};
}

// --- the table

struct Switch {
  const char* name;   // with `=` when it takes a value
  const char* value;  // how --help shows the value
  const char* help;
  Wrong (*apply)(Configuration&, std::string_view value);
  bool is_swallowed = false;  // not shown in /proc/cmdline, as in UML
};

constexpr Switch kSwitches[] = {
    {"root=", "DEVICE", "the root filesystem's device, as /dev/ubda; /dev/root with rootfstype=hostfs", set_root},
    {"rootfstype=", "TYPE", "the root filesystem's type: hostfs, or one of a disk; default: whichever fits",
     [](Configuration& c, std::string_view v) {
       c.root_type = v;
       return Wrong();
     }},
    {"rootflags=", "OPTIONS", "mount options of the root filesystem; with hostfs, a host directory",
     [](Configuration& c, std::string_view v) {
       c.root_flags = v;
       return Wrong();
     }},
    {"ro", "", "mount the root filesystem read-only",
     [](Configuration& c, std::string_view) {
       c.root_is_read_only = true;
       return Wrong();
     }},
    {"rw", "", "mount the root filesystem for reading and writing",
     [](Configuration& c, std::string_view) {
       c.root_is_read_only = false;
       return Wrong();
     }},
    {"init=", "PATH", "the first program", set_init},
    {"env=", "NAME=VALUE", "a variable for init's environment, whatever its name", set_environment},
    {"mem=", "SIZE", "how much memory guests may use, as in mem=512M; default: as much as the host has",
     [](Configuration& c, std::string_view v) { return set_memory(c, "mem", v); }},
    {"ncpus=", "N", "how many processors the machine has; default: as many as the host has",
     [](Configuration& c, std::string_view v) { return set_cpus(c, "ncpus", v); }, true},
    {"quiet", "", "show only errors while booting",
     [](Configuration& c, std::string_view) {
       c.quiet = true;
       return Wrong();
     }},
    {"debug", "", "show all kernel messages", set_debug},
    {"loglevel=", "N", "show messages of the kernel whose level is below N, 0 to 8; default 7, all but debugging", set_log_level},
    {"stderr=", "0|1", "with 1, write the messages that the console shows to umk's standard error too", set_log_copy},
    {"ignore_loglevel", "", "show messages of the kernel whatever level they have", [](Configuration& c, std::string_view) { c.ignores_log_level = true; return Wrong(); }},
    {"printk.time=", "0|1", "whether messages begin with the seconds since boot; default 1", set_log_times},
    {"printk.devkmsg=", "on|off|ratelimit", "what becomes of lines that programs write to /dev/kmsg; default ratelimit", set_program_lines},
    {"console=", "NAME", "where messages of the kernel are shown: tty0, ttyS0 and so on, or null; may be repeated, the last is /dev/console", set_log_console},
    {"earlyprintk=", "stderr[,keep]", "as earlyprintk; with keep, also after that", set_early_log},
    {"earlyprintk", "", "write messages of the kernel to umk's standard error until the console shows them", set_early_log},
    {"tty_log_fd=", "N", "write down what happens on terminals, and which programs start, to descriptor N", set_tty_log_descriptor, true},
    {"tty_log_dir=", "DIRECTORY", "write what is read and written on each terminal to a file of its own in DIRECTORY", set_tty_log_directory},
    {"xterm=", "EMULATOR,TITLE-SWITCH,EXECUTE-SWITCH", "how windows are opened for consoles; default xterm,-T,-e", set_xterm, true},
    {"ssl-non-raw", "", "leave host terminals of serial lines as they are", [](Configuration& c, std::string_view) { c.serial_lines_are_raw = false; return Wrong(); }},
    {"shield=", "on|off|auto", "wall the kernel off from guests by protection keys", set_shield, true},
    {"dispatch=", "user|seccomp|auto", "how guests' system calls are caught", set_dispatch, true},
    {"io_uring=", "auto|off", "whether disks use io_uring of the host", set_io_uring, true},
    {"umid=", "NAME", "the name of this machine", set_name, true},
    {"uml_dir=", "DIRECTORY", "where machines keep their names and sockets; default ~/.uml",
     [](Configuration& c, std::string_view v) {
       if (v.empty()) return Wrong("uml_dir=: uml_dir can't be an empty string. It takes a directory.");
       c.name_directory = v;
       return Wrong();
     }},
    {"mconsole=", "notify:PATH", "tell a socket of the host's what happens to the machine", set_notify_socket},
    {"noreboot", "", "exit when the guest reboots",
     [](Configuration& c, std::string_view) {
       c.exits_on_reboot = true;
       return Wrong();
     }},
};

/// Accepted without effect.
struct Ignored {
  const char* name;
  const char* why;  // null: nothing to say, as Linux's own that make no difference here
};
constexpr Ignored kIgnored[] = {
    {"rootwait", nullptr}, {"rootdelay=", nullptr}, {"panic=", nullptr},
    {"nosysemu", "umk does not trace its guests"}, {"mode=tt", "umk has an engine of its own"}, {"mode=skas0", "umk has an engine of its own"},
    {"skas0", "umk has an engine of its own"}, {"aio=2.4", "host I/O is umk's own matter"}, {"jail", "guests never see kernel memory: see shield="},
    {"honeypot", "guests never see kernel memory: see shield="}, {"debugtrace", "there is no tracing thread"}, {"debug=go", "gdb needs no switch"},
    {"debug=parent", "gdb needs no switch"}, {"gdb-pid=", "gdb needs no switch"},     {"fake_ide", "there is no such device"}, {"fakehd", "there is no such device"},
};

/// UML's that are still to come. Ignoring them would start a machine that lacks what was asked for.
struct Later {
  const char* name;
  bool has_number;  // ubd0=, eth1= and so on
  const char* what;
};
constexpr Later kLater[] = {
    {"eth", true, "network devices"},
    {"vec", true, "network devices"}, {"iomem=", false, "mapped files"}, {"initrd=", false, "initial RAM disks"},
    {"hostfs=", false, "limits on hostfs"}, {"time-travel", false, "time travel"},
    {"virtio_uml.", false, "vhost-user devices"}, {"dsp=", false, "audio"}, {"mixer=", false, "audio"},
};

std::string_view name_of(std::string_view text) { return text.substr(0, text.find('=')); }

/// The switch that `name` was probably meant to be.
std::optional<std::string> near_miss(std::string_view text) {
  const std::string_view name = name_of(text);
  const bool has_value = name.size() < text.size();
  std::optional<std::string> best;
  size_t best_distance = 3;
  const auto consider = [&](std::string_view known) {
    const std::string_view known_name = name_of(known);
    // Short words are close to everything: `s` and `3` are for init.
    if (known_name.size() < 3 || name.size() < 3) {
      if (!(known_name.size() == 2 && name.size() == 2 && name[0] == known_name[1] && name[1] == known_name[0] && !has_value)) return;
    }
    const size_t allowed = known_name.size() >= 7 ? 2 : 1;
    const size_t distance = edit_distance(name, known_name);
    if (distance > allowed || distance >= best_distance) return;
    best = std::string(known);
    best_distance = distance;
  };
  for (const Switch& known : kSwitches) consider(known.name);
  for (const Ignored& known : kIgnored)
    if (name_of(known.name).size() > 4) consider(known.name);
  for (const char* known : {"con0=", "con=", "ssl0=", "ssl="}) consider(known);
  return best;
}

bool has_number_form(std::string_view text, std::string_view prefix) {
  // ubd0=, ubda=, ubd0r=, ubd=sync, vec0:transport=...
  const std::string_view rest = text.substr(prefix.size());
  const size_t end = rest.find_first_of("=:");
  if (end == std::string_view::npos || end > 6) return false;
  return end == 0 || std::isdigit(static_cast<unsigned char>(rest[0])) || (prefix != "eth" && end <= 5 && std::islower(static_cast<unsigned char>(rest[0])));
}

}  // namespace

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> table(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) table[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) table[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = table[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      table[i][j] = std::min({replaced, table[i - 1][j] + 1, table[i][j - 1] + 1});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) table[i][j] = std::min(table[i][j], table[i - 2][j - 2] + 1);
    }
  }
  return table[a.size()][b.size()];
}

std::optional<uint64_t> parse_memory_size(std::string_view text) {
  if (text.empty()) return {};
  unsigned shift = 0;
  switch (text.back()) {
    case 'k': case 'K': shift = 10; break;
    case 'm': case 'M': shift = 20; break;
    case 'g': case 'G': shift = 30; break;
    case 't': case 'T': shift = 40; break;
  }
  if (shift != 0) text.remove_suffix(1);
  const std::optional<uint64_t> number = parse_number<uint64_t>(text);
  if (!number || *number > (UINT64_MAX >> shift)) return {};
  return *number << shift;
}

Wrong set_memory(Configuration& configuration, std::string_view name, std::string_view value) {
  const std::optional<uint64_t> bytes = parse_memory_size(value);
  if (!bytes) return wrong_value(name, value, "a number of bytes, or of K, M, G or T, such as 512M");
  if (*bytes < kMinimumMemory) return wrong_value(name, value, "at least 16M");
  configuration.memory_bytes = *bytes;
  return {};
}

Wrong set_cpus(Configuration& configuration, std::string_view name, std::string_view value) {
  const std::optional<unsigned> number = parse_number<unsigned>(value);
  if (!number || *number < 1 || *number > kMaximumCpus) return wrong_value(name, value, "a number from 1 to 256");
  configuration.cpus = *number;
  return {};
}

Wrong apply_switch(Configuration& configuration, std::string_view text) {
  const auto add_to_command_line = [&] {
    std::string& line = configuration.kernel_command_line;
    if (!line.empty()) line += ' ';
    line += text;
  };
  if (text == "seccomp=on" || text.starts_with("seccomp=")) return check_seccomp(configuration, text.substr(8));

  for (const Ignored& ignored : kIgnored) {
    const std::string_view name = ignored.name;
    if (text != name && !(name.ends_with('=') && text.starts_with(name))) continue;
    if (ignored.why) configuration.notes.push_back(std::string(text) + " has no effect: " + ignored.why);
    add_to_command_line();
    return {};
  }
  for (const Switch& known : kSwitches) {
    const std::string_view name = known.name;
    const bool takes_value = name.ends_with('=');
    const auto has_plain_form = [&] { return std::any_of(std::begin(kSwitches), std::end(kSwitches), [&](const Switch& other) { return text == other.name; }); };
    if (takes_value && text == name.substr(0, name.size() - 1) && !has_plain_form())
      return std::string(text) + ": a value is missing. Write " + known.name + known.value + ".";
    if (!takes_value && text.size() > name.size() && text.starts_with(name) && text[name.size()] == '=')
      return std::string(text) + ": " + known.name + " takes no value.";
    if (takes_value ? !text.starts_with(name) : text != name) continue;
    if (Wrong wrong = known.apply(configuration, takes_value ? text.substr(name.size()) : std::string_view())) return wrong;
    if (!known.is_swallowed) add_to_command_line();
    return {};
  }
  if (is_disk_switch(text)) {
    if (Wrong wrong = apply_disk_switch(configuration, text)) return wrong;
    add_to_command_line();
    return {};
  }
  if (text.starts_with("udb") && is_disk_switch("ubd" + std::string(text.substr(3))))
    return std::string(text) + ": udb" + std::string(text.substr(3)) + " specified on command line is almost certainly a ubd -> udb TYPO";
  for (const Later& later : kLater) {
    if (!text.starts_with(later.name)) continue;
    if (later.has_number && !has_number_form(text, later.name)) continue;
    return std::string(text) + ": " + later.what + " are not available yet. Leave the switch out to boot without.";
  }
  if (is_console_switch(text)) {
    if (Wrong wrong = apply_console_switch(configuration, text)) return wrong;
    add_to_command_line();
    return {};
  }
  if (const std::optional<std::string> meant = near_miss(text)) {
    const bool has_value = text.find('=') != std::string_view::npos;
    return std::string(text) + ": there is no such switch. Did you mean " + quoted(*meant) + "? " +
           (has_value ? "A variable for init that is really called so is set by env=" + std::string(text) + "."
                      : "An argument for init that is really called so goes after ‘--’.");
  }
  if (text.starts_with('-'))
    return std::string(text) + ": there is no such option. Options are --help, --version and --showconfig; arguments for init go after ‘--’.";

  // As Linux: parameters of modules (with a dot) are nobody's, variables go to init's environment, words to its arguments.
  add_to_command_line();
  const std::string_view name = name_of(text);
  if (name.find('.') != std::string_view::npos) return {};
  if (name.size() < text.size()) {
    configuration.init_environment.emplace_back(text);
  } else {
    configuration.init_arguments.emplace_back(text);
  }
  return {};
}

std::string describe_switches() {
  std::string text;
  const auto add = [&](std::string left, std::string_view help) {
    left.resize(std::max<size_t>(left.size(), 26), ' ');
    text += "  " + left + " " + std::string(help) + "\n";
  };
  for (const Switch& known : kSwitches) add(std::string(known.name) + known.value, known.help);
  add("ubdN[FLAGS]=FILE[,BACKING]", "serve FILE as /dev/ubda (N is 0 or a) and so on; with BACKING, FILE takes what is changed;");
  add("", "flags: r read-only, s synchronous, d plain data, c not locked, t no discard; default: ubd0=root_fs");
  add("ubd=sync", "all disks that are named later are synchronous");
  add("conN=IN[,OUT]", "what console N is connected to, tty0 to tty63 of the guest: fd:N, tty:PATH, pty, pts, port:N, xterm,");
  add("", "null, none; default fd:0,fd:1 for console 0, and xterm for the others where $DISPLAY is set");
  add("sslN=IN[,OUT]", "what serial line N is connected to, ttyS0 to ttyS63 of the guest; default pty");
  add("con=, ssl=", "likewise, for all that have no switch of their own");
  return text;
}

}  // namespace umk::monitor

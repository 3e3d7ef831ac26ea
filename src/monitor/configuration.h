// Configuration: what the command line asked for, checked for form. Whether files exist is found out by whoever opens them.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "monitor/channels/channel_pair.h"

namespace umk::monitor {

/// con= or ssl=: what lines are connected to. A switch with a number wins over the one without, whichever comes first.
struct LineSwitches {
  std::optional<ChannelPair> all;
  std::map<unsigned, ChannelPair> numbered;
};

/// A disk on files of the host: ubd0=.
struct DiskOption {
  unsigned number = 0;
  std::string file;         // the image, or the copy-on-write file of `second_file`
  std::string second_file;  // the backing file; empty: none, or as the file's header says
  std::string serial;
  bool is_read_only = false, is_synchronous = false, is_plain = false, is_shared = false, can_discard = true;
};

struct Configuration {
  enum class Action { Boot, Run, Help, RunHelp, Version, ShowConfiguration };
  enum class Shield { Auto, On, Off };
  /// How guests' system calls are caught.
  enum class Dispatch { Auto, UserDispatch, Seccomp };

  Action action = Action::Boot;

  // The machine.
  uint64_t memory_bytes = 0;  // 0: as much as the host has
  unsigned cpus = 0;          // 0: as many as the host has
  Shield shield = Shield::Auto;
  Dispatch dispatch = Dispatch::Auto;
  bool may_use_io_uring = true;
  bool quiet = false;         // only errors on the console
  bool debug = false;         // everything on the console
  std::optional<int> console_level;  // loglevel=
  bool ignores_log_level = false;    // ignore_loglevel
  bool log_has_times = true;         // printk.time=
  std::string program_lines;         // printk.devkmsg=; empty: limited, and to be changed by the machine's programs
  bool copies_log_to_error = false;  // stderr=1
  bool shows_early_log = false, keeps_early_log = false;  // earlyprintk
  std::vector<std::string> log_consoles;  // console=, in their order
  int tty_log_descriptor = -1;       // tty_log_fd=
  std::string tty_log_directory;     // tty_log_dir=; tty_log_fd= wins
  bool exits_on_reboot = false;
  std::string name;           // umid=
  std::string name_directory; // uml_dir=
  std::string notify_socket;  // mconsole=notify:

  // Consoles and serial lines.
  LineSwitches consoles, serial_lines;
  XtermCommand xterm;                // xterm=
  bool serial_lines_are_raw = true;  // not with ssl-non-raw
  /// What line `number` is connected to, by the switches or by default.
  ChannelPair console(unsigned number) const;
  ChannelPair serial_line(unsigned number) const;

  // The root filesystem: the embedded one when all is empty. Without a type, `root` names a disk.
  std::string root, root_type, root_flags;
  std::optional<bool> root_is_read_only;

  std::vector<DiskOption> disks;
  bool disks_are_synchronous = false;  // ubd=sync: those that are named later

  // The first process.
  std::string init;                         // empty: /init of an embedded root, else /sbin/init and so on
  std::vector<std::string> init_arguments;  // after its name
  std::vector<std::string> init_environment;

  /// What /proc/cmdline shows.
  std::string kernel_command_line;
  /// Switches that were accepted and do nothing, with the reason: to be told on standard error unless quiet.
  std::vector<std::string> notes;

  /// Action::Run.
  struct Run {
    std::vector<std::string> command;
    std::vector<std::string> environment;  // NAME=value
    std::string working_directory;         // empty: the root
  } run;
};

}  // namespace umk::monitor

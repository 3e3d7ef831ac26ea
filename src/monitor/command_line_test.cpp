#include "monitor/command_line.h"

#include <gtest/gtest.h>

#include "monitor/switches.h"

namespace umk::monitor {
namespace {

using Words = std::vector<std::string>;

Configuration accepted(const Words& arguments) {
  auto outcome = parse_command_line(arguments);
  if (const auto* error = std::get_if<CommandLineError>(&outcome)) {
    ADD_FAILURE() << error->text;
    return {};
  }
  return std::get<Configuration>(outcome);
}

/// The message, or "" when the line was accepted.
std::string refused(const Words& arguments) {
  auto outcome = parse_command_line(arguments);
  const auto* error = std::get_if<CommandLineError>(&outcome);
  return error ? error->text : "";
}

TEST(CommandLine, NothingBootsTheEmbeddedRoot) {
  const Configuration c = accepted({});
  EXPECT_EQ(c.action, Configuration::Action::Boot);
  EXPECT_EQ(c.root_type, "");
  EXPECT_EQ(c.memory_bytes, 0u);
  EXPECT_EQ(describe_channel_pair(c.console(0)), "fd:0,fd:1");
}

TEST(CommandLine, TakesSwitchesInUmlsForm) {
  const Configuration c = accepted({"root=/dev/root", "rootfstype=hostfs", "rootflags=/srv/root", "rw", "init=/bin/sh", "mem=512M", "ncpus=2", "quiet",
                                    "debug", "shield=off", "io_uring=off", "umid=box-1", "uml_dir=/tmp/uml", "con0=fd:3,fd:4", "con=null", "noreboot", "TERM=xterm",
                                    "single", "some.parameter=1", "--", "-x", "mem=3"});
  EXPECT_EQ(c.root, "/dev/root");
  EXPECT_EQ(c.root_type, "hostfs");
  EXPECT_EQ(c.root_flags, "/srv/root");
  EXPECT_EQ(c.root_is_read_only, false);
  EXPECT_EQ(c.init, "/bin/sh");
  EXPECT_EQ(c.memory_bytes, uint64_t{512} << 20);
  EXPECT_EQ(c.cpus, 2u);
  EXPECT_TRUE(c.quiet);
  EXPECT_TRUE(c.debug);
  EXPECT_EQ(c.shield, Configuration::Shield::Off);
  EXPECT_FALSE(c.may_use_io_uring);
  EXPECT_EQ(c.name, "box-1");
  EXPECT_EQ(c.name_directory, "/tmp/uml");
  EXPECT_EQ(describe_channel_pair(c.console(0)), "fd:3,fd:4");
  EXPECT_EQ(describe_channel_pair(c.console(1)), "null");
  EXPECT_TRUE(c.exits_on_reboot);
  EXPECT_EQ(c.init_environment, Words{"TERM=xterm"});
  EXPECT_EQ(c.init_arguments, (Words{"single", "-x", "mem=3"}));
  // Switches that UML swallows are not shown.
  EXPECT_EQ(c.kernel_command_line,
            "root=/dev/root rootfstype=hostfs rootflags=/srv/root rw init=/bin/sh mem=512M quiet debug uml_dir=/tmp/uml con0=fd:3,fd:4 con=null noreboot "
            "TERM=xterm single some.parameter=1");
}

TEST(CommandLine, RefusesWithAMessageThatNamesTheSwitch) {
  const struct {
    Words arguments;
    std::vector<const char*> mentions;
  } cases[] = {
      {{"mem=lots"}, {"mem=lots", "512M"}},
      {{"mem="}, {"mem=", "512M"}},
      {{"mem=1M"}, {"mem=1M", "at least 16M"}},
      {{"mem=99999999999999G"}, {"mem="}},
      {{"mem"}, {"mem", "value is missing"}},
      {{"quiet=1"}, {"quiet", "takes no value"}},
      {{"ncpus=0"}, {"ncpus=0", "1 to 256"}},
      {{"ncpus=two"}, {"ncpus=two"}},
      {{"shield=maybe"}, {"shield=maybe", "on, off"}},
      {{"io_uring=on"}, {"io_uring=on", "auto"}},
      {{"dispatch=maybe"}, {"dispatch=maybe", "seccomp"}},
      {{"init=sh"}, {"init=sh", "absolute"}},
      {{"umid=a/b"}, {"umid=a/b"}},
      {{"umid=a", "umid=b"}, {"umid already set"}},
      {{"uml_dir="}, {"uml_dir can't be an empty string"}},
      {{"seccomp=1"}, {"seccomp=1", "on, auto or off"}},
      {{"con0=fd"}, {"con0=fd", "fd:N"}},
      {{"con0=fd:"}, {"must specify a file descriptor"}},
      {{"con0=/dev/tty8"}, {"Failed to set up console with configuration string \"0=/dev/tty8\"", "No match for configured backends", "tty:PATH"}},
      {{"con1=port:0"}, {"port_init"}},
      {{"con64=none"}, {"Device number out of range"}},
      {{"ssl64=pts"}, {"Failed to set up serial line", "Device number out of range"}},
      {{"xterm=a,b,c,d"}, {"xterm=", "three fields"}},
      {{"ubd-1=f"}, {"Couldn't parse device number"}},
      {{"ubd256=f"}, {"Device number out of range"}},
      {{"ubd0=f", "ubda=g"}, {"\"a=g\" : Device is already configured"}},
      {{"ubd0x=f"}, {"Expected '=' or flag letter (r, s, c, t or d)"}},
      {{"ubd0rscdtr=f"}, {"Too many flags specified"}},
      {{"ubd0="}, {"a file is missing"}},
      {{"ubd0d=f,g"}, {"Can't specify both 'd' and a cow file"}},
      {{"udb0=f"}, {"almost certainly a ubd -> udb TYPO"}},
      {{"eth0=tuntap,tap0"}, {"network", "not available yet"}},
      {{"vec0:transport=tap"}, {"network", "not available yet"}},
      {{"hostfs=/srv"}, {"not available yet"}},
      {{"mconsole=listen:/x"}, {"mconsole_setup : Unknown option - 'listen:/x'", "notify:"}},
      {{"mconsole=notify:"}, {"mconsole_setup"}},
      {{"tty_log_fd=x"}, {"tty_log_fd=x", "strtoul failed"}},
      {{"tty_log_fd=-1"}, {"strtoul failed"}},
      {{"tty_log_dir="}, {"tty_log_dir="}},
      {{"printk.time=2"}, {"printk.time=2", "0 or 1"}},
      {{"printk.devkmsg=no"}, {"on, off or ratelimit"}},
      {{"loglevel=all"}, {"loglevel=all", "0 to 8"}},
      {{"stderr=yes"}, {"stderr=yes"}},
      {{"root=/dev/ubda", "rootfstype=hostfs"}, {"a disk has no hostfs"}},
      {{"root=/dev/nothing"}, {"root=/dev/nothing", "no such device", "rootfstype=hostfs"}},
      {{"rootfstype=ext9"}, {"rootfstype=ext9", "rootfstype=hostfs"}},
      // near misses
      {{"men=2G"}, {"men=2G", "mem=", "env=men=2G"}},
      {{"memm=2G"}, {"mem="}},
      {{"rootfstpye=hostfs"}, {"rootfstype="}},
      {{"roootflags=/x"}, {"rootflags="}},
      {{"rootflag=/x"}, {"rootflags="}},
      {{"int=/bin/sh"}, {"init="}},
      {{"ncpu=2"}, {"ncpus="}},
      {{"sheild=off"}, {"shield="}},
      {{"quite"}, {"quiet", "after ‘--’"}},
      {{"wr"}, {"rw"}},
      {{"no-reboot"}, {"noreboot"}},
      {{"umdi=x"}, {"umid="}},
      {{"cno0=null"}, {"con0="}},
      {{"--verson"}, {"--verson", "--version"}},
      {{"-x"}, {"-x", "after ‘--’"}},
  };
  for (const auto& one : cases) {
    const std::string text = refused(one.arguments);
    EXPECT_NE(text, "") << one.arguments[0];
    for (const char* word : one.mentions) EXPECT_NE(text.find(word), std::string::npos) << word << " in: " << text;
  }
}

TEST(CommandLine, TakesWhatConcernsTheLogAndItsListeners) {
  const Configuration c = accepted({"loglevel=4", "stderr=1", "mconsole=notify:/run/me/notices"});
  EXPECT_EQ(c.console_level, 4);
  EXPECT_TRUE(c.copies_log_to_error);
  EXPECT_EQ(c.notify_socket, "/run/me/notices");
  EXPECT_FALSE(accepted({"stderr=0"}).copies_log_to_error);
  EXPECT_EQ(accepted({}).console_level, std::nullopt);
}

TEST(CommandLine, GivesConsolesWindowsOnlyWhereThereAreSome) {
  const char* const display = std::getenv("DISPLAY");
  const std::string before = display ? display : "";
  unsetenv("DISPLAY");
  EXPECT_EQ(describe_channel_pair(accepted({}).console(1)), "none");
  setenv("DISPLAY", ":0", 1);
  EXPECT_EQ(describe_channel_pair(accepted({}).console(1)), "xterm");
  EXPECT_EQ(describe_channel_pair(accepted({"run", "--", "true"}).console(1)), "none");
  display ? setenv("DISPLAY", before.c_str(), 1) : unsetenv("DISPLAY");
}

TEST(CommandLine, TakesSerialLinesAndWindows) {
  const Configuration c = accepted({"ssl=port:9000", "ssl63=pts", "xterm=rxvt,,-x", "ssl-non-raw"});
  EXPECT_EQ(describe_channel_pair(c.serial_line(0)), "port:9000");
  EXPECT_EQ(describe_channel_pair(c.serial_line(63)), "pts");
  EXPECT_EQ(describe_channel_pair(accepted({}).serial_line(5)), "pty");
  EXPECT_EQ(c.xterm.emulator, "rxvt");
  EXPECT_EQ(c.xterm.title_switch, "-T");
  EXPECT_EQ(c.xterm.execute_switch, "-x");
  EXPECT_FALSE(c.serial_lines_are_raw);
  EXPECT_EQ(c.kernel_command_line, "ssl=port:9000 ssl63=pts ssl-non-raw");
}

TEST(CommandLine, TakesConsolesOfTheLogInTheirOrder) {
  const Configuration c = accepted({"console=tty0", "console=ttyS1,115200n8", "console=tty0"});
  EXPECT_EQ(c.log_consoles, (Words{"ttyS1", "tty0"})) << "one that is named again counts where it stands last";
  EXPECT_EQ(c.kernel_command_line, "console=tty0 console=ttyS1,115200n8 console=tty0");
  EXPECT_EQ(accepted({"console=ttyS"}).log_consoles, Words{"ttyS0"});
  for (const char* nowhere : {"console=", "console=null", "console=ttynull"}) EXPECT_EQ(accepted({nowhere}).log_consoles, Words{"null"}) << nowhere;
  for (const char* unknown : {"console=hvc0", "console=ttyS64", "console=tty64", "console=ttyX", "console=netcon0"}) {
    EXPECT_EQ(accepted({unknown}).log_consoles, Words{}) << unknown;
    ASSERT_EQ(accepted({unknown}).notes.size(), 1u) << unknown;
    EXPECT_NE(accepted({unknown}).notes[0].find(unknown), std::string::npos);
  }
}

TEST(CommandLine, TakesHowTheLogIsShown) {
  EXPECT_FALSE(accepted({"printk.time=0"}).log_has_times);
  EXPECT_TRUE(accepted({"printk.time=y"}).log_has_times);
  EXPECT_TRUE(accepted({"ignore_loglevel"}).ignores_log_level);
  EXPECT_EQ(accepted({"printk.devkmsg=on"}).program_lines, "on");
  EXPECT_TRUE(accepted({"earlyprintk"}).shows_early_log);
  EXPECT_FALSE(accepted({"earlyprintk"}).keeps_early_log);
  EXPECT_TRUE(accepted({"earlyprintk=stderr,keep"}).keeps_early_log);
  EXPECT_EQ(accepted({"earlyprintk=stderr"}).notes.size(), 0u);
  EXPECT_EQ(accepted({"earlyprintk=vga"}).notes.size(), 1u) << "there is no such device";
  EXPECT_EQ(accepted({"tty_log_fd=0x10", "tty_log_dir=/tmp"}).tty_log_descriptor, 16);
  EXPECT_EQ(accepted({"tty_log_fd=3", "tty_log_dir=logs"}).kernel_command_line, "tty_log_dir=logs") << "as in User Mode Linux";
}

TEST(CommandLine, HandsOnWhatIsNotItsOwn) {
  for (const char* word : {"HOME=/root", "FOO=bar", "PATH=/bin", "lang=C", "runlevel=3", "x=1", "MEM=2"}) {
    EXPECT_EQ(accepted({word}).init_environment, Words{word});
    EXPECT_EQ(accepted({word}).kernel_command_line, word);
  }
  for (const char* word : {"single", "3", "s", "S", "emergency", "foo"}) EXPECT_EQ(accepted({word}).init_arguments, Words{word});
  EXPECT_EQ(accepted({"env=men=2G"}).init_environment, Words{"men=2G"});
  // Parameters of modules belong to nobody.
  EXPECT_EQ(accepted({"a.b=c", "d.e"}).init_environment, Words{});
}

TEST(CommandLine, AcceptsWhatHasNoEffect) {
  for (const char* word : {"rootwait", "panic=1", "nosysemu", "mode=tt", "skas0", "jail", "honeypot", "debugtrace", "debug=go",
                           "gdb-pid=12", "fake_ide", "seccomp=on", "aio=2.4", "con1=none", "con63=null"}) {
    const Configuration c = accepted({word});
    EXPECT_EQ(c.init_environment, Words{}) << word;
    EXPECT_EQ(c.init_arguments, Words{}) << word;
  }
  EXPECT_EQ(accepted({"jail"}).notes.size(), 1u);
  EXPECT_EQ(accepted({"rootwait"}).notes.size(), 0u);
}

TEST(CommandLine, DebugSaysOnTwoLinesThatGdbDoesNotNeedIt) {
  const Configuration c = accepted({"debug"});
  EXPECT_TRUE(c.debug);
  ASSERT_EQ(c.notes.size(), 2u);
  EXPECT_NE(c.notes[0].find("gdb"), std::string::npos);
}

TEST(CommandLine, ConsoleWithANumberWinsWhicheverComesFirst) {
  const auto console = [](const Words& words, unsigned number) { return describe_channel_pair(accepted(words).console(number)); };
  EXPECT_EQ(console({"con0=fd:5", "con=null"}, 0), "fd:5");
  EXPECT_EQ(console({"con=null", "con0=fd:5"}, 0), "fd:5");
  EXPECT_EQ(console({"con=null", "con0=fd:5"}, 15), "null");
  EXPECT_EQ(console({"con=null"}, 0), "null");
  EXPECT_EQ(console({"con0=null,fd:1"}, 0), "null,fd:1");
}

TEST(CommandLine, InformationActsWhereItStands) {
  EXPECT_EQ(accepted({"--help"}).action, Configuration::Action::Help);
  EXPECT_EQ(accepted({"--version", "mem=x"}).action, Configuration::Action::Version);
  EXPECT_EQ(accepted({"--showconfig"}).action, Configuration::Action::ShowConfiguration);
  EXPECT_NE(refused({"mem=x", "--help"}), "");
  EXPECT_EQ(accepted({"--", "--help"}).init_arguments, Words{"--help"});
  EXPECT_NE(help_text().find("rootfstype="), std::string::npos);
  EXPECT_NE(run_help_text().find("--workdir"), std::string::npos);
}

TEST(CommandLine, TakesDisksInUmlsForms) {
  const Configuration c = accepted({"ubd0=root.img", "ubdbr=a.cow,b.img", "ubd=sync", "ubd12dt=c:,serial:1"});
  ASSERT_EQ(c.disks.size(), 3u);
  EXPECT_EQ(c.disks[0].number, 0u);
  EXPECT_EQ(c.disks[0].file, "root.img");
  EXPECT_FALSE(c.disks[0].is_read_only || c.disks[0].is_synchronous || c.disks[0].is_plain || c.disks[0].is_shared);
  EXPECT_TRUE(c.disks[0].can_discard);
  EXPECT_EQ(c.disks[1].number, 1u);
  EXPECT_TRUE(c.disks[1].is_read_only);
  EXPECT_EQ(c.disks[1].file, "a.cow");
  EXPECT_EQ(c.disks[1].second_file, "b.img");
  EXPECT_EQ(c.disks[2].number, 12u);
  EXPECT_TRUE(c.disks[2].is_synchronous && c.disks[2].is_plain && !c.disks[2].can_discard);
  EXPECT_EQ(c.disks[2].second_file, "");
  EXPECT_EQ(c.disks[2].serial, "serial:1");
  EXPECT_EQ(c.kernel_command_line, "ubd0=root.img ubdbr=a.cow,b.img ubd=sync ubd12dt=c:,serial:1");
  EXPECT_EQ(accepted({"ubd0=f", "root=/dev/ubda1", "rootfstype=ext4"}).root, "/dev/ubda1");
}

TEST(CommandLine, RunFormTakesAnImageAsRoot) {
  // The test's own program stands for an image: it is a file.
  const Configuration c = accepted({"run", "ubd0=other.img", "--root", "/proc/self/exe", "--cow", "private.cow", "--", "true"});
  ASSERT_EQ(c.disks.size(), 2u);
  EXPECT_EQ(c.disks[1].number, 1u);
  EXPECT_EQ(c.disks[1].file, "private.cow");
  EXPECT_EQ(c.disks[1].second_file, "/proc/self/exe");
  EXPECT_EQ(c.root, "/dev/ubd1");
  EXPECT_EQ(c.root_type, "");
  EXPECT_NE(refused({"run", "--cow", "private.cow", "--", "true"}).find("--root"), std::string::npos);
}

TEST(CommandLine, RunForm) {
  const Configuration c = accepted({"run", "--root", "/srv/root", "--ro", "--mem", "1G", "--cpus=2", "--env", "A=1", "--env", "B=x y", "--workdir", "/tmp", "debug",
                                    "C=3", "--", "ls", "-l", "--", "mem=1"});
  EXPECT_EQ(c.action, Configuration::Action::Run);
  EXPECT_EQ(c.root_type, "hostfs");
  EXPECT_EQ(c.root_flags, "/srv/root");
  EXPECT_EQ(c.root_is_read_only, true);
  EXPECT_EQ(c.memory_bytes, uint64_t{1} << 30);
  EXPECT_EQ(c.cpus, 2u);
  EXPECT_EQ(c.run.environment, (Words{"C=3", "A=1", "B=x y"}));
  EXPECT_EQ(c.run.working_directory, "/tmp");
  EXPECT_TRUE(c.debug);
  EXPECT_EQ(c.run.command, (Words{"ls", "-l", "--", "mem=1"}));

  EXPECT_EQ(accepted({"run", "--", "true"}).root_type, "");
  EXPECT_EQ(accepted({"mem=1G", "run", "--", "true"}).memory_bytes, uint64_t{1} << 30);
  EXPECT_EQ(accepted({"run", "rootfstype=hostfs", "rootflags=/x", "--", "true"}).root_flags, "/x");
  EXPECT_EQ(accepted({"run", "--help"}).action, Configuration::Action::RunHelp);
  EXPECT_EQ(accepted({"--", "run"}).action, Configuration::Action::Boot);
}

TEST(CommandLine, RunFormRefuses) {
  const struct {
    Words arguments;
    const char* mention;
  } cases[] = {
      {{"run"}, "there is no ‘--’"},
      {{"run", "--"}, "no command"},
      {{"run", "ls"}, "after ‘--’"},
      {{"run", "--rooot", "/", "--", "ls"}, "--root"},
      {{"run", "--mem", "x", "--", "ls"}, "--mem=x"},
      {{"run", "--cpus", "0", "--", "ls"}, "--cpus=0"},
      {{"run", "--env", "A", "--", "ls"}, "NAME=VALUE"},
      {{"run", "--workdir", "tmp", "--", "ls"}, "absolute"},
      {{"run", "--root", "/", "rootfstype=hostfs", "--", "ls"}, "two root filesystems"},
      {{"run", "men=1", "--", "ls"}, "mem="},
      {{"run", "--root"}, "--root"},
  };
  for (const auto& one : cases) {
    const std::string text = refused(one.arguments);
    EXPECT_NE(text.find(one.mention), std::string::npos) << one.mention << " in: " << text;
  }
}

TEST(CommandLine, EditDistanceCountsSwaps) {
  EXPECT_EQ(edit_distance("mem", "mem"), 0u);
  EXPECT_EQ(edit_distance("mme", "mem"), 1u);
  EXPECT_EQ(edit_distance("rootfstpye", "rootfstype"), 1u);
  EXPECT_EQ(edit_distance("", "abc"), 3u);
}

}  // namespace
}  // namespace umk::monitor

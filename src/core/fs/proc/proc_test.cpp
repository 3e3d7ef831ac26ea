#include "core/fs/proc/proc.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <fstream>
#include <future>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "core/fs/tmpfs/tmpfs.h"
#include "core/kernel/device/device_registry.h"
#include "core/kernel/task/fake_machine.h"
#include "core/kernel/time/log_limit.h"
#include "core/kernel/vfs/vfs.h"

namespace umk::proc {
namespace {

using vfs::At;
using vfs::OpenFile;
using vfs::Path;
namespace open_flags = vfs::open_flags;

/// A machine with a tmpfs as root and proc on /proc; the test is process 1.
class ProcTest : public testing::Test {
 protected:
  ProcTest() : tmpfs_(*machine_.kernel.cache_window, uint64_t{1} << 30), proc_(machine_.kernel) {
    vfs_ = vfs::Vfs::create().take();
    machine_.kernel.vfs = vfs_.get();
    machine_.kernel.devices = &devices_;
    EXPECT_TRUE(vfs_->register_type(tmpfs_).ok());
    EXPECT_TRUE(vfs_->register_type(proc_).ok());
    Path root = vfs_->mount_root(*Credentials::root().take(), "tmpfs", "root", 0, "mode=0755").take();
    init().fs().set_root(root);
    init().fs().set_working_directory(root);
    EXPECT_TRUE(vfs_->make_directory(me(), at("/proc"), 0755).ok());
    EXPECT_TRUE(vfs_->mount(me(), "proc", at("/proc"), "proc", vfs::mount_flags::kNoSetUid, "").ok());
  }
  ~ProcTest() override {
    wait_for_children();
    if (init().fds_) init().fds().close_all(nullptr);
    init().fs().set_root({});
    init().fs().set_working_directory({});
    init().address_space().executable = nullptr;
    vfs_ = nullptr;
  }

  /// What children held of the file system they have let go when they are zombies.
  void wait_for_children() {
    for (bool all_ended = false; !all_ended;) {
      MutexLock lock(machine_.kernel.tasks.mutex);
      all_ended = true;
      for (const Process& child : init().process().children) all_ended &= child.is_zombie;
    }
  }

  Task& init() { return machine_.init(); }
  vfs::Caller me() { return Task::current().caller(); }
  static At at(std::string_view path) { return At{nullptr, path}; }
  Result<RefPtr<OpenFile>> open(std::string_view path, uint32_t flags = 0) { return vfs_->open(me(), at(path), {flags, 0666, 0}); }
  static std::string read(OpenFile& file, size_t piece = 4096) {
    std::string all;
    for (;;) {
      std::string text(piece, '\0');
      UserOutBuffer buffer(reinterpret_cast<uint64_t>(text.data()), text.size());
      const Result<size_t> count = file.read(buffer);
      if (!count.ok()) return "errno " + std::to_string(count.code());
      if (count.value() == 0) return all;
      all.append(text, 0, count.value());
    }
  }
  std::string get(std::string_view path, size_t piece = 4096) {
    const Result<RefPtr<OpenFile>> file = open(path);
    return file.ok() ? read(*file.value(), piece) : "errno " + std::to_string(file.code());
  }
  int put(std::string_view path, std::string_view text) {
    const Result<RefPtr<OpenFile>> file = open(path, open_flags::kWriteOnly | open_flags::kTruncate);
    if (!file.ok()) return file.code();
    UserInBuffer buffer(reinterpret_cast<uint64_t>(text.data()), text.size());
    return file.value()->write(buffer).code();
  }
  std::string link(std::string_view path) {
    const Result<Path> place = vfs_->lookup(me(), at(path), 0);
    if (!place.ok()) return "errno " + std::to_string(place.code());
    const Result<String> text = place.value().dentry->inode()->read_link();
    return text.ok() ? std::string(text.value().view()) : "errno " + std::to_string(text.code());
  }
  struct NameList final : vfs::DirectorySink {
    bool emit(std::string_view name, vfs::InodeNumber number, vfs::FileType, uint64_t) override {
      if (left-- == 0) return false;
      numbers[std::string(name)] = number;
      return names.insert(std::string(name)).second;
    }
    std::set<std::string> names;
    std::map<std::string, vfs::InodeNumber> numbers;
    size_t left = SIZE_MAX;
  };
  NameList names(std::string_view path) {
    NameList list;
    const RefPtr<OpenFile> file = open(path).take();
    // In several calls, as getdents with a small buffer would.
    for (size_t before = ~size_t{0}; before != list.names.size();) {
      before = list.names.size();
      list.left = 5;
      EXPECT_TRUE(file->list(list).ok());
    }
    return list;
  }
  /// "Key:\tvalue" lines.
  static std::map<std::string, std::string> fields(const std::string& text) {
    std::map<std::string, std::string> found;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      const size_t colon = line.find(':');
      size_t value = colon + 1;
      while (value < line.size() && (line[value] == ' ' || line[value] == '\t')) ++value;
      found[line.substr(0, colon)] = line.substr(value);
    }
    return found;
  }
  static std::vector<std::string> words(const std::string& text) {
    std::istringstream stream(text);
    std::vector<std::string> found;
    for (std::string word; stream >> word;) found.push_back(word);
    return found;
  }
  static std::string of_host(const char* path) {
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }
  static std::vector<std::string> keys_in_order(const std::string& text) {
    std::vector<std::string> keys;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) keys.push_back(line.substr(0, line.find(':')));
    return keys;
  }
  RefPtr<Credentials> user(UserId id) {
    RefPtr<Credentials> who = init().credentials().clone().take();
    who->uid = who->euid = who->suid = who->fsuid = id;
    who->gid = who->egid = who->sgid = who->fsgid = id;
    who->effective = who->permitted = CapabilitySet{};
    return who;
  }
  RefPtr<OpenFile> add_file(std::string_view path, uint32_t flags, int fd) {
    RefPtr<OpenFile> file = vfs_->open(me(), at(path), {flags | open_flags::kCreate, 0644, 0}).take();
    EXPECT_TRUE(init().fds().put(Fd{fd}, file, false, 1024, nullptr).ok());
    return file;
  }

  std::promise<void> end_;  // lets children end; they use it until they have
  fake::FakeMachine machine_;
  device::DeviceRegistry devices_;
  fs::TmpfsType tmpfs_;
  Type proc_;
  std::unique_ptr<vfs::Vfs> vfs_;
};

TEST_F(ProcTest, RootListsFilesAndProcesses) {
  std::promise<void>& seen = end_;
  const ProcessId child = machine_.fork(init(), [&](Task&) { seen.get_future().wait(); });
  const NameList list = names("/proc");
  for (const char* name : {".", "..", "1", "self", "thread-self", "mounts", "meminfo", "stat", "uptime", "cpuinfo", "filesystems", "sys", "umk", "exitcode"})
    EXPECT_TRUE(list.names.contains(name)) << name;
  EXPECT_TRUE(list.names.contains(std::to_string(child)));
  EXPECT_EQ(list.numbers.at("1"), vfs_->lookup(me(), at("/proc/1")).take().dentry->inode()->number());
  seen.set_value();
}

TEST_F(ProcTest, SelfLeadsToTheReader) {
  EXPECT_EQ(link("/proc/self"), "1");
  EXPECT_EQ(link("/proc/thread-self"), "1/task/1");
  EXPECT_EQ(words(get("/proc/self/stat"))[0], "1");
  std::promise<std::string> told;
  machine_.fork(init(), [&](Task&) { told.set_value(link("/proc/self")); });
  EXPECT_NE(told.get_future().get(), "1");
}

TEST_F(ProcTest, AProcessThatIsGoneIsNotFound) {
  std::promise<void>& end = end_;
  const ProcessId child = machine_.fork(init(), [&](Task&) { end.get_future().wait(); });
  const std::string place = "/proc/" + std::to_string(child);
  EXPECT_TRUE(vfs_->lookup(me(), at(place + "/stat")).ok());
  const RefPtr<OpenFile> held = open(place + "/stat").take();
  const RefPtr<OpenFile> directory = open(place).take();
  end.set_value();
  RefPtr<Process> process;
  for (bool is_zombie = false; !is_zombie;) {
    MutexLock lock(machine_.kernel.tasks.mutex);
    process = machine_.kernel.tasks.find_process(child);
    is_zombie = process->is_zombie;
  }
  EXPECT_EQ(words(get(place + "/stat"))[2], "Z");
  EXPECT_EQ(get(place + "/cmdline"), "");
  {
    MutexLock lock(machine_.kernel.tasks.mutex);
    reap_locked(machine_.kernel, process);
  }
  process = nullptr;
  EXPECT_EQ(vfs_->lookup(me(), at(place)).code(), ENOENT);
  EXPECT_EQ(read(*held), "errno " + std::to_string(ESRCH));
  NameList list;
  EXPECT_EQ(directory->list(list).code(), ENOENT);
  EXPECT_FALSE(names("/proc").names.contains(std::to_string(child)));
}

TEST_F(ProcTest, StatHasTheFieldsOfLinux) {
  const std::string text = get("/proc/self/stat");
  const std::string host = of_host("/proc/self/stat");
  EXPECT_EQ(words(text.substr(text.rfind(')'))).size(), words(host.substr(host.rfind(')'))).size());
  const std::vector<std::string> fields = words(text.substr(text.rfind(')') + 2));
  EXPECT_EQ(fields[0], "R");
  EXPECT_EQ(fields[1], "0");   // ppid
  EXPECT_EQ(fields[4], "0");   // tty
  EXPECT_EQ(fields[11], "1");  // utime: 10 ms
  EXPECT_EQ(fields[12], "2");
  EXPECT_EQ(fields[15], "20");  // priority
  EXPECT_EQ(fields[17], "1");   // threads
}

TEST_F(ProcTest, StatusHasTheKeysOfLinux) {
  const std::vector<std::string> ours = keys_in_order(get("/proc/self/status"));
  const std::set<std::string> host = [] {
    const std::vector<std::string> keys = keys_in_order(of_host("/proc/self/status"));
    return std::set<std::string>(keys.begin(), keys.end());
  }();
  for (const std::string& key : ours)
    if (key != "Kthread") {
      EXPECT_TRUE(host.contains(key)) << key;
    }
  const auto values = fields(get("/proc/self/status"));
  EXPECT_EQ(values.at("Pid"), "1");
  EXPECT_EQ(values.at("Uid"), "0\t0\t0\t0");
  EXPECT_EQ(values.at("Umask"), "0022");
  EXPECT_EQ(values.at("Threads"), "1");
  EXPECT_EQ(values.at("State"), "R (running)");
  EXPECT_EQ(values.at("CapEff"), "000001ffffffffff");
  EXPECT_EQ(values.at("Cpus_allowed_list"), "0-1");
}

TEST_F(ProcTest, LimitsAreColumnsAsInLinux) {
  std::istringstream ours(get("/proc/self/limits")), host(of_host("/proc/self/limits"));
  std::string line, host_line;
  while (std::getline(host, host_line)) {
    ASSERT_TRUE(std::getline(ours, line));
    EXPECT_EQ(line.substr(0, 25), host_line.substr(0, 25));
    if (host_line.size() > 68) {
      EXPECT_EQ(line.substr(68), host_line.substr(68)) << line;
    }
  }
}

TEST_F(ProcTest, CommCanBeWrittenByTheProcessItself) {
  EXPECT_EQ(put("/proc/self/comm", "a name that is too long\n"), 0);
  EXPECT_EQ(get("/proc/self/comm"), "a name that is \n");
  EXPECT_EQ(words(get("/proc/self/status"))[1], "a");
}

TEST_F(ProcTest, ThreadsAreListedUnderTheirProcess) {
  std::promise<void>& end = end_;
  std::promise<ThreadId> started;
  machine_.fork(init(), [&](Task& task) {
    started.set_value(task.tid());
    const ThreadId thread = machine_.thread(task, [&](Task&) { end.get_future().wait(); });
    (void)thread;
    while (true) {
      MutexLock lock(machine_.kernel.tasks.mutex);
      if (&task.process().tasks.front() == &task.process().tasks.back()) break;
    }
  });
  const ThreadId leader = started.get_future().get();
  const std::string place = "/proc/" + std::to_string(leader);
  NameList list;
  do list = names(place + "/task");
  while (list.names.size() < 4);
  const std::string thread = *list.names.rbegin() == std::to_string(leader) ? *std::next(list.names.rbegin()) : *list.names.rbegin();
  EXPECT_EQ(words(get(place + "/task/" + thread + "/stat"))[0], thread);
  EXPECT_EQ(fields(get(place + "/task/" + thread + "/status")).at("Tgid"), std::to_string(leader));
  EXPECT_EQ(vfs_->lookup(me(), at("/proc/1/task/" + thread)).code(), ENOENT);
  // Found by name at the top, but not listed there.
  EXPECT_TRUE(vfs_->lookup(me(), at("/proc/" + thread + "/stat")).ok());
  EXPECT_FALSE(names("/proc").names.contains(thread));
  EXPECT_FALSE(names(place + "/task/" + thread).names.contains("task"));
  end.set_value();
}

TEST_F(ProcTest, DescriptorsAreMagicLinks) {
  const RefPtr<OpenFile> file = add_file("/data", open_flags::kReadWrite, 3);
  add_file("/data", open_flags::kReadOnly, 5);
  const NameList list = names("/proc/self/fd");
  EXPECT_TRUE(list.names.contains("3") && list.names.contains("5"));
  EXPECT_FALSE(list.names.contains("4"));
  EXPECT_EQ(link("/proc/self/fd/3"), "/data");
  EXPECT_EQ(vfs_->lookup(me(), at("/proc/self/fd/3"), 0).take().dentry->inode()->mode() & 0777, 0700u);
  EXPECT_EQ(vfs_->lookup(me(), at("/proc/self/fd/5"), 0).take().dentry->inode()->mode() & 0777, 0500u);
  EXPECT_TRUE(vfs_->unlink(me(), at("/data")).ok());
  EXPECT_EQ(link("/proc/self/fd/3"), "/data (deleted)");
  // The file is reached although it has no name any more.
  EXPECT_EQ(&open("/proc/self/fd/3").take()->inode(), &file->inode());
  EXPECT_EQ(vfs_->lookup(me(), at("/proc/self/fd/4")).code(), ENOENT);
  EXPECT_TRUE(init().fds().close(Fd{3}, nullptr).ok());
  EXPECT_EQ(vfs_->lookup(me(), at("/proc/self/fd/3"), 0).code(), ENOENT);
}

TEST_F(ProcTest, FdinfoTellsPositionAndFlags) {
  const RefPtr<OpenFile> file = add_file("/data", open_flags::kReadWrite | open_flags::kAppend, 3);
  file->set_position(7);
  EXPECT_TRUE(init().fds().set_close_on_exec(Fd{3}, true).ok());
  const auto values = fields(get("/proc/self/fdinfo/3"));
  EXPECT_EQ(values.at("pos"), "7");
  EXPECT_EQ(values.at("flags"), "02002002");
  EXPECT_EQ(values.at("ino"), std::to_string(file->inode().number()));
}

TEST_F(ProcTest, PlacesAreMagicLinks) {
  EXPECT_TRUE(vfs_->make_directory(me(), at("/dir"), 0755).ok());
  init().fs().set_working_directory(vfs_->lookup(me(), at("/dir")).take());
  EXPECT_EQ(link("/proc/self/cwd"), "/dir");
  EXPECT_EQ(link("/proc/self/root"), "/");
  EXPECT_EQ(link("/proc/self/exe"), "errno " + std::to_string(ENOENT));
  init().address_space().executable = add_file("/program", 0, 9);
  EXPECT_EQ(link("/proc/self/exe"), "/program");
  EXPECT_TRUE(vfs_->lookup(me(), at("/proc/self/cwd/../program")).ok());
}

TEST_F(ProcTest, OthersCannotInspect) {
  const RefPtr<const Credentials> root = init().credentials_ref();
  std::promise<std::pair<std::string, std::string>> told;
  std::promise<int> listed;
  machine_.fork(init(), [&](Task& task) {
    task.set_credentials(user(1000));
    told.set_value({link("/proc/1/cwd"), get("/proc/1/maps")});
    listed.set_value(open("/proc/1/fd").code());
    EXPECT_EQ(words(get("/proc/1/stat"))[0], "1");
    EXPECT_EQ(get("/proc/1/environ"), "errno " + std::to_string(EACCES));
    EXPECT_EQ(link("/proc/self/cwd"), "/");
    EXPECT_EQ(put("/proc/sys/kernel/hostname", "x"), EACCES);
  });
  const auto [cwd, maps] = told.get_future().get();
  EXPECT_EQ(cwd, "errno " + std::to_string(EACCES));
  EXPECT_EQ(maps, "errno " + std::to_string(EACCES));
  EXPECT_EQ(listed.get_future().get(), EACCES);
}

TEST_F(ProcTest, FilesBelongToTheEffectiveUser) {
  std::promise<ThreadId> started;
  std::promise<void>& end = end_;
  machine_.fork(init(), [&](Task& task) {
    task.set_credentials(user(1000));
    started.set_value(task.tid());
    end.get_future().wait();
  });
  const std::string place = "/proc/" + std::to_string(started.get_future().get());
  const auto owner = [&](const std::string& path) { return vfs_->lookup(me(), at(path)).take().dentry->inode()->metadata().take().uid; };
  EXPECT_EQ(owner(place), 1000u);
  EXPECT_EQ(owner(place + "/status"), 1000u);
  const RefPtr<Process> process = [&] {
    MutexLock lock(machine_.kernel.tasks.mutex);
    return machine_.kernel.tasks.find_process(parse_signed(place.substr(6)).value());
  }();
  process->is_dumpable = false;
  EXPECT_EQ(owner(place), 1000u);
  EXPECT_EQ(owner(place + "/status"), 0u);
  end.set_value();
}

TEST_F(ProcTest, MapsShowsAreasInTheFormOfLinux) {
  mm::AddressSpace& space = init().address_space();
  const uint64_t anonymous = space.map(0, 2 * kPageSize, 3, mm::map_flags::kPrivate | mm::map_flags::kAnonymous, nullptr, 0).take();
  const uint64_t stack = space.map_stack(1 << 20, 3).take();
  std::istringstream lines(get("/proc/self/maps", 7));
  std::string line;
  bool saw_anonymous = false, saw_stack = false;
  while (std::getline(lines, line)) {
    unsigned long start, end, offset, inode;
    unsigned major, minor;
    char permissions[8];
    ASSERT_EQ(sscanf(line.c_str(), "%lx-%lx %4s %lx %x:%x %lu", &start, &end, permissions, &offset, &major, &minor, &inode), 7) << line;
    if (start == anonymous) {
      saw_anonymous = true;
      EXPECT_EQ(end, anonymous + 2 * kPageSize);
      EXPECT_STREQ(permissions, "rw-p");
      EXPECT_TRUE(line.ends_with(" 0 "));
    }
    if (end == stack) {
      saw_stack = true;
      EXPECT_EQ(line.find("[stack]"), 73u);
    }
  }
  EXPECT_TRUE(saw_anonymous && saw_stack);
  const std::string smaps = get("/proc/self/smaps");
  EXPECT_NE(smaps.find("Size:                  8 kB\n"), std::string::npos) << smaps;
  EXPECT_NE(smaps.find("VmFlags: rd wr"), std::string::npos);
  EXPECT_NE(get("/proc/self/smaps_rollup").find("[rollup]"), std::string::npos);
  EXPECT_EQ(words(get("/proc/self/statm"))[0], std::to_string(space.total_bytes() / kPageSize));
  space.clear();
}

TEST_F(ProcTest, ArgumentsAndEnvironmentAreReadFromTheProgramsMemory) {
  constexpr uint64_t kPlace = 0x2000'0000;
  void* const memory = mmap(reinterpret_cast<void*>(kPlace), kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  ASSERT_EQ(memory, reinterpret_cast<void*>(kPlace));
  mm::AddressSpace& space = init().address_space();
  using namespace mm::map_flags;
  ASSERT_TRUE(space.map(kPlace, kPageSize, guest::kProtRead | guest::kProtWrite, kPrivate | kAnonymous | kFixed, nullptr, 0).ok());
  const std::string_view text("prog\0-x\0A=1\0", 12);
  std::copy(text.begin(), text.end(), static_cast<char*>(memory));
  space.arguments_start = kPlace;
  space.arguments_end = space.environment_start = kPlace + 8;
  space.environment_end = kPlace + 12;
  const std::string arguments("prog\0-x\0", 8), environment("A=1\0", 4);
  EXPECT_EQ(get("/proc/self/cmdline"), arguments);
  EXPECT_EQ(get("/proc/self/environ"), environment);
  std::promise<std::string> told;
  machine_.fork(init(), [&](Task&) { told.set_value(get("/proc/1/cmdline") + get("/proc/1/environ")); });
  EXPECT_EQ(told.get_future().get(), arguments + environment);
  static_cast<char*>(memory)[7] = 'y';  // a title that goes on to the first NUL
  EXPECT_EQ(get("/proc/self/cmdline"), "prog");
  space.clear();
  munmap(memory, kPageSize);
}

TEST_F(ProcTest, MountsAreEscapedAndSeenFromTheRoot) {
  EXPECT_TRUE(vfs_->make_directory(me(), at("/a b"), 0755).ok());
  EXPECT_TRUE(vfs_->mount(me(), "my disk", at("/a b"), "tmpfs", vfs::mount_flags::kReadOnly | vfs::mount_flags::kNoExec, "").ok());
  const std::string mounts = get("/proc/mounts");
  EXPECT_NE(mounts.find("root / tmpfs rw"), std::string::npos) << mounts;
  EXPECT_NE(mounts.find("proc /proc proc rw,nosuid,relatime 0 0\n"), std::string::npos) << mounts;
  EXPECT_NE(mounts.find("my\\040disk /a\\040b tmpfs ro,noexec,relatime"), std::string::npos) << mounts;
  std::istringstream lines(get("/proc/self/mountinfo"));
  int count = 0;
  for (std::string line; std::getline(lines, line); ++count) {
    const std::vector<std::string> parts = words(line);
    ASSERT_EQ(parts.size(), 10u) << line;
    EXPECT_EQ(parts[6], "-");
    EXPECT_NE(parts[2].find(':'), std::string::npos);
  }
  EXPECT_EQ(count, 3);
}

TEST_F(ProcTest, MachineFilesCanBeParsed) {
  const auto memory = fields(get("/proc/meminfo"));
  EXPECT_EQ(memory.at("MemTotal"), std::to_string((uint64_t{1} << 30) / 1024) + " kB");
  EXPECT_LE(std::stoull(memory.at("MemAvailable")), std::stoull(memory.at("MemTotal")));
  const auto host = fields(of_host("/proc/meminfo"));
  for (const auto& [key, value] : memory)
    if (key != "NFS_Unstable" && key != "Bounce" && key != "WritebackTmp") {
      EXPECT_TRUE(host.contains(key)) << key;
    }
  double up = 0, idle = 0;
  EXPECT_EQ(sscanf(get("/proc/uptime").c_str(), "%lf %lf\n", &up, &idle), 2);
  EXPECT_LE(idle, 2 * up + 0.01);
  double loads[3];
  int running, tasks, newest;
  EXPECT_EQ(sscanf(get("/proc/loadavg").c_str(), "%lf %lf %lf %d/%d %d\n", &loads[0], &loads[1], &loads[2], &running, &tasks, &newest), 6);
  EXPECT_EQ(tasks, 1);
  EXPECT_EQ(newest, 1);
  const std::string stat = get("/proc/stat");
  EXPECT_EQ(words(stat.substr(0, stat.find('\n'))).size(), 11u);
  EXPECT_NE(stat.find("\ncpu1 "), std::string::npos);
  EXPECT_EQ(stat.find("\ncpu2 "), std::string::npos);
  EXPECT_NE(stat.find("\nbtime "), std::string::npos);
  EXPECT_EQ(get("/proc/version").substr(0, 14), "Linux version ");
  EXPECT_EQ(get("/proc/filesystems"), "nodev\ttmpfs\nnodev\tproc\n");
  EXPECT_EQ(get("/proc/swaps"), "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n");
  EXPECT_EQ(get("/proc/devices"), "Character devices:\n\nBlock devices:\n");
}

// procps finds a terminal's name in the second column by the major number and the range of minors.
TEST_F(ProcTest, TerminalDriversHaveTheColumnsOfLinux) {
  const std::string drivers = get("/proc/tty/drivers");
  EXPECT_NE(drivers.find("/dev/console         /dev/console    5       1 system:console\n"), std::string::npos) << drivers;
  EXPECT_NE(drivers.find("/dev/ttyS       4 64-127 serial\n"), std::string::npos) << drivers;
  EXPECT_NE(drivers.find("/dev/tty        4 0-63 console\n"), std::string::npos) << drivers;
  EXPECT_NE(drivers.find("pty_slave            /dev/pts      136 0-1048575 pty:slave\n"), std::string::npos) << drivers;
  EXPECT_EQ(get("/proc/tty/ldiscs"), "n_tty       0\n");
}

TEST_F(ProcTest, ProcessorsAreThoseOfTheHost) {
  const std::string text = get("/proc/cpuinfo");
  const auto ours = fields(text.substr(text.find("\n\n") + 2)), host = fields(of_host("/proc/cpuinfo"));
  for (const char* key : {"vendor_id", "cpu family", "model", "model name", "stepping", "cpuid level", "cache size", "clflush size", "address sizes", "wp"}) {
    ASSERT_TRUE(ours.contains(key + std::string("\t")) || ours.contains(std::string(key) + "\t\t") || ours.contains(key)) << key;
  }
  const auto value = [](const std::map<std::string, std::string>& all, const std::string& key) {
    for (const char* tabs : {"", "\t", "\t\t"})
      if (const auto found = all.find(key + tabs); found != all.end()) return found->second;
    return std::string("none");
  };
  for (const char* key : {"vendor_id", "cpu family", "model", "model name", "stepping", "cpuid level", "clflush size", "address sizes"})
    EXPECT_EQ(value(ours, key), value(host, key)) << key;
  EXPECT_EQ(value(ours, "processor"), "1");
  const std::vector<std::string> flags = words(value(ours, "flags")), host_flags = words(value(host, "flags"));
  const std::set<std::string> known(host_flags.begin(), host_flags.end());
  // The host's kernel may hide what the processor says; a handful is tolerated, a wrong table is not.
  std::vector<std::string> unknown;
  for (const std::string& flag : flags)
    if (!known.contains(flag)) unknown.push_back(flag);
  EXPECT_LE(unknown.size(), 4u) << testing::PrintToString(unknown);
  for (const char* flag : {"fpu", "sse2", "syscall", "nx", "lm"}) EXPECT_NE(std::find(flags.begin(), flags.end(), flag), flags.end()) << flag;
}

TEST_F(ProcTest, ReadingInPiecesShowsOneStateAndRewindingANewOne) {
  const RefPtr<OpenFile> file = open("/proc/sys/kernel/random/uuid").take();
  const std::string whole = read(*file, 5);
  EXPECT_EQ(whole.size(), 37u);
  EXPECT_EQ(whole[14], '4');
  EXPECT_EQ(file->seek(0, 0).value(), 0u);
  EXPECT_NE(read(*file, 5), whole);
  EXPECT_EQ(file->seek(0, 2).code(), EINVAL);
  EXPECT_EQ(get("/proc/sys/kernel/random/boot_id"), get("/proc/sys/kernel/random/boot_id"));
}

TEST_F(ProcTest, SettingsThatCanBeWrittenHaveAnEffect) {
  EXPECT_EQ(put("/proc/sys/kernel/hostname", "tin\n"), 0);
  EXPECT_STREQ(machine_.kernel.host_name.host().data(), "tin");
  EXPECT_EQ(get("/proc/sys/kernel/hostname"), "tin\n");
  EXPECT_EQ(put("/proc/sys/fs/protected_regular", "2\n"), 0);
  EXPECT_EQ(vfs_->protections.regular.load(), 2);
  EXPECT_EQ(get("/proc/sys/fs/lease-break-time"), "45\n");
  EXPECT_EQ(put("/proc/sys/fs/lease-break-time", "3\n"), 0);
  EXPECT_EQ(vfs_->leases.break_seconds.load(), 3);
  EXPECT_EQ(put("/proc/sys/fs/leases-enable", "0"), 0);
  EXPECT_EQ(vfs_->leases.enable.load(), 0);
  EXPECT_EQ(put("/proc/sys/fs/protected_regular", "3\n"), EINVAL);
  // Even the superuser cannot write the others.
  EXPECT_EQ(put("/proc/sys/kernel/osrelease", "x"), EACCES);
  EXPECT_EQ(put("/proc/sys/vm/drop_caches", "3"), 0);
  EXPECT_EQ(get("/proc/sys/kernel/pid_max"), "32768\n");
  EXPECT_EQ(get("/proc/sys/fs/file-max"), "9223372036854775807\n");
}

TEST_F(ProcTest, ExitCodeIsReadAndWrittenAsInUserModeLinux) {
  EXPECT_EQ(get("/proc/exitcode"), "0\n");
  EXPECT_EQ(put("/proc/exitcode", "0x11\n"), 0);
  EXPECT_EQ(machine_.kernel.exit_code.load(), 17);
  EXPECT_EQ(put("/proc/exitcode", "010"), 0);
  EXPECT_EQ(get("/proc/exitcode"), "8\n");
  EXPECT_EQ(put("/proc/exitcode", "three"), EINVAL);
}

TEST_F(ProcTest, NoticesAreForWhoListens) {
  EXPECT_EQ(names("/proc").names.count("mconsole"), 0u);
  EXPECT_EQ(put("/proc/mconsole", "x"), ENOENT);
  const int event = eventfd(0, EFD_NONBLOCK);
  machine_.kernel.user_notices.connect(event);
  // What was not there is remembered; a machine has its listener before anybody looks.
  vfs_->dentries().purge(nullptr);
  EXPECT_EQ(names("/proc").names.count("mconsole"), 1u);
  EXPECT_EQ(put("/proc/mconsole", "I am up"), 0);
  EXPECT_EQ(get("/proc/mconsole"), "errno 5");
  char text[600];
  size_t bytes = 0;
  ASSERT_TRUE(machine_.kernel.user_notices.take(text, bytes));
  EXPECT_EQ(std::string(text, bytes), "I am up");
  uint64_t woken = 0;
  EXPECT_EQ(::read(event, &woken, sizeof woken), 8);
  close(event);
}

TEST_F(ProcTest, LogLevelsAreReadAndWritten) {
  EXPECT_EQ(get("/proc/sys/kernel/printk"), "7\t4\t1\t7\n");
  EXPECT_EQ(put("/proc/sys/kernel/printk", "3\n"), 0);
  EXPECT_EQ(get("/proc/sys/kernel/printk"), "3\t4\t1\t7\n");
  EXPECT_EQ(put("/proc/sys/kernel/printk", "8 5\t2 6"), 0);
  EXPECT_EQ(get("/proc/sys/kernel/printk"), "8\t5\t2\t6\n");
  EXPECT_EQ(put("/proc/sys/kernel/printk", "many"), EINVAL);
  EXPECT_EQ(put("/proc/sysrq-trigger", "4"), 0);
  EXPECT_EQ(get("/proc/sys/kernel/printk"), "4\t5\t2\t6\n");
}

TEST_F(ProcTest, LogLimitsAreReadAndWritten) {
  EXPECT_EQ(get("/proc/sys/kernel/printk_ratelimit"), "5\n");
  EXPECT_EQ(get("/proc/sys/kernel/printk_ratelimit_burst"), "10\n");
  EXPECT_EQ(put("/proc/sys/kernel/printk_ratelimit_burst", "25\n"), 0);
  EXPECT_EQ(get("/proc/sys/kernel/printk_ratelimit_burst"), "25\n");
  EXPECT_EQ(log_limit_settings().burst.load(), 25u);
  EXPECT_EQ(put("/proc/sys/kernel/printk_ratelimit", "-1"), EINVAL);
  log_limit_settings().burst = 10;
}

TEST_F(ProcTest, WritersOfTheLogAreLimitedUnlessBootFixedThem) {
  EXPECT_EQ(get("/proc/sys/kernel/printk_devkmsg"), "ratelimit\n");
  EXPECT_EQ(put("/proc/sys/kernel/printk_devkmsg", "on\n"), 0);
  EXPECT_EQ(get("/proc/sys/kernel/printk_devkmsg"), "on\n");
  EXPECT_EQ(machine_.kernel.kernel_log.program_lines.load(), KernelLog::ProgramLines::On);
  EXPECT_EQ(put("/proc/sys/kernel/printk_devkmsg", "sometimes"), EINVAL);
  machine_.kernel.kernel_log.program_lines_are_fixed = true;
  EXPECT_EQ(put("/proc/sys/kernel/printk_devkmsg", "off"), EINVAL);
  EXPECT_EQ(get("/proc/sys/kernel/printk_devkmsg"), "on\n");
}

TEST_F(ProcTest, LogIsReadWithoutTimesWhenTheseAreOff) {
  machine_.kernel.kernel_log.append(LogLevel::Warning, "one");
  machine_.kernel.kernel_log.shows_time = false;
  const RefPtr<OpenFile> file = open("/proc/kmsg", open_flags::kNonBlock).take();
  std::string text(64, '\0');
  UserOutBuffer buffer(reinterpret_cast<uint64_t>(text.data()), text.size());
  text.resize(file->read(buffer).take());
  EXPECT_EQ(text, "<4>one\n");
}

TEST_F(ProcTest, LogIsReadOnce) {
  machine_.kernel.kernel_log.append(LogLevel::Warning, "one");
  machine_.kernel.kernel_log.append(LogLevel::Info, "two", 3);
  const RefPtr<OpenFile> file = open("/proc/kmsg", open_flags::kNonBlock).take();
  EXPECT_EQ(file->poll(nullptr) & 1u, 1u);
  std::string text(4096, '\0');
  UserOutBuffer buffer(reinterpret_cast<uint64_t>(text.data()), text.size());
  text.resize(file->read(buffer).take());
  EXPECT_TRUE(text.starts_with("<4>[") && text.find("] one\n<30>[") != std::string::npos && text.ends_with("] two\n")) << text;
  EXPECT_EQ(file->poll(nullptr) & 1u, 0u);
  EXPECT_EQ(read(*file), "errno 11");
}

TEST_F(ProcTest, CountersAreOneALine) {
  machine_.kernel.counters.unimplemented[321] = 2;
  EXPECT_EQ(get("/proc/umk/unimplemented"), "321 2\n");
  EXPECT_NE(get("/proc/umk/counters").find("tasks 1\n"), std::string::npos);
}

TEST_F(ProcTest, OutOfMemoryAdjustmentIsCheckedAndKept) {
  EXPECT_EQ(put("/proc/self/oom_score_adj", "-500\n"), 0);
  EXPECT_EQ(get("/proc/self/oom_score_adj"), "-500\n");
  EXPECT_EQ(put("/proc/self/oom_score_adj", "1001"), EINVAL);
}

TEST_F(ProcTest, NothingCanBeMadeOrRemoved) {
  EXPECT_EQ(open("/proc/new", open_flags::kCreate | open_flags::kWriteOnly).code(), EACCES);
  EXPECT_EQ(vfs_->unlink(me(), at("/proc/version")).code(), EPERM);
  EXPECT_EQ(vfs_->change_mode(me(), vfs::Target(vfs_->lookup(me(), at("/proc/version")).take()), 0777).code(), EPERM);
}

TEST_F(ProcTest, CachedNamesDoNotKeepTasksAlive) {
  const int before = machine_.stacks.load();
  std::promise<void>& end = end_;
  const ProcessId child = machine_.fork(init(), [&](Task&) { end.get_future().wait(); });
  const RefPtr<OpenFile> held = open("/proc/" + std::to_string(child) + "/status").take();
  read(*held);
  end.set_value();
  for (RefPtr<Process> process; ;) {
    MutexLock lock(machine_.kernel.tasks.mutex);
    process = machine_.kernel.tasks.find_process(child);
    if (!process->is_zombie) continue;
    reap_locked(machine_.kernel, std::move(process));
    break;
  }
  while (machine_.stacks.load() != before) std::this_thread::yield();
}

TEST(LoadAverage, ApproachesTheNumberOfRunningTasks) {
  LoadAverage load;
  constexpr uint64_t kMinute = 60'000'000'000;
  EXPECT_EQ(load.update(kMinute, 3).minutes[0], 0u);
  const LoadAverage::Values later = load.update(2 * kMinute, 3);
  EXPECT_NEAR(static_cast<double>(later.minutes[0]) / 2048, 3 * (1 - 0.3679), 0.02);
  EXPECT_LT(later.minutes[2], later.minutes[1]);
  EXPECT_EQ(load.update(200 * kMinute, 3).minutes[0], 3u * 2048);
  EXPECT_EQ(load.update(400 * kMinute, 0).minutes[0], 0u);
}

}  // namespace
}  // namespace umk::proc

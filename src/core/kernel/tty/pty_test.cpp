// Pseudo-terminals, and the host's as the oracle: the same steps must give the same bytes, errors and readiness.
#include "core/kernel/tty/pty.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <thread>

#include "core/kernel/tty/fake_job_control.h"

namespace umk::tty {
namespace {

using namespace std::chrono_literals;
using namespace vfs::open_flags;
using namespace termios;

class FakeOwner final : public PtyOwner, public RefCounted {
 public:
  void on_master_closed(unsigned) override { ++closed; }
  void free_number(unsigned) override { ++freed; }
  RefPtr<vfs::Inode> slave_inode(unsigned) override { return nullptr; }
  RefPtr<RefCounted> hold() override { return RefPtr<RefCounted>(this); }
  int closed = 0, freed = 0;
};

/// Either kind of pair, driven by the same steps. Results are texts.
class Pair {
 public:
  virtual ~Pair() = default;
  virtual std::string read(bool master, size_t size) = 0;
  virtual std::string write(bool master, const std::string& text) = 0;
  virtual std::string poll(bool master) = 0;
  virtual std::string control(bool master, uint32_t request, void* argument) = 0;
  virtual std::string open_slave() = 0;
  virtual void close_slave() = 0;
  virtual void close_master() = 0;

 protected:
  static std::string failed(int code) { return "errno " + std::to_string(code); }
};

class OurPair final : public Pair {
 public:
  OurPair() {
    slave_ = make_ref<PtySlave>(jobs_, *owner_, 5).take();
    master_ = slave_->open_master(fake_inode(), kReadWrite | kNonBlock).take();
  }
  std::string read(bool master, size_t size) override { return read_text(file(master), size); }
  std::string write(bool master, const std::string& text) override { return write_text(file(master), text); }
  std::string poll(bool master) override { return std::to_string(file(master).poll(nullptr)); }
  std::string control(bool master, uint32_t request, void* argument) override {
    alignas(16) static char no_task[16];
    const Result<int64_t> result = file(master).ioctl(reinterpret_cast<Task&>(no_task), request, reinterpret_cast<uint64_t>(argument));
    return result.ok() ? "ok" : failed(result.code());
  }
  std::string open_slave() override {
    Result<RefPtr<vfs::OpenFile>> file = slave_->open(fake_inode(), kReadWrite | kNonBlock | kNoControllingTty);
    if (!file.ok()) return failed(file.code());
    slave_file_ = file.take();
    return "ok";
  }
  void close_slave() override { slave_file_ = nullptr; }
  void close_master() override { master_ = nullptr; }

  FakeJobControl& jobs() { return jobs_; }
  FakeOwner& owner() { return *owner_; }
  PtySlave& slave() { return *slave_; }
  void forget_slave() { slave_ = nullptr; }

 private:
  vfs::OpenFile& file(bool master) { return master ? *master_ : *slave_file_; }
  FakeJobControl jobs_;
  RefPtr<FakeOwner> owner_ = make_ref<FakeOwner>().take();
  RefPtr<PtySlave> slave_;
  RefPtr<vfs::OpenFile> master_, slave_file_;
};

class HostPair final : public Pair {
 public:
  explicit HostPair(std::chrono::milliseconds patience)
      : patience_(patience), master_(posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK)) {
    name_ = ptsname(master_);
  }
  ~HostPair() override {
    close_slave();
    close_master();
  }
  std::string read(bool master, size_t size) override {
    settle();
    std::string text(size, '\0');
    const ssize_t count = ::read(fd(master), text.data(), size);
    if (count < 0) return failed(errno);
    text.resize(static_cast<size_t>(count));
    return text;
  }
  std::string write(bool master, const std::string& text) override {
    settle();
    const ssize_t count = ::write(fd(master), text.data(), text.size());
    return count < 0 ? failed(errno) : std::to_string(count);
  }
  std::string poll(bool master) override {
    settle();
    pollfd entry{fd(master), 0x2fff, 0};
    ::poll(&entry, 1, 0);
    return std::to_string(entry.revents);
  }
  std::string control(bool master, uint32_t request, void* argument) override {
    settle();
    return ioctl(fd(master), request, argument) < 0 ? failed(errno) : "ok";
  }
  std::string open_slave() override {
    slave_ = ::open(name_.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK);
    return slave_ < 0 ? failed(errno) : "ok";
  }
  void close_slave() override {
    settle();
    if (slave_ >= 0) ::close(std::exchange(slave_, -1));
  }
  void close_master() override {
    settle();
    if (master_ >= 0) ::close(std::exchange(master_, -1));
  }

 private:
  /// The host moves bytes between the ends on a worker thread, and nothing tells when it has.
  void settle() const { std::this_thread::sleep_for(patience_); }
  int fd(bool master) const { return master ? master_ : slave_; }
  std::chrono::milliseconds patience_;
  int master_ = -1, slave_ = -1;
  std::string name_;
};

/// Runs the same steps on both; each step appends what it saw.
using Steps = std::function<void(Pair&, const std::function<void(std::string)>&)>;

/// A busy host's worker may come later than we looked: the host is asked again with more patience, and its last answer counts.
void compare(const Steps& steps) {
  std::vector<std::string> ours, hosts;
  {
    OurPair pair;
    steps(pair, [&](std::string text) { ours.push_back(std::move(text)); });
  }
  for (const auto patience : {3ms, 30ms, 300ms}) {
    HostPair pair(patience);
    hosts.clear();
    steps(pair, [&](std::string text) { hosts.push_back(std::move(text)); });
    if (hosts == ours) break;
  }
  EXPECT_EQ(ours, hosts);
}

void unlock(Pair& pair) {
  int locked = 0;
  ASSERT_EQ(pair.control(true, kTiocsptlck, &locked), "ok");
}

void set(Pair& pair, const std::function<void(KernelTermios&)>& change, uint32_t request = kTcsets) {
  KernelTermios settings;
  ASSERT_EQ(pair.control(false, kTcgets, &settings), "ok");
  change(settings);
  ASSERT_EQ(pair.control(false, request, &settings), "ok");
}

constexpr bool kMaster = true, kSlave = false;

TEST(PtyAgainstHost, LockedUntilUnlocked) {
  compare([](Pair& pair, const auto& note) {
    int locked = 7;
    note(pair.control(kMaster, kTiocgptlck, &locked));
    note(std::to_string(locked));
    note(pair.open_slave());
    unlock(pair);
    note(pair.open_slave());
    note(pair.control(kSlave, kTiocgptn, &locked));
    note(pair.control(kSlave, kTiocpkt, &locked));
  });
}

TEST(PtyAgainstHost, BytesEchoAndReadiness) {
  compare([](Pair& pair, const auto& note) {
    note(pair.poll(kMaster));
    unlock(pair);
    note(pair.write(kMaster, "early\n"));  // before anybody has the slave open
    pair.open_slave();
    note(pair.poll(kMaster));
    note(pair.read(kMaster, 100));
    note(pair.read(kMaster, 100));
    note(pair.poll(kSlave));
    note(pair.read(kSlave, 100));
    note(pair.read(kSlave, 100));
    note(pair.poll(kSlave));
    note(pair.write(kSlave, "a\nb\t"));
    note(pair.read(kMaster, 2));
    note(pair.read(kMaster, 100));
    note(pair.write(kMaster, "part"));
    int count = -1;
    note(pair.control(kSlave, kFionread, &count));
    note(std::to_string(count));
    note(pair.control(kMaster, kFionread, &count));
    note(std::to_string(count));
    note(pair.control(kSlave, kTiocoutq, &count));
    note(std::to_string(count));
    note(pair.write(kMaster, "\x03more\n"));
    note(pair.read(kMaster, 100));
    note(pair.read(kSlave, 100));
  });
}

TEST(PtyAgainstHost, SlaveClosesAndOpensAgain) {
  compare([](Pair& pair, const auto& note) {
    unlock(pair);
    pair.open_slave();
    pair.write(kSlave, "last words");
    pair.close_slave();
    note(pair.poll(kMaster));
    note(pair.read(kMaster, 100));
    note(pair.read(kMaster, 100));
    note(pair.poll(kMaster));
    note(pair.write(kMaster, "abc"));
    note(pair.open_slave());
    note(pair.poll(kMaster));
    note(pair.read(kMaster, 100));
    note(pair.read(kMaster, 100));
    note(pair.write(kMaster, "def\n"));
    note(pair.read(kSlave, 100));
  });
}

TEST(PtyAgainstHost, MasterCloses) {
  compare([](Pair& pair, const auto& note) {
    unlock(pair);
    pair.open_slave();
    pair.write(kMaster, "typed\n");
    pair.close_master();
    note(pair.poll(kSlave));
    note(pair.read(kSlave, 100));
    note(pair.write(kSlave, "x"));
    KernelTermios settings;
    note(pair.control(kSlave, kTcgets, &settings));
    int number = 1;
    note(pair.control(kSlave, kTiocspgrp, &number));
    note(pair.control(kSlave, kFionread, &number));
  });
}

TEST(PtyAgainstHost, PacketMode) {
  compare([](Pair& pair, const auto& note) {
    unlock(pair);
    pair.open_slave();
    int on = 1;
    note(pair.control(kMaster, kTiocpkt, &on));
    on = 0;
    note(pair.control(kMaster, kTiocgpkt, &on));
    note(std::to_string(on));
    pair.write(kSlave, "data");
    note(pair.poll(kMaster));
    note(pair.read(kMaster, 3));
    note(pair.read(kMaster, 100));
    pair.write(kMaster, "\x13");  // stop
    note(pair.poll(kMaster));
    note(pair.read(kMaster, 100));
    note(pair.poll(kMaster));
    pair.write(kMaster, "\x11");
    note(pair.read(kMaster, 100));
    set(pair, [](KernelTermios& settings) { settings.input_flags &= ~kIxon; });
    note(pair.read(kMaster, 100));
    set(pair, [](KernelTermios& settings) { settings.input_flags |= kIxon; });
    note(pair.read(kMaster, 100));
    set(pair, [](KernelTermios& settings) { settings.local_flags |= kExtproc; });
    note(pair.read(kMaster, 100));
    set(pair, [](KernelTermios& settings) { settings.local_flags &= ~kExtproc; });
    note(pair.read(kMaster, 100));
    note(pair.control(kSlave, kTcflsh, reinterpret_cast<void*>(uintptr_t{kTcioflush})));
    note(pair.read(kMaster, 100));
    note(pair.read(kMaster, 100));
    pair.write(kMaster, "\x03");
    note(pair.read(kMaster, 100));
    note(pair.read(kMaster, 100));
  });
}

TEST(PtyAgainstHost, SettingsAndSizesAreSharedByBothEnds) {
  compare([](Pair& pair, const auto& note) {
    unlock(pair);
    pair.open_slave();
    KernelTermios settings;
    note(pair.control(kMaster, kTcgets, &settings));
    note(std::to_string(settings.input_flags) + " " + std::to_string(settings.output_flags) + " " + std::to_string(settings.control_flags) + " " +
         std::to_string(settings.local_flags));
    for (const uint8_t c : settings.control_characters) note(std::to_string(c));
    settings.local_flags &= ~kEcho;
    settings.control_flags = kB115200 | kParenb;  // a pseudo-terminal has 8 bits and no parity
    note(pair.control(kMaster, kTcsets, &settings));
    note(pair.control(kSlave, kTcgets, &settings));
    note(std::to_string(settings.control_flags) + " " + std::to_string(settings.local_flags));
    KernelTermios2 full;
    note(pair.control(kSlave, kTcgets2, &full));
    note(std::to_string(full.input_speed) + " " + std::to_string(full.output_speed));
    WindowSize size{};
    note(pair.control(kSlave, kTiocgwinsz, &size));
    note(std::to_string(size.rows) + "x" + std::to_string(size.columns));
    size = {50, 132, 1, 2};
    note(pair.control(kMaster, kTiocswinsz, &size));
    size = {};
    note(pair.control(kSlave, kTiocgwinsz, &size));
    note(std::to_string(size.rows) + "x" + std::to_string(size.columns));
    int number = 0;
    note(pair.control(kSlave, kTiocgetd, &number));
    note(std::to_string(number));
    number = 77;
    note(pair.control(kSlave, kTiocsetd, &number));
    note(pair.control(kSlave, kTiocgexcl, &number));
    note(std::to_string(number));
    note(pair.control(kSlave, kTiocgpgrp, &number));
    note(pair.control(kSlave, kTiocgsid, &number));
    note(pair.control(kSlave, kTiocnotty, nullptr));
    note(pair.control(kSlave, 0x5415, &number));  // TIOCMGET
    note(pair.control(kSlave, 0x541e, &number));  // TIOCGSERIAL
    note(pair.control(kSlave, kTcxonc, reinterpret_cast<void*>(uintptr_t{9})));
    note(pair.control(kSlave, kTcflsh, reinterpret_cast<void*>(uintptr_t{9})));
    note(pair.control(kSlave, kTcsbrk, reinterpret_cast<void*>(uintptr_t{1})));
    note(pair.control(kSlave, kTiocgsoftcar, &number));
    note(std::to_string(number));
    note(pair.control(kMaster, kTiocsig, reinterpret_cast<void*>(uintptr_t{15})));
    note(pair.control(kMaster, kTiocsig, reinterpret_cast<void*>(uintptr_t{2})));
    note(pair.control(kMaster, kTiocgpgrp, &number));
    note(std::to_string(number));
    note(pair.control(kMaster, kTiocgsid, &number));
    note(pair.control(kMaster, kTiocnotty, nullptr));
  });
}

TEST(PtyAgainstHost, XoffByIoctlReachesTheMaster) {
  compare([](Pair& pair, const auto& note) {
    unlock(pair);
    pair.open_slave();
    note(pair.control(kSlave, kTcxonc, reinterpret_cast<void*>(uintptr_t{kTcioff})));
    note(pair.read(kMaster, 100));
    note(pair.control(kSlave, kTcxonc, reinterpret_cast<void*>(uintptr_t{kTcion})));
    note(pair.read(kMaster, 100));
    note(pair.control(kSlave, kTcxonc, reinterpret_cast<void*>(uintptr_t{kTcooff})));
    note(pair.write(kSlave, "x"));
    note(pair.poll(kSlave));
    note(pair.control(kSlave, kTcxonc, reinterpret_cast<void*>(uintptr_t{kTcoon})));
    note(pair.write(kSlave, "x"));
  });
}

TEST(Pty, InputPilesUpAndIsNotLost) {
  OurPair pair;
  unlock(pair);
  pair.open_slave();
  set(pair, [](KernelTermios& settings) { settings.local_flags = settings.input_flags = 0; });
  std::string sent, got;
  for (;;) {
    std::string piece(1000, static_cast<char>('a' + sent.size() / 1000 % 26));
    const std::string count = pair.write(true, piece);
    if (count == "errno 11") break;
    piece.resize(std::stoul(count));
    sent += piece;
  }
  EXPECT_GT(sent.size(), 16'384u);
  for (;;) {
    const std::string piece = pair.read(false, 777);
    if (piece == "errno 11") break;
    got += piece;
  }
  EXPECT_EQ(got, sent);
}

TEST(Pty, LongOutputFlowsWithBlockingWriter) {
  OurPair pair;
  unlock(pair);
  const RefPtr<vfs::OpenFile> slave = pair.slave().open(fake_inode(), kReadWrite | kNoControllingTty).take();
  const std::string text(100'000, 'x');
  std::thread writer([&] { EXPECT_EQ(write_text(*slave, text), "100000"); });
  std::string got;
  while (got.size() < text.size()) {
    const std::string piece = pair.read(true, 3000);
    if (piece != "errno 11") got += piece;
  }
  writer.join();
  EXPECT_EQ(got, text);
}

TEST(Pty, MasterCloseHangsUpTheSessionAndFreesTheNumber) {
  OurPair pair;
  unlock(pair);
  const auto session = make_ref<Session>(10).take();
  pair.jobs().member.session = session;
  pair.jobs().member.group = make_ref<ProcessGroup>(10, session).take();
  pair.jobs().member.is_leader = true;
  RefPtr<vfs::OpenFile> slave = pair.slave().open(fake_inode(), kReadWrite).take();
  std::string got;
  std::thread reader([&] { got = read_text(*slave); });
  std::this_thread::sleep_for(20ms);
  pair.close_master();
  reader.join();
  EXPECT_EQ(got, "errno 5");
  EXPECT_EQ(read_text(*slave), "");
  EXPECT_EQ(pair.jobs().events(), "hang up session 10 foreground 10");
  EXPECT_FALSE(session->controlling_tty);
  EXPECT_EQ(pair.owner().closed, 1);
  EXPECT_EQ(pair.owner().freed, 0);
  slave = nullptr;
  pair.forget_slave();
  EXPECT_EQ(pair.owner().freed, 1);
}

TEST(Pty, MasterReadBlocksUntilTheSlaveIsGone) {
  FakeJobControl jobs;
  const auto owner = make_ref<FakeOwner>().take();
  const auto slave = make_ref<PtySlave>(jobs, *owner, 0).take();
  const auto master = slave->open_master(fake_inode(), kReadWrite).take();
  int locked = 0;
  ASSERT_EQ(control(*master, kTiocsptlck, locked), 0);
  RefPtr<vfs::OpenFile> file = slave->open(fake_inode(), kReadWrite | kNoControllingTty).take();
  std::string got;
  std::thread reader([&] { got = read_text(*master); });
  std::this_thread::sleep_for(20ms);
  file = nullptr;
  reader.join();
  EXPECT_EQ(got, "errno 5");
}

}  // namespace
}  // namespace umk::tty

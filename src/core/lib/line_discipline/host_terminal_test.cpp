// The host's pseudo-terminals as the oracle: the same keys, settings and reads must give the same bytes.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <random>
#include <string>
#include <vector>

#include "core/lib/line_discipline/line_discipline.h"
#include "core/lib/line_discipline/fake_line_device.h"

namespace umk {
namespace {

using namespace termios;

struct Step {
  enum class Kind { Type, Print, Read, Settings, FlushInput };
  Kind kind;
  std::string bytes = {};
  size_t count = 0;
  KernelTermios settings = {};
};

Step type(std::string bytes) { return {Step::Kind::Type, std::move(bytes)}; }
Step print(std::string bytes) { return {Step::Kind::Print, std::move(bytes)}; }
Step read(size_t count) { return {Step::Kind::Read, {}, count}; }
Step set(const KernelTermios& settings) { return {Step::Kind::Settings, {}, 0, settings}; }
Step flush_input() { return {Step::Kind::FlushInput}; }

struct Case {
  const char* name;
  std::vector<Step> steps;
};

std::string quoted(const std::string& bytes) {
  std::string text;
  char hex[8];
  for (const unsigned char c : bytes) {
    if (c >= 0x20 && c < 0x7f && c != '\\') {
      text += static_cast<char>(c);
    } else {
      snprintf(hex, sizeof hex, "\\x%02x", c);
      text += hex;
    }
  }
  return text;
}

std::string described(const Step& step) {
  char text[200];
  switch (step.kind) {
    case Step::Kind::Type: return "type \"" + quoted(step.bytes.substr(0, 200)) + "\"";
    case Step::Kind::Print: return "print \"" + quoted(step.bytes.substr(0, 200)) + "\"";
    case Step::Kind::Read: return "read " + std::to_string(step.count);
    case Step::Kind::FlushInput: return "flush input";
    case Step::Kind::Settings: break;
  }
  const KernelTermios& s = step.settings;
  snprintf(text, sizeof text, "set iflag=%#x oflag=%#x lflag=%#x min=%d time=%d eol=%d eol2=%d erase=%d", s.input_flags, s.output_flags,
           s.local_flags, s.control_characters[kVmin], s.control_characters[kVtime], s.control_characters[kVeol],
           s.control_characters[kVeol2], s.control_characters[kVerase]);
  return text;
}

/// What a program and a user can see after a step.
struct Seen {
  std::string screen;
  std::string result;  // of a read or a print
  int readable_bytes = 0;
  bool is_readable = false;
  bool operator==(const Seen&) const = default;
};

std::string described(const Seen& seen) {
  return "screen \"" + quoted(seen.screen.substr(0, 1000)) + "\" result \"" + quoted(seen.result) + "\" FIONREAD " + std::to_string(seen.readable_bytes) +
         (seen.is_readable ? " readable" : "");
}

class Ours {
 public:
  Seen run(const Step& step) {
    Seen seen;
    switch (step.kind) {
      case Step::Kind::Type:
        EXPECT_EQ(line_.receive(bytes_of(step.bytes)), step.bytes.size());
        break;
      case Step::Kind::Print:
        seen.result = std::to_string(line_.write(bytes_of(step.bytes)));
        break;
      case Step::Kind::Read: {
        std::vector<uint8_t> buffer(step.count);
        const LineDiscipline::ReadStep got = line_.read(buffer);
        if (!got.finished && got.count == 0) seen.result = "again";
        else seen.result = "got " + std::string(buffer.begin(), buffer.begin() + static_cast<ptrdiff_t>(got.count));
        break;
      }
      case Step::Kind::Settings:
        line_.set_settings(step.settings);
        break;
      case Step::Kind::FlushInput:
        line_.flush_input();
        break;
    }
    seen.screen = device_.shown_;
    seen.readable_bytes = static_cast<int>(line_.readable_bytes());
    seen.is_readable = line_.is_readable();
    return seen;
  }

 private:
  FakeLineDevice device_;
  LineDiscipline line_{device_};
};

class Host {
 public:
  explicit Host(int nap_microseconds) : nap_microseconds_(nap_microseconds) {
    master_ = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (master_ < 0 || grantpt(master_) != 0 || unlockpt(master_) != 0) return;
    slave_ = open(ptsname(master_), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    KernelTermios settings = kDefaults;
    if (slave_ >= 0) ioctl(slave_, kTcsets, &settings);
  }
  ~Host() {
    if (slave_ >= 0) close(slave_);
    if (master_ >= 0) close(master_);
  }
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;
  bool ok() const { return slave_ >= 0; }

  /// The host handles typed bytes in a thread of its own: waits until what is `expected` is there, or for long enough to
  /// be sure that it will not come.
  Seen run(const Step& step, const Seen& expected) {
    Seen seen;
    switch (step.kind) {
      case Step::Kind::Type:
        EXPECT_EQ(write(master_, step.bytes.data(), step.bytes.size()), static_cast<ssize_t>(step.bytes.size()));
        break;
      case Step::Kind::Print: {
        const ssize_t count = write(slave_, step.bytes.data(), step.bytes.size());
        seen.result = std::to_string(std::max<ssize_t>(count, 0));
        break;
      }
      case Step::Kind::Read: {
        std::vector<char> buffer(step.count);
        const ssize_t count = ::read(slave_, buffer.data(), buffer.size());
        if (count >= 0) seen.result = "got " + std::string(buffer.data(), static_cast<size_t>(count));
        else seen.result = errno == EAGAIN ? "again" : "error";
        break;
      }
      case Step::Kind::Settings: {
        KernelTermios settings = step.settings;
        ioctl(slave_, kTcsets, &settings);
        break;
      }
      case Step::Kind::FlushInput:
        ioctl(slave_, kTcflsh, kTciflush);
        break;
    }
    look(seen);
    for (int i = 0; i < 100 && seen != expected; ++i) {
      usleep(100 + static_cast<useconds_t>(i) * 20);
      look(seen);
    }
    // Not all of what the thread does can be seen at once.
    if (step.kind == Step::Kind::Type) {
      usleep(static_cast<useconds_t>(nap_microseconds_));
      look(seen);
    }
    return seen;
  }

 private:
  void look(Seen& seen) {
    // poll() waits for bytes under way if there is nothing to read yet.
    pollfd entry{slave_, POLLIN, 0};
    poll(&entry, 1, 0);
    seen.is_readable = (entry.revents & POLLIN) != 0;
    ioctl(slave_, kFionread, &seen.readable_bytes);
    char buffer[8192];
    for (ssize_t count; (count = ::read(master_, buffer, sizeof buffer)) > 0;) screen_.append(buffer, static_cast<size_t>(count));
    seen.screen = screen_;
  }

  int nap_microseconds_;
  int master_ = -1;
  int slave_ = -1;
  std::string screen_;
};

/// The first difference, or an empty text.
std::string difference(const std::vector<Step>& steps, int nap_microseconds) {
  Ours ours;
  Host host(nap_microseconds);
  if (!host.ok()) return "no pseudo-terminal on this host";
  std::string story;
  for (const Step& step : steps) {
    story += "\n  " + described(step);
    const Seen expected = ours.run(step);
    const Seen seen = host.run(step, expected);
    if (seen != expected) return story + "\nours: " + described(expected) + "\nhost: " + described(seen);
  }
  return {};
}

void expect_same(const std::vector<Step>& steps) {
  std::string found;
  for (const int nap : {100, 5'000, 100'000}) {
    found = difference(steps, nap);
    if (found.empty()) return;
  }
  ADD_FAILURE() << found;
}

KernelTermios with(void (*change)(KernelTermios&)) {
  KernelTermios settings = kDefaults;
  change(settings);
  return settings;
}

KernelTermios raw(uint8_t minimum) {
  KernelTermios settings = kDefaults;
  settings.input_flags = 0;
  settings.output_flags = 0;
  settings.local_flags = 0;
  settings.control_characters[kVmin] = minimum;
  return settings;
}

std::string all_bytes() {
  std::string bytes;
  for (int i = 0; i < 256; ++i) bytes += static_cast<char>(i);
  return bytes;
}

const KernelTermios kPrint = with([](KernelTermios& s) { s.local_flags |= kEchoprt; });
const KernelTermios kUtf8 = with([](KernelTermios& s) { s.input_flags |= kIutf8; });
const KernelTermios kSpaces = with([](KernelTermios& s) { s.output_flags |= kXtabs; });
const KernelTermios kQuiet = with([](KernelTermios& s) { s.local_flags &= ~kEcho; });

const Case kCases[] = {
    {"a line", {type("hello\n"), read(100), read(100)}},
    {"a line in pieces", {type("hello\nworld\n"), read(3), read(3), read(3), read(100)}},
    {"end of file", {type("\x04"), read(10), read(10)}},
    {"end of file after text", {type("abc\x04" "de\x04\x04"), read(3), read(10), read(10), read(10)}},
    {"end of file behind a full buffer", {type("abc\x04"), read(3), read(3)}},
    {"end of file after a long line", {type(std::string(64, 'x') + "\x04" "y\n"), read(100), read(100)}},
    {"zero bytes in a line", {type(std::string("a\0b\n", 4)), read(10), type(std::string("\x16\0\n", 3)), read(10)}},
    {"erase", {type("abc\x7f\x7fx\n"), read(10)}},
    {"erase past the start", {type("a\x7f\x7f\x7f" "b\n"), read(10)}},
    {"erase a control character", {type("a\x01\x7f" "b\n"), read(10)}},
    {"erase tabs", {print("123"), type("a\tb\t\x7f\x7f\x7f\x7f" "c\n"), read(10)}},
    {"erase words", {type("one two_2  three\x17\x17x\n"), read(30)}},
    {"kill", {type("some \x01 text\x15" "ok\n"), read(30)}},
    {"kill without ECHOKE", {set(with([](KernelTermios& s) { s.local_flags &= ~kEchoke; })), type("text\x15" "ok\n"), read(30)}},
    {"kill without ECHOK",
     {set(with([](KernelTermios& s) { s.local_flags &= ~(kEchok | kEchoke); })), type("text\x15" "ok\n"), read(30)}},
    {"erase without ECHOE", {set(with([](KernelTermios& s) { s.local_flags &= ~kEchoe; })), type("text\x7f\x7f" "ok\x17z\n"), read(30)}},
    {"erase on paper", {set(kPrint), type("text\x7f\x7f" "ok\x15z\x7f\n"), read(30)}},
    {"erase UTF-8", {set(kUtf8), type("a\xc3\xa9\xe2\x82\xac\x7f\x7f" "b\n"), read(30)}},
    {"erase half of UTF-8", {set(kUtf8), type("\x82\xac\x7fx\n"), read(30)}},
    {"erase UTF-8 as bytes", {type("\xc3\xa9\x7f\n"), read(30)}},
    {"literal next", {type("a\x16\x03\x16\x16\x16\nb\n"), read(30)}},
    {"reprint", {type("ab\x01" "c\x12" "d\n"), read(30)}},
    {"carriage return", {type("a\r"), read(30), set(with([](KernelTermios& s) { s.input_flags |= kIgncr; })), type("b\r\n"), read(30)}},
    {"INLCR", {set(with([](KernelTermios& s) { s.input_flags = kInlcr; })), type("a\nb\x04"), read(30)}},
    {"IUCLC and ISTRIP", {set(with([](KernelTermios& s) { s.input_flags |= kIuclc; })), type("AbC\xc0\xd7\xde\n"), read(30),
                          set(with([](KernelTermios& s) { s.input_flags |= kIuclc | kIstrip; })), type("\xc1" "B\x8a"), read(30)}},
    {"PARMRK", {set(with([](KernelTermios& s) { s.input_flags |= kParmrk; })), type("a\xff" "b\n"), read(30)}},
    {"all bytes echoed",
     {set(with([](KernelTermios& s) { s.input_flags = 0; s.local_flags = kEcho | kEchoctl; })), type(all_bytes()), read(300)}},
    {"VEOL and VEOL2", {set(with([](KernelTermios& s) { s.control_characters[kVeol] = 'x'; s.control_characters[kVeol2] = 'y'; })),
                        type("1x2y3\n"), read(10), read(10), read(10)}},
    {"ECHONL", {set(with([](KernelTermios& s) { s.local_flags = kIcanon | kEchonl; })), type("pass\n"), read(10)}},
    {"output", {print("a\n\tb\rc\b\xc0\x01\n"), set(kSpaces), print("a\tbc\t\rd\te\n\t."), print("1234567\t8\t")}},
    {"output without OPOST", {set(with([](KernelTermios& s) { s.output_flags = 0; })), print("a\n\tb\r"), type("x\n"), read(5)}},
    {"ONOCR", {set(with([](KernelTermios& s) { s.output_flags |= kOnocr; })), print("\ra\r\rb\n\r.")}},
    {"OCRNL", {set(with([](KernelTermios& s) { s.output_flags = kOpost | kOcrnl; })), print("a\rb\n.")}},
    {"ONLRET", {set(with([](KernelTermios& s) { s.output_flags = kOpost | kOnlret | kOnocr | kXtabs; })), print("ab\n\rc\r\rd\te")}},
    {"OLCUC", {set(with([](KernelTermios& s) { s.output_flags |= kOlcuc; })), print("az\xdf\xe0\xf7\xfe\xff{"), type("q\xff\n")}},
    {"stop and start", {type("a\x13" "bc\n"), print("lost"), type("\x11"), print("found"), read(10)}},
    {"any character starts",
     {set(with([](KernelTermios& s) { s.input_flags |= kIxany; })), type("\x13"), print("lost"), type("x"), print("found")}},
    {"IXON off starts", {type("\x13" "a"), set(with([](KernelTermios& s) { s.input_flags &= ~kIxon; })), print("found")}},
    {"interrupt flushes", {set(kQuiet), type("abc\n"), type("de"), type("\x03"), type("f\n"), read(10)}},
    {"interrupt without flush",
     {set(with([](KernelTermios& s) { s.local_flags |= kNoflsh; })), type("ab\x03" "c\x1c" "d\x1a\n"), read(10)}},
    {"interrupt starts", {type("\x13"), type("\x03"), print("x")}},
    {"from canonical to raw", {type("abc\ndef"), set(raw(1)), read(100)}},
    {"from raw to canonical", {set(raw(200)), type("abc\ndef"), set(kDefaults), read(5), read(5), type("gh\n"), read(10)}},
    {"from raw to canonical after a zero", {set(raw(200)), type(std::string("abc\0", 4)), set(kDefaults), read(10), type("g\n"), read(10)}},
    {"unread lines to raw and back", {type("a\nb"), set(raw(50)), set(kDefaults), read(10), read(10), type("c\n"), read(10)}},
    {"literal and mode change", {type("a\x16"), set(raw(50)), type("\x03"), read(10)}},
    {"VMIN", {set(raw(3)), type("ab"), type("c"), read(10), type("d"), read(10)}},
    {"VMIN 0", {set(raw(0)), read(10), type("d"), read(10), read(10)}},
    {"flush input", {type("abc\ndef"), flush_input(), type("g\n"), read(10)}},
    {"a line too long", {set(kQuiet), type(std::string(4094, 'x')), type("yzabc"), type("\n"), read(4000), read(1000), read(10)}},
    {"a line too long with PARMRK", {set(with([](KernelTermios& s) { s.local_flags &= ~kEcho; s.input_flags |= kParmrk; })),
                                     type(std::string(4090, 'x')), type("yzabcdef"), type("\n"), read(4000), read(1000), read(10)}},
    {"an echoed line too long", {type(std::string(4000, 'x')), type(std::string(200, 'y')), type("\x7f\x7f"), type("\n"), read(5000)}},
    {"EXTPROC", {set(with([](KernelTermios& s) { s.local_flags |= kExtproc; })), type("ab\x7f\n"), read(10), type("\x04"), read(10)}},
};

TEST(HostTerminal, CasesLookTheSame) {
  if (!Host(0).ok()) GTEST_SKIP() << "no pseudo-terminal on this host";
  for (const Case& entry : kCases) {
    SCOPED_TRACE(entry.name);
    expect_same(entry.steps);
  }
}

class RandomCases {
 public:
  explicit RandomCases(uint32_t seed) : random_(seed) {}

  std::vector<Step> next() {
    settings_ = kDefaults;
    std::vector<Step> steps;
    if (below(4) != 0) steps.push_back(change());
    const size_t count = 2 + below(8);
    for (size_t i = 0; i < count; ++i) {
      switch (below(10)) {
        case 0:
        case 1: steps.push_back(change()); break;
        case 2: steps.push_back(print(bytes(20))); break;
        case 3:
        case 4: steps.push_back(read(1 + below(3) * below(12))); break;
        case 5:
          if (below(4) == 0) steps.push_back(flush_input());
          break;
        default: type_some(steps);
      }
    }
    for (int i = 0; i < 3; ++i) steps.push_back(read(60));
    return steps;
  }

 private:
  size_t below(size_t limit) { return random_() % limit; }
  bool once_in(size_t limit) { return below(limit) == 0; }

  std::string bytes(size_t limit) {
    static constexpr char kKeys[] =
        "aaabcde  _019AZ\n\n\n\r\t\t\t\x7f\x7f\x7f\x17\x17\x15\x04\x04\x16\x16\x12\x13\x11\x03\x1c\x1a\x08\x01\x1b"
        "\xc3\xa9\xe2\x82\xac\xff\x80\xc0";  // and its zero
    std::string text;
    for (size_t i = below(limit); i > 0; --i) text += kKeys[below(sizeof kKeys)];
    return text;
  }

  // A signal that flushes takes echo with it that may already be on its way to the screen or not: it comes alone.
  void type_some(std::vector<Step>& steps) {
    std::string some = bytes(24);
    if ((settings_.local_flags & kIsig) && !(settings_.local_flags & kNoflsh)) {
      const size_t at = some.find_first_of("\x03\x1c\x1a");
      if (at != std::string::npos) {
        if (at > 0) steps.push_back(type(some.substr(0, at)));
        steps.push_back(type(some.substr(at, 1)));
        some.erase(0, at + 1);
        std::erase_if(some, [](char c) { return c == 0x03 || c == 0x1c || c == 0x1a; });
      }
    }
    if (!some.empty()) steps.push_back(type(some));
  }

  Step change() {
    KernelTermios s = kDefaults;
    auto flip = [&](uint32_t& flags, std::initializer_list<uint32_t> candidates, size_t rarity) {
      for (const uint32_t flag : candidates)
        if (once_in(rarity)) flags ^= flag;
    };
    flip(s.input_flags, {kIstrip, kInlcr, kIgncr, kIcrnl, kIuclc, kIxon, kIxany, kImaxbel, kParmrk}, 7);
    flip(s.input_flags, {kIutf8}, 2);
    flip(s.output_flags, {kOpost, kOlcuc, kOnlcr, kOcrnl, kOnocr, kOnlret}, 6);
    flip(s.output_flags, {kXtabs}, 3);
    flip(s.local_flags, {kIsig, kEchoe, kEchok, kEchonl, kNoflsh, kEchoctl, kEchoprt, kEchoke, kIexten}, 5);
    flip(s.local_flags, {kIcanon, kEcho}, 4);
    flip(s.local_flags, {kExtproc}, 12);
    // Linux 6.18 echoes its whole ring of old echo when VLNEXT ends an erasure, ECHOCTL is off and output starts later.
    if (s.local_flags & kEchoprt) s.local_flags |= kEchoctl;
    uint8_t* controls = s.control_characters;
    static constexpr uint8_t kMinima[] = {0, 1, 1, 3, 10, 60};
    controls[kVmin] = kMinima[below(std::size(kMinima))];
    controls[kVtime] = once_in(4) ? 5 : 0;
    if (once_in(4)) controls[kVeol] = 'e';
    if (once_in(4)) controls[kVeol2] = '1';
    if (once_in(5)) controls[kVerase] = 8;
    if (once_in(9)) controls[kVwerase] = 0;
    if (once_in(9)) controls[kVeof] = 'd';
    if (once_in(9)) controls[kVlnext] = '\t';
    settings_ = s;
    return set(s);
  }

  std::mt19937 random_;
  KernelTermios settings_ = kDefaults;
};

TEST(HostTerminal, RandomCasesLookTheSame) {
  if (!Host(0).ok()) GTEST_SKIP() << "no pseudo-terminal on this host";
  const char* count_text = getenv("UMK_RANDOM_CASES");
  const int count = count_text ? atoi(count_text) : 2000;
  RandomCases cases(20240607);
  for (int i = 0; i < count && !HasFailure(); ++i) {
    SCOPED_TRACE(i);
    expect_same(cases.next());
  }
}

}  // namespace
}  // namespace umk

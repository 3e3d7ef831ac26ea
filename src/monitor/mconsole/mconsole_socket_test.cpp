#include "monitor/mconsole/mconsole_socket.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <filesystem>
#include <optional>

#include "core/lib/mconsole_format/mconsole_format.h"
#include "monitor/mconsole/notifier.h"

namespace umk::monitor {

namespace {

using namespace std::chrono_literals;

/// A client with an address of its own, as the tools are.
class Client {
 public:
  explicit Client(const std::string& path, bool has_name = true) : fd_(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    if (has_name) {
      sockaddr_un own{};
      own.sun_family = AF_UNIX;
      EXPECT_EQ(bind(fd_, reinterpret_cast<sockaddr*>(&own), sizeof(sa_family_t)), 0);  // a name of the host's choice
    }
    server_.sun_family = AF_UNIX;
    path.copy(server_.sun_path, path.size());
  }
  ~Client() { close(fd_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  bool send(std::span<const std::byte> packet) {
    return sendto(fd_, packet.data(), packet.size(), 0, reinterpret_cast<const sockaddr*>(&server_), sizeof server_) ==
           static_cast<ssize_t>(packet.size());
  }
  bool ask(std::string_view text) {
    std::array<std::byte, mconsole_format::kRequestBytes> packet;
    return send(mconsole_format::write_request(packet, text));
  }
  /// The next packet, with the loop running meanwhile.
  std::vector<std::byte> receive(EventLoop& loop) {
    std::vector<std::byte> packet(2000);
    for (int round = 0; round < 500; ++round) {
      const ssize_t size = recv(fd_, packet.data(), packet.size(), 0);
      if (size >= 0) {
        packet.resize(static_cast<size_t>(size));
        return packet;
      }
      loop.run_once(10);
    }
    return {};
  }
  /// All texts of an answer, and the first packet's error.
  std::pair<int, std::string> answer(EventLoop& loop) {
    std::string text;
    for (int error = 0, count = 0;; ++count) {
      packets_.push_back(receive(loop));
      const auto reply = mconsole_format::parse_reply(packets_.back());
      if (!reply) return {-1, "no reply"};
      if (count == 0) error = reply->error;
      text += reply->text;
      if (!reply->has_more) return {error, text};
    }
  }
  const std::vector<std::vector<std::byte>>& packets() const { return packets_; }

 private:
  int fd_;
  sockaddr_un server_{};
  std::vector<std::vector<std::byte>> packets_;
};

class MconsoleSocketTest : public testing::Test {
 protected:
  MconsoleSocketTest() {
    char text[] = "/tmp/umk-test-mconsole-XXXXXX";
    folder = mkdtemp(text);
    path = folder + "/mconsole";
    server.emplace(loop, path, [this](const MconsoleClient& client, std::string_view request) {
      asked.emplace_back(request);
      server->answer(client, next);
    });
  }
  ~MconsoleSocketTest() override {
    server.reset();
    std::filesystem::remove_all(folder);
  }

  std::string folder, path;
  EventLoop loop;
  std::vector<std::string> asked;
  Answer next = Answer::ok("fine");
  std::optional<MconsoleSocket> server;
};

TEST_F(MconsoleSocketTest, AnswersWhatItIsAsked) {
  Client client(path);
  ASSERT_TRUE(client.ask("config ubd0"));
  EXPECT_EQ(client.answer(loop), std::pair(0, std::string("fine")));
  EXPECT_EQ(asked, std::vector<std::string>{"config ubd0"});
}

TEST_F(MconsoleSocketTest, SplitsLongTextsAndTellsErrorsOnce) {
  Client client(path);
  next = Answer::failed(-16, std::string(1200, 'x'));
  client.ask("help");
  EXPECT_EQ(client.answer(loop), std::pair(-16, std::string(1200, 'x')));
  ASSERT_EQ(client.packets().size(), 3u);
  EXPECT_EQ(client.packets()[0].size(), 524u);
  EXPECT_EQ(mconsole_format::parse_reply(client.packets()[1])->error, 0);
}

TEST_F(MconsoleSocketTest, StreamsEndWithAnEmptyPacket) {
  Client client(path);
  next = Answer::stream({"\n", "text\n"});
  client.ask("proc uptime");
  EXPECT_EQ(client.answer(loop), std::pair(0, std::string("\ntext\n")));
  ASSERT_EQ(client.packets().size(), 3u);
  EXPECT_EQ(client.packets()[2].size(), 13u);
}

TEST_F(MconsoleSocketTest, LongAnswersReachSlowReadersWhole) {
  Client client(path);
  const std::string text(300'000, 'y');
  next = Answer::stream({text});
  client.ask("sysrq t");
  for (int i = 0; i < 20; ++i) loop.run_once(5);  // the host keeps some ten packets
  EXPECT_EQ(client.answer(loop), std::pair(0, text));
}

TEST_F(MconsoleSocketTest, AClientThatNeverReadsDisturbsNobody) {
  Client deaf(path);
  next = Answer::stream({std::string(100'000, 'z')});
  deaf.ask("sysrq t");
  for (int i = 0; i < 5; ++i) loop.run_once(5);
  next = Answer::ok("fine");
  Client client(path);
  client.ask("version");
  EXPECT_EQ(client.answer(loop).second, "fine");
}

TEST_F(MconsoleSocketTest, PacketsOfOthersAreRefused) {
  Client client(path);
  const std::string old = "version";
  client.send(std::as_bytes(std::span(old)));
  const std::vector<std::byte> bare = client.receive(loop);
  EXPECT_EQ(std::string(reinterpret_cast<const char*>(bare.data()), bare.size()),
            "ERR Version 0 mconsole clients are not supported by this driver");

  std::array<std::byte, mconsole_format::kRequestBytes> packet;
  mconsole_format::write_request(packet, "version");
  packet[8] = std::byte{0}, packet[9] = std::byte{2};  // 512 bytes
  client.send(packet);
  EXPECT_EQ(client.answer(loop), std::pair(1, std::string("Request too large")));
  EXPECT_TRUE(asked.empty());

  mconsole_format::write_request(packet, "version");
  packet[4] = std::byte{3};
  client.send(packet);
  EXPECT_EQ(client.answer(loop), std::pair(1, std::string("This driver only supports version 2 clients")));
  EXPECT_EQ(client.answer(loop), std::pair(0, std::string("fine")));
}

TEST_F(MconsoleSocketTest, OversizedAndCutPacketsDoNoHarm) {
  Client client(path);
  std::vector<std::byte> packet(4000, std::byte{'x'});
  std::array<std::byte, mconsole_format::kRequestBytes> head;
  mconsole_format::write_request(head, "version");
  std::copy(head.begin(), head.end(), packet.begin());
  client.send(packet);
  EXPECT_EQ(client.answer(loop).second, "fine");
  client.send(std::span(head).first(15));
  EXPECT_EQ(client.answer(loop).second, "fine");
  client.send({});
  EXPECT_FALSE(client.receive(loop).empty());
  EXPECT_EQ(asked, (std::vector<std::string>{"version", "ver"}));
}

TEST_F(MconsoleSocketTest, WhoHasNoNameIsServedWithoutAnAnswer) {
  Client client(path, false);
  client.ask("log hello");
  for (int i = 0; i < 5; ++i) loop.run_once(5);
  EXPECT_EQ(asked, std::vector<std::string>{"log hello"});
}

TEST_F(MconsoleSocketTest, IsTheUsersAlone) {
  EXPECT_EQ(std::filesystem::status(path).permissions() & std::filesystem::perms::all, std::filesystem::perms::owner_all);
}

TEST_F(MconsoleSocketTest, FloodsAreServedAllTheSame) {
  std::vector<std::unique_ptr<Client>> clients;
  for (int i = 0; i < 20; ++i) clients.push_back(std::make_unique<Client>(path));
  size_t sent = 0;
  for (int round = 0; round < 50; ++round) {
    for (const auto& client : clients) sent += client->ask("version") ? 1 : 0;
    loop.run_once(0);
  }
  for (int i = 0; i < 50; ++i) loop.run_once(2);
  EXPECT_GT(sent, 100u);
  EXPECT_EQ(asked.size(), sent);
  Client client(path);
  client.ask("version");
  EXPECT_EQ(client.answer(loop).second, "fine");
}

TEST(Notifier, TellsWhoListens) {
  char text[] = "/tmp/umk-test-notify-XXXXXX";
  const std::string folder = mkdtemp(text), path = folder + "/socket";
  Notifier early(path);
  EXPECT_EQ(early.send(mconsole_format::Notice::User, "x"), ENOENT);
  sockaddr_un own{};
  own.sun_family = AF_UNIX;
  path.copy(own.sun_path, path.size());
  const int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&own), sizeof own), 0);
  EXPECT_EQ(early.send(mconsole_format::Notice::Panic, std::string_view("oops", 5)), 0);
  std::array<std::byte, 600> packet;
  const ssize_t size = recv(fd, packet.data(), packet.size(), 0);
  ASSERT_EQ(size, 21);
  const auto notice = mconsole_format::parse_notification(std::span(packet).first(static_cast<size_t>(size)));
  ASSERT_TRUE(notice);
  EXPECT_EQ(notice->type, mconsole_format::Notice::Panic);
  close(fd);
  std::filesystem::remove_all(folder);
}

}  // namespace

}  // namespace umk::monitor

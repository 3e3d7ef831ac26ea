#include "core/drivers/console/tty_log.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <vector>

#include "core/host/calls.h"
#include "core/kernel/task/exec.h"
#include "core/lib/tty_log_format/tty_log_format.h"

namespace umk::console {
namespace {

namespace format = tty_log_format;

constexpr DeviceNumber kTty{4, 0};

struct Taken {
  format::Head head;
  std::string data;
};

std::vector<Taken> take_all(ConsoleRing& ring) {
  std::vector<Taken> records;
  while (!ring.empty()) {
    std::byte head[format::head_bytes(format::Layout::Bits32)];
    EXPECT_EQ(ring.take(std::span(reinterpret_cast<uint8_t*>(head), sizeof head)), sizeof head);
    const format::Parsed parsed = format::parse_head(head, format::Layout::Bits32);
    EXPECT_EQ(parsed.fault, nullptr);
    if (parsed.fault) break;
    std::string data(parsed.head.length, '\0');
    EXPECT_EQ(ring.take(std::span(reinterpret_cast<uint8_t*>(data.data()), data.size())), data.size());
    records.push_back({parsed.head, data});
  }
  return records;
}

std::span<const uint8_t> bytes_of(std::string_view text) { return {reinterpret_cast<const uint8_t*>(text.data()), text.size()}; }

TEST(TtyLog, RecordsHaveTerminalTimeDirectionAndData) {
  TtyLog log(-1, 0);
  const uint64_t before = host::now_ns(host::Clock::Realtime) / 1000;
  log.record_open(kTty, {136, 3});
  log.record_data(kTty, TtyRecorder::Direction::Write, bytes_of("# "));
  log.record_data(kTty, TtyRecorder::Direction::Read, bytes_of("ls\n"));
  log.record_close(kTty);
  const uint64_t after = host::now_ns(host::Clock::Realtime) / 1000;
  const std::vector<Taken> records = take_all(log.board().records);
  ASSERT_EQ(records.size(), 4u);
  EXPECT_EQ(records[0].head.what, format::What::Open);
  EXPECT_EQ(records[0].head.tty, 0x400u);
  EXPECT_EQ(format::parent_of(std::as_bytes(std::span(records[0].data))), 0x8803u);
  EXPECT_EQ(records[1].head.what, format::What::Write);
  EXPECT_EQ(records[1].head.direction, format::Direction::Write);
  EXPECT_EQ(records[1].data, "# ");
  EXPECT_EQ(records[2].head.direction, format::Direction::Read);
  EXPECT_EQ(records[2].data, "ls\n");
  EXPECT_EQ(records[3].head.what, format::What::Close);
  uint64_t last = before;
  for (const Taken& record : records) {
    const uint64_t at = record.head.seconds * 1'000'000 + record.head.microseconds;
    EXPECT_GE(at, last);
    last = at;
  }
  EXPECT_LE(last, after);
}

TEST(TtyLog, CommandLinesKeepTheirArguments) {
  TtyLog log(-1, 0);
  StringList arguments;
  for (const char* argument : {"echo", "", "two words"}) ASSERT_TRUE(arguments.add(argument).ok());
  log.record_exec({}, arguments);
  const std::vector<Taken> records = take_all(log.board().records);
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].head.what, format::What::Exec);
  EXPECT_EQ(records[0].head.tty, 0u);
  EXPECT_EQ(records[0].data, std::string("echo\0\0two words\0", 16));
}

TEST(TtyLog, LongCommandLinesAreCutAndSayHowMuchIsMissing) {
  TtyLog log(-1, 0);
  StringList arguments;
  const std::string long_one(10'000, 'x');
  for (const std::string& argument : {std::string("cat"), long_one, long_one, std::string("end")})
    ASSERT_TRUE(arguments.add(argument).ok());
  log.record_exec(kTty, arguments);
  const std::vector<Taken> records = take_all(log.board().records);
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].data, std::string("cat\0", 4) + long_one + '\0' + "[10005 bytes more]" + '\0');
}

TEST(TtyLog, WritersWaitForASlowReader) {
  TtyLog log(-1, TtyLog::kPatienceNs);
  const std::string piece(1000, 'y');
  constexpr size_t kCount = 200;  // three times what the ring holds
  std::vector<Taken> records;
  std::thread reader([&] {
    while (records.size() < kCount) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      // Takes whole records only, so waits until one is there.
      if (log.board().records.used() < format::head_bytes(format::Layout::Bits32) + piece.size()) continue;
      std::byte head[format::head_bytes(format::Layout::Bits32)];
      log.board().records.take(std::span(reinterpret_cast<uint8_t*>(head), sizeof head));
      std::string data(piece.size(), '\0');
      log.board().records.take(std::span(reinterpret_cast<uint8_t*>(data.data()), data.size()));
      records.push_back({format::parse_head(head, format::Layout::Bits32).head, data});
    }
  });
  for (size_t i = 0; i < kCount; ++i) log.record_data(kTty, TtyRecorder::Direction::Write, bytes_of(piece));
  reader.join();
  for (const Taken& record : records) {
    EXPECT_EQ(record.head.tty, 0x400u);
    EXPECT_EQ(record.data, piece);
  }
  EXPECT_TRUE(log.board().records.empty());
}

TEST(TtyLog, WhatIsLostIsCountedInTheLog) {
  TtyLog log(-1, 1'000'000);
  const std::string piece(1000, 'z');
  constexpr size_t kCount = 100;
  for (size_t i = 0; i < kCount; ++i) log.record_data(kTty, TtyRecorder::Direction::Write, bytes_of(piece));
  // What would still fit does not come in between.
  log.record_data(kTty, TtyRecorder::Direction::Write, bytes_of("x"));
  std::vector<Taken> first = take_all(log.board().records);
  const size_t kept = first.size();
  ASSERT_LT(kept, kCount);
  EXPECT_EQ(first.back().data, piece);
  log.record_close(kTty);
  const std::vector<Taken> records = take_all(log.board().records);
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].head.tty, 0u);
  EXPECT_EQ(records[0].head.direction, format::Direction::Write);
  EXPECT_EQ(records[0].data, "\r\n[" + std::to_string(kCount + 1 - kept) + " records are missing]\r\n");
  EXPECT_EQ(records[1].head.what, format::What::Close);
}

TEST(TtyLog, NobodyWaitsForALogThatWasGivenUp) {
  TtyLog log(-1, TtyLog::kPatienceNs);
  log.board().records.abandon();
  const std::string piece(4000, 'a');
  const auto start = std::chrono::steady_clock::now();
  for (int i = 0; i < 100; ++i) log.record_data(kTty, TtyRecorder::Direction::Write, bytes_of(piece));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
  EXPECT_TRUE(log.board().records.empty());
}

TEST(TtyLog, MonitorIsWokenOnlyWhenItSleeps) {
  const int event = eventfd(0, EFD_NONBLOCK);
  TtyLog log(event, 0);
  uint64_t woken = 0;
  log.record_close(kTty);
  EXPECT_EQ(read(event, &woken, sizeof woken), -1);
  take_all(log.board().records);
  log.board().records.want_bytes();
  log.record_close(kTty);
  EXPECT_EQ(read(event, &woken, sizeof woken), 8);
  close(event);
}

}  // namespace
}  // namespace umk::console

#include "core/kernel/block/statistics_text.h"

namespace umk::block {

void put_statistics(TextSink& sink, const BlockDevice& device, unsigned width) {
  const Statistics& statistics = device.statistics();
  constexpr uint64_t kMillisecond = 1'000'000;
  struct Figures {
    uint64_t requests, sectors, time_ns;
  };
  const auto sum = [&](std::initializer_list<Operation> operations) {
    Figures figures{};
    for (const Operation operation : operations) {
      const Statistics::Line& line = statistics.of(operation);
      figures.requests += line.requests.load(std::memory_order_relaxed);
      figures.sectors += line.sectors.load(std::memory_order_relaxed);
      figures.time_ns += line.time_ns.load(std::memory_order_relaxed);
    }
    return figures;
  };
  const Figures reads = sum({Operation::Read}), discards = sum({Operation::Discard}), flushes = sum({Operation::Flush});
  const Figures writes = sum({Operation::Write, Operation::WriteZeroes});
  const uint64_t queued_ns = reads.time_ns + writes.time_ns + discards.time_ns + flushes.time_ns;
  bool is_first = true;
  const auto put = [&](uint64_t value) {
    format(sink, "{}{*}", is_first ? "" : " ", width, value);
    is_first = false;
  };
  // Nothing is merged: each request is one that its submitter has gathered.
  const auto put_all = [&](const Figures& figures) {
    put(figures.requests);
    put(0);
    put(figures.sectors);
    put(figures.time_ns / kMillisecond);
  };
  put_all(reads);
  put_all(writes);
  put(statistics.in_flight.load(std::memory_order_relaxed));
  put(device.busy_ns() / kMillisecond);
  put(queued_ns / kMillisecond);
  put_all(discards);
  put(flushes.requests);
  put(flushes.time_ns / kMillisecond);
}

}  // namespace umk::block

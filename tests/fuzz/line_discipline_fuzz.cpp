// Any settings, keys, output and reads: no queue runs over, and what is said to be readable is.
#include <algorithm>
#include <cstring>

#include "core/lib/line_discipline/line_discipline.h"
#include "fuzz/fuzz.h"

namespace {

using namespace umk;

class Device final : public LineDevice {
 public:
  size_t output_room() const override { return room; }
  void output(std::span<const uint8_t> bytes) override {
    FUZZ_CHECK(bytes.size() <= room);
    room -= bytes.size();
  }
  void signal(TerminalSignal) override {}
  void flushed() override {}
  void flow_changed(bool) override {}

  size_t room = 64;
};

class Input {
 public:
  Input(const uint8_t* data, size_t size) : rest_(data, size) {}
  bool empty() const { return rest_.empty(); }
  std::span<const uint8_t> take(size_t size) {
    const auto taken = rest_.first(std::min(size, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }
  uint8_t byte() {
    const auto one = take(1);
    return one.empty() ? 0 : one[0];
  }

 private:
  std::span<const uint8_t> rest_;
};

void read(LineDiscipline& line, size_t size) {
  uint8_t buffer[256];
  const bool was_readable = line.is_readable();
  const size_t readable_bytes = line.readable_bytes();
  FUZZ_CHECK(readable_bytes <= InputQueue::kCapacity);
  const LineDiscipline::ReadStep step = line.read(std::span(buffer).first(size));
  FUZZ_CHECK(step.count <= size && step.count <= readable_bytes);
  // With VMIN and VTIME a read may wait for more than poll(2) does.
  if (was_readable) FUZZ_CHECK(step.finished || step.count > 0);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Input input(data, size);
  Device device;
  LineDiscipline line(device);
  while (!input.empty()) {
    switch (input.byte() % 8) {
      case 0: {
        KernelTermios settings = line.settings();
        const auto bytes = input.take(sizeof settings);
        std::memcpy(&settings, bytes.data(), bytes.size());
        line.set_settings(settings);
        break;
      }
      case 1: {
        // The same bytes again and again fill the queue.
        const auto bytes = input.take(input.byte());
        for (int i = input.byte(); i >= 0; --i) FUZZ_CHECK(line.receive(bytes) <= bytes.size());
        break;
      }
      case 2: {
        const auto bytes = input.take(input.byte());
        FUZZ_CHECK(line.write(bytes) <= bytes.size());
        break;
      }
      case 3: read(line, input.byte()); break;
      case 4: device.room = input.byte() * size_t{8}; line.flush_echo(); break;
      case 5: line.receive_break(); break;
      case 6: input.byte() % 2 ? line.suspend_output() : line.resume_output(); break;
      case 7: line.flush_input(); break;
    }
  }
  return 0;
}

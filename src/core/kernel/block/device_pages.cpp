#include "core/kernel/block/device_pages.h"

#include <cstring>

#include "core/base/bits.h"

namespace umk::block {

namespace {
constexpr size_t kMaximumPieces = 64;
}

template <typename Rest>
size_t DevicePages::segments_of(uint64_t first_page, std::span<const mm::PageMemory> pieces, std::span<Segment> into, Rest rest) const {
  CHECK(pieces.size() <= into.size(), "the page cache gathers few pieces");
  const uint64_t size = device_->size_bytes();
  uint64_t offset = first_page << kPageShift;
  size_t count = 0;
  for (const mm::PageMemory& piece : pieces) {
    const size_t here = offset >= size ? 0 : static_cast<size_t>(size - offset < piece.size() ? size - offset : piece.size());
    if (here != 0) into[count++] = {piece.data(), here};
    if (here < piece.size()) rest(piece.subspan(here));
    offset += piece.size();
  }
  return count;
}

Result<void> DevicePages::read_pages(uint64_t first_page, std::span<const mm::PageMemory> pieces) {
  Segment segments[kMaximumPieces];
  const size_t count = segments_of(first_page, pieces, segments, [](mm::PageMemory rest) { memset(rest.data(), 0, rest.size()); });
  if (count == 0) return {};
  return device_->read(first_page << kPageShift, std::span<const Segment>(segments, count));
}

namespace {

/// Frees itself with its end.
class BackgroundRead final : public Request {
 public:
  explicit BackgroundRead(mm::ReadDone& done) : done_(done) {}
  void on_done() override {
    mm::ReadDone& done = done_;
    const int outcome = error_code();
    delete this;
    done.on_read(outcome);
  }
  Segment room[kMaximumPieces];

 private:
  mm::ReadDone& done_;
};

}  // namespace

void DevicePages::start_reading(uint64_t first_page, std::span<const mm::PageMemory> pieces, mm::ReadDone& done) {
  Result<std::unique_ptr<BackgroundRead>> made = make_unique<BackgroundRead>(done);
  if (!made.ok()) return done.on_read(ENOMEM);
  BackgroundRead& read = *made.take().release();
  const size_t count = segments_of(first_page, pieces, read.room, [](mm::PageMemory rest) { memset(rest.data(), 0, rest.size()); });
  read.offset = first_page << kPageShift;
  read.segments = std::span<const Segment>(read.room, count);
  read.is_background = true;
  // The last to see these pages go waits for reads, and then drops the device.
  const RefPtr<BlockDevice> device = device_;
  device->submit(read);
}

Result<void> DevicePages::write_pages(uint64_t first_page, std::span<const mm::PageMemory> pieces, mm::WriteReason) {
  Segment segments[kMaximumPieces];
  const size_t count = segments_of(first_page, pieces, segments, [](mm::PageMemory) {});
  if (count == 0) return {};
  return device_->write(first_page << kPageShift, std::span<const Segment>(segments, count));
}

Result<void> DevicePages::sync() {
  cached_.sync();
  return device_->is_read_only() ? Result<void>() : device_->flush();
}

void DevicePages::write_and_drop() {
  cached_.sync();
  (void)cached_.invalidate(0, page_up(device_->size_bytes()) >> kPageShift);
}

void DevicePages::last_reference_dropped() {
  // Nobody gets a reference any more, so nothing becomes dirty again. Who opens the device meanwhile reads it anew: so it is found until all is written.
  cached_.sync();
  keeper_.forget(*this);
  cached_.discard();
  delete this;
}

}  // namespace umk::block

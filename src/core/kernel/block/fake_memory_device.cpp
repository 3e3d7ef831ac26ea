#include "core/kernel/block/fake_memory_device.h"

#include <cstring>

namespace umk::block::fake {

namespace {

/// splitmix64: an even spread from a counter.
uint64_t mix(uint64_t value) {
  value += 0x9e3779b97f4a7c15;
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9;
  value = (value ^ (value >> 27)) * 0x94d049bb133111eb;
  return value ^ (value >> 31);
}

void put(std::vector<std::byte>& image, uint64_t offset, std::span<const std::byte> data) {
  if (offset >= image.size()) return;
  memcpy(image.data() + offset, data.data(), std::min<uint64_t>(data.size(), image.size() - offset));
}

}  // namespace

RefPtr<MemoryDevice> MemoryDevice::make(uint64_t bytes, const Options& options) { return make(std::vector<std::byte>(bytes), options); }

RefPtr<MemoryDevice> MemoryDevice::make(std::vector<std::byte> contents, const Options& options) {
  const Geometry geometry{.bytes = contents.size(),
                          .logical_block_bytes = options.logical_block_bytes,
                          .is_read_only = options.is_read_only,
                          .discard_bytes = options.can_discard ? kSectorBytes : 0};
  return adopt_ref(new MemoryDevice(MUST(String::from(options.name), "tests have memory"), geometry, options, std::move(contents)));
}

MemoryDevice::MemoryDevice(String name, const Geometry& geometry, const Options& options, std::vector<std::byte> contents)
    : BlockDevice(std::move(name), options.number, geometry), contents_(std::move(contents)) {}

void MemoryDevice::resize(uint64_t bytes) {
  {
    MutexLock lock(contents_mutex_);
    contents_.resize(bytes);
  }
  set_size(bytes);
}

void MemoryDevice::fail_at(uint64_t request_number, int error_code, bool lasts) {
  MutexLock lock(contents_mutex_);
  seen_ = 0;
  fail_at_ = request_number;
  fail_with_ = error_code;
  failure_lasts_ = lasts;
}

void MemoryDevice::set_filter(std::function<int(const Request&)> filter) {
  MutexLock lock(contents_mutex_);
  seen_ = 0;
  filter_ = std::move(filter);
}

void MemoryDevice::stop_failing() {
  MutexLock lock(contents_mutex_);
  seen_ = 0;
  fail_at_ = UINT64_MAX;
  filter_ = nullptr;
}

uint64_t MemoryDevice::requests_seen() {
  MutexLock lock(contents_mutex_);
  return seen_;
}

void MemoryDevice::record() {
  MutexLock lock(contents_mutex_);
  recorded_from_ = contents_;
  events_.clear();
  is_recording_ = true;
}

std::vector<MemoryDevice::Event> MemoryDevice::events() {
  MutexLock lock(contents_mutex_);
  return events_;
}

int MemoryDevice::fault_of_locked(const Request& request) {
  const uint64_t number = seen_++;
  if (filter_)
    if (const int wanted = filter_(request)) return wanted;
  return number == fail_at_ || (failure_lasts_ && number > fail_at_) ? fail_with_ : 0;
}

void MemoryDevice::apply_locked(Request& request, uint64_t offset) {
  uint64_t at = offset;
  switch (request.operation) {
    case Operation::Read:
      for (const Segment& segment : request.segments) {
        memcpy(segment.data, contents_.data() + at, segment.bytes);
        at += segment.bytes;
      }
      return;
    case Operation::Write:
      for (const Segment& segment : request.segments) {
        memcpy(contents_.data() + at, segment.data, segment.bytes);
        at += segment.bytes;
      }
      break;
    case Operation::Discard:
    case Operation::WriteZeroes: memset(contents_.data() + offset, 0, request.bytes); break;
    case Operation::Flush: break;
  }
  if (!is_recording_) return;
  Event event{.operation = request.operation, .offset = offset, .data = {}, .is_durable = request.is_durable};
  if (request.operation != Operation::Flush) event.data.assign(contents_.data() + offset, contents_.data() + offset + request.bytes);
  events_.push_back(std::move(event));
}

void MemoryDevice::hold_writes(uint64_t least_bytes) {
  MutexLock lock(contents_mutex_);
  least_held_ = least_bytes;
}

size_t MemoryDevice::held_writes() {
  MutexLock lock(contents_mutex_);
  return held_.size();
}

bool MemoryDevice::release_write(size_t which) {
  Held held;
  {
    MutexLock lock(contents_mutex_);
    if (held_.empty()) return false;
    const auto chosen = held_.begin() + static_cast<ptrdiff_t>(which % held_.size());
    held = *chosen;
    held_.erase(chosen);
  }
  perform(*held.request, held.offset);
  return true;
}

bool MemoryDevice::find_room(uint64_t offset, uint64_t bytes) {
  MutexLock lock(contents_mutex_);
  static constexpr std::byte kZeroes[kSectorBytes] = {};
  for (uint64_t at = offset; at < offset + bytes; at += kSectorBytes)
    if (memcmp(&contents_[at], kZeroes, kSectorBytes) == 0) return false;
  return true;
}

void MemoryDevice::start(Request& request, uint64_t offset) {
  {
    MutexLock lock(contents_mutex_);
    if (request.operation == Operation::Write && request.bytes >= least_held_) return held_.push_back({&request, offset});
  }
  perform(request, offset);
}

void MemoryDevice::perform(Request& request, uint64_t offset) {
  int fault;
  {
    MutexLock lock(contents_mutex_);
    fault = fault_of_locked(request);
    if (fault == 0) apply_locked(request, offset);
  }
  finish(request, fault);
}

std::vector<std::byte> MemoryDevice::image_after_crash(size_t cut, uint64_t seed) {
  MutexLock lock(contents_mutex_);
  CHECK(is_recording_, "record() comes first");
  std::vector<std::byte> image = recorded_from_;
  if (cut > events_.size()) cut = events_.size();
  size_t safe = cut;
  while (safe > 0 && events_[safe - 1].operation != Operation::Flush) --safe;
  // What reached the medium of a sector that was written several times is any one of its states, not only the last: each event decides for itself.
  for (size_t i = 0; i < cut; ++i) {
    const Event& event = events_[i];
    const bool is_certain = i < safe || event.is_durable || seed == 1;
    for (uint64_t done = 0; done < event.data.size(); done += kSectorBytes) {
      const bool survives = is_certain || (seed != 0 && (mix(seed ^ mix(i) ^ mix(done << 20)) & 1));
      if (survives) put(image, event.offset + done, std::span(event.data).subspan(done, std::min<size_t>(kSectorBytes, event.data.size() - done)));
    }
  }
  return image;
}

}  // namespace umk::block::fake

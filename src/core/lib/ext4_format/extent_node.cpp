#include "core/lib/ext4_format/extent_node.h"

#include "core/lib/ext4_format/checksum.h"

namespace umk::ext4 {

namespace {
constexpr uint16_t kMagic = 0xf30a;
}

bool ExtentNode::is_sane(const Geometry& geometry, std::optional<uint32_t> wanted_depth, uint64_t first, uint64_t end) const {
  if (bytes_.size() < kHeader || get16(bytes_, 0) != kMagic) return false;
  if (depth() > kExtentDepthLimit || (wanted_depth && depth() != *wanted_depth)) return false;
  if (maximum() == 0 || at(maximum()) > bytes_.size() || entries() > maximum()) return false;
  if (entries() == 0) return is_leaf();
  uint64_t next = first;
  for (uint32_t i = 0; i < entries(); ++i) {
    if (logical(i) < next || logical(i) >= end) return false;
    if (is_leaf()) {
      const Extent e = extent(i);
      if (e.length == 0 || e.end() > end || e.physical <= geometry.first_data_block || e.physical >= geometry.block_count ||
          e.length > geometry.block_count - e.physical)
        return false;
      next = e.end();
    } else {
      if (!geometry.is_valid_block(index(i).block)) return false;
      next = uint64_t{logical(i)} + 1;
    }
  }
  return true;
}

Extent ExtentNode::extent(uint32_t i) const {
  Extent e;
  e.logical = get32(bytes_, at(i));
  const uint32_t length = get16(bytes_, at(i) + 4);
  e.initialised = length <= kExtentMaximum;
  e.length = e.initialised ? length : length - kExtentMaximum;
  e.physical = get32(bytes_, at(i) + 8) | uint64_t{get16(bytes_, at(i) + 6)} << 32;
  return e;
}

ExtentIndex ExtentNode::index(uint32_t i) const {
  return {get32(bytes_, at(i)), get32(bytes_, at(i) + 4) | uint64_t{get16(bytes_, at(i) + 8)} << 32};
}

void ExtentNode::set_extent(uint32_t i, const Extent& e) {
  CHECK(e.length != 0 && e.length <= e.maximum(), "an extent's length fits");
  put32(bytes_, at(i), e.logical);
  put16(bytes_, at(i) + 4, static_cast<uint16_t>(e.initialised ? e.length : e.length + kExtentMaximum));
  put16(bytes_, at(i) + 6, static_cast<uint16_t>(e.physical >> 32));
  put32(bytes_, at(i) + 8, static_cast<uint32_t>(e.physical));
}

void ExtentNode::set_index(uint32_t i, const ExtentIndex& index) {
  put32(bytes_, at(i), index.logical);
  put32(bytes_, at(i) + 4, static_cast<uint32_t>(index.block));
  put16(bytes_, at(i) + 8, static_cast<uint16_t>(index.block >> 32));
  put16(bytes_, at(i) + 10, 0);
}

std::optional<uint32_t> ExtentNode::find(uint32_t block) const {
  uint32_t low = 0, high = entries();
  while (low < high) {
    const uint32_t middle = (low + high) / 2;
    if (logical(middle) <= block) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == 0) return std::nullopt;
  return low - 1;
}

void ExtentNode::insert(uint32_t i) {
  CHECK(i <= entries() && !is_full(), "there is room in the node");
  const size_t size = (entries() - i) * kEntry;
  if (size != 0) __builtin_memmove(bytes_.subspan(at(i + 1), size).data(), bytes_.subspan(at(i), size).data(), size);
  set_entries(entries() + 1);
}

void ExtentNode::erase(uint32_t i, uint32_t count) {
  CHECK(i + count <= entries(), "the entries exist");
  const size_t size = (entries() - i - count) * kEntry;
  if (size != 0) __builtin_memmove(bytes_.subspan(at(i), size).data(), bytes_.subspan(at(i + count), size).data(), size);
  set_entries(entries() - count);
}

void ExtentNode::move_tail(uint32_t i, ExtentNode& other) {
  const uint32_t count = entries() - i;
  CHECK(i <= entries() && other.entries() + count <= other.maximum(), "there is room in the other node");
  copy_bytes(other.bytes_.subspan(at(other.entries())), bytes_.subspan(at(i), count * kEntry));
  other.set_entries(other.entries() + count);
  set_entries(i);
}

void ExtentNode::initialise(uint32_t depth, uint32_t maximum) {
  fill_zero(bytes_);
  put16(bytes_, 0, kMagic);
  set_maximum(maximum);
  set_depth(depth);
}

bool ExtentNode::is_intact(const Geometry& geometry, uint32_t seed) const {
  if (!geometry.has_checksums()) return true;
  const size_t tail = at(maximum());
  return tail + 4 <= bytes_.size() && get32(bytes_, tail) == crc32c(seed, ConstBytes(bytes_).first(tail));
}

void ExtentNode::seal(const Geometry& geometry, uint32_t seed) {
  if (!geometry.has_checksums()) return;
  const size_t tail = at(maximum());
  if (tail + 4 <= bytes_.size()) put32(bytes_, tail, crc32c(seed, ConstBytes(bytes_).first(tail)));
}

}  // namespace umk::ext4

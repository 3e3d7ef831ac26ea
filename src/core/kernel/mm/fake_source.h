// A file for hosted tests of mappings: a store and a size.
#pragma once

#include <string>
#include <string_view>

#include "core/kernel/mm/page_source.h"

namespace umk::mm::fake {

class Source final : public PageSource {
 public:
  Source(CacheWindow& window, const std::string& contents, Kind kind = Kind::Store) : kind_(kind), store_(window) { write(0, contents); }

  Kind source_kind() const override { return kind_; }
  PageStore* store() override { return &store_; }
  uint64_t mappable_bytes() const override { return size_; }
  Result<size_t> read_for_text(uint64_t offset, std::span<std::byte> into) override {
    if (offset >= size_) return size_t{0};
    UserOutBuffer buffer = UserOutBuffer::kernel(into.first(into.size() < size_ - offset ? into.size() : size_ - offset));
    return store_.read(offset, buffer);
  }
  void add_mapping_reference() override { ++references; }
  void drop_mapping_reference() override { --references; }

  void write(uint64_t offset, std::string_view text) {
    UserInBuffer buffer(reinterpret_cast<uint64_t>(text.data()), text.size());
    CHECK(store_.write(offset, buffer).value_or(0) == text.size(), "the test's file can be written");
    if (offset + text.size() > size_) size_ = offset + text.size();
  }
  std::string read(uint64_t offset, size_t size) {
    std::string text(size, '\0');
    UserOutBuffer buffer(reinterpret_cast<uint64_t>(text.data()), size);
    CHECK(store_.read(offset, buffer).value_or(0) == size, "the test's file can be read");
    return text;
  }
  void resize(uint64_t size) {
    if (size < size_) store_.truncate(size);
    size_ = size;
  }

  int references = 0;

 private:
  const Kind kind_;
  PageStore store_;
  uint64_t size_ = 0;
};

}  // namespace umk::mm::fake

// Any bytes as the structures of a squashfs image: the first byte chooses which. Nothing outside of the input is read, and every walk ends.
#include <algorithm>
#include <cstring>
#include <vector>

#include "core/lib/squashfs_format/attributes.h"
#include "core/lib/squashfs_format/directory.h"
#include "core/lib/squashfs_format/inode_record.h"
#include "fuzz/fuzz.h"

using namespace umk;
using namespace umk::squashfs;

namespace {

class InputStream final : public Stream {
 public:
  explicit InputStream(ConstBytes bytes) : rest_(bytes) {}
  umk::Result<void> read(Bytes into) override {
    if (into.size() > rest_.size()) return umk::error(EIO);
    if (!into.empty()) std::memcpy(into.data(), rest_.data(), into.size());
    rest_ = rest_.subspan(into.size());
    return {};
  }

 private:
  ConstBytes rest_;
};

void use_inode(InputStream& stream) {
  const umk::Result<InodeRecord> record = read_inode(stream);
  if (!record.ok()) return;
  FUZZ_CHECK(record.value().size <= INT64_MAX);
  if (record.value().kind == Kind::Symlink) FUZZ_CHECK(record.value().size < kLinkLimit);
  IndexEntry entry;
  for (uint32_t i = 0; i < record.value().index_count && read_index_entry(stream, entry).ok(); ++i)
    FUZZ_CHECK(entry.name_bytes <= sizeof entry.name);
}

void use_directory(InputStream& stream, size_t size) {
  DirectoryReader reader(stream, 0, size);
  DirectoryEntry entry;
  for (uint64_t before = 0;; before = reader.position()) {
    const umk::Result<bool> more = reader.next(entry);
    if (!more.ok() || !more.value()) return;
    FUZZ_CHECK(reader.position() > before && is_file_name(entry.name));
  }
}

void use_attributes(InputStream& stream) {
  AttributeName name;
  for (int i = 0; read_attribute_name(stream, name).ok(); ++i) {
    FUZZ_CHECK(name.bytes <= sizeof name.text);
    if (i % 2 ? !read_attribute_value(stream).ok() : !skip_attribute_value(stream, name.is_elsewhere).ok()) return;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::vector<std::byte> bytes(reinterpret_cast<const std::byte*>(data) + 1, reinterpret_cast<const std::byte*>(data) + size);
  InputStream stream(bytes);
  switch (data[0] % 4) {
    case 0: {
      std::string_view reason;
      const umk::Result<Layout> layout = Layout::parse(bytes, 1 << 30, reason);
      if (layout.ok()) FUZZ_CHECK(layout.value().block_size == 1u << layout.value().block_bits && layout.value().bytes_used <= 1 << 30);
      break;
    }
    case 1: use_inode(stream); break;
    case 2: use_directory(stream, bytes.size()); break;
    default: use_attributes(stream);
  }
  return 0;
}

// Any bytes as the structures of ISO 9660: the first byte chooses which. Nothing outside of the input is read, and every walk ends.
#include <vector>

#include "core/lib/iso9660_format/rock_ridge.h"
#include "core/lib/iso9660_format/volume_descriptor.h"
#include "fuzz/fuzz.h"

using namespace umk;
using namespace umk::iso9660;

namespace {

void use_record(ConstBytes bytes) {
  for (;;) {
    const umk::Result<DirectoryRecord> parsed = DirectoryRecord::parse(bytes);
    if (!parsed.ok() || parsed.value().bytes == 0) return;
    const DirectoryRecord& record = parsed.value();
    FUZZ_CHECK(record.bytes <= bytes.size() && record.name.size() + record.system_use.size() < record.bytes);
    char room[255];
    for (const NameMap map : {NameMap::Normal, NameMap::Off}) FUZZ_CHECK(plain_name(record.name, map, room).size() <= sizeof room);
    FUZZ_CHECK(joliet_name(record.name, room).size() <= sizeof room);
    RockRidge fields;
    (void)fields.add(record.system_use).ok();
    (void)fields_start(record.system_use);
    bytes = bytes.subspan(record.bytes);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::vector<std::byte> bytes(reinterpret_cast<const std::byte*>(data) + 1, reinterpret_cast<const std::byte*>(data) + size);
  switch (data[0] % 3) {
    case 0: {
      bytes.resize(kSectorBytes);
      const umk::Result<VolumeDescriptor> parsed = VolumeDescriptor::parse(bytes);
      if (parsed.ok()) FUZZ_CHECK(parsed.value().block_size == 1u << parsed.value().block_bits);
      break;
    }
    case 1: use_record(bytes); break;
    default: {
      RockRidge fields;
      if (fields.add(bytes).ok()) FUZZ_CHECK(fields.name.size() <= 255 && fields.target.size() <= 4400);
      // As if a continuation followed.
      (void)fields.add(bytes).ok();
    }
  }
  return 0;
}

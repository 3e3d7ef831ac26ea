#include "core/lib/iso9660_format/volume_descriptor.h"

namespace umk::iso9660 {

Result<VolumeDescriptor> VolumeDescriptor::parse(ConstBytes sector) {
  if (sector.size() < kSectorBytes || text_of(sector.subspan(1, 5)) != "CD001") return error(EINVAL);
  VolumeDescriptor d;
  const uint8_t type = get8(sector, 0);
  if (type == 255) {
    d.kind = Kind::End;
    return d;
  }
  if (type == 1) {
    d.kind = Kind::Primary;
  } else if (type == 2) {
    // UCS-2 of level 1, 2 or 3, by their escape sequences.
    const std::string_view escape = text_of(sector.subspan(88, 3));
    if (escape != "%/@" && escape != "%/C" && escape != "%/E") return d;
    d.kind = Kind::Joliet;
  } else {
    return d;
  }
  d.block_size = get16(sector, 128);
  if (d.block_size != 512 && d.block_size != 1024 && d.block_size != 2048) return error(EIO);
  while (d.block_size != 1u << d.block_bits) --d.block_bits;
  d.blocks = get32(sector, 80);
  d.root = TRY(DirectoryRecord::parse(sector.subspan(156, 34)));
  if (d.root.bytes == 0 || !d.root.is_directory()) return error(EIO);
  return d;
}

}  // namespace umk::iso9660

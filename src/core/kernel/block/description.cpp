#include "core/kernel/block/description.h"

namespace umk::block {

Result<String> place_of(const BlockDevice& device) {
  if (device.disk()) return format_string("devices/virtual/block/{}/{}", device.disk()->name(), device.name());
  return format_string("devices/virtual/block/{}", device.name());
}

void put_properties(TextSink& sink, const BlockDevice& device) {
  format(sink, "MAJOR={}\nMINOR={}\nDEVNAME={}\nDEVTYPE={}\n", device.number().major, device.number().minor, device.name(),
         device.disk() ? "partition" : "disk");
  if (device.disk()) format(sink, "PARTN={}\n", device.partition_number());
}

}  // namespace umk::block

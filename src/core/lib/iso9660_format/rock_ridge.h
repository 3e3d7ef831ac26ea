// Rock Ridge: what POSIX wants to know of a file, in the system use fields of directory records. SUSP 1.12 (IEEE P1281) and RRIP 1.12 (IEEE P1282).
#pragma once

#include "core/base/string.h"
#include "core/lib/iso9660_format/directory_record.h"

namespace umk::iso9660 {

/// Where the fields of a record go on.
struct Continuation {
  uint32_t block = 0, offset = 0, size = 0;
};

/// What the fields of one record say.
struct RockRidge {
  bool has_attributes = false;
  uint32_t mode = 0, links = 1, uid = 0, gid = 0;
  bool has_device = false;
  uint64_t device_high = 0, device_low = 0;
  std::optional<Seconds> modified, accessed, changed;
  bool has_name = false;
  String name;
  bool has_target = false;
  String target;
  std::optional<uint32_t> child;  // CL: the directory is elsewhere, at this block
  bool is_relocated = false;  // RE: it is shown elsewhere
  /// Set by CE: to be read next.
  std::optional<Continuation> more;

  /// Takes in an area of fields. EIO for fields that cannot be; ENOMEM.
  Result<void> add(ConstBytes area);

 private:
  Result<void> add_link(ConstBytes field);
  Result<void> add_name(ConstBytes field);
  void add_times(ConstBytes field);
  bool name_continues_ = true, link_continues_ = true;
  bool target_joins_ = true;  // the next component belongs to the last
};

/// How many bytes of system use come before the fields, by the SP field of the root's first record; nothing: the volume has no such fields.
std::optional<size_t> fields_start(ConstBytes system_use);

}  // namespace umk::iso9660

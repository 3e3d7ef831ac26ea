// Mount options: ext4(5).
#pragma once

#include <optional>

#include "core/lib/ext4_format/superblock.h"

namespace umk::ext4 {

/// What happens to file data: it goes through the journal, it is on the disk before the metadata that leads to it, or neither.
enum class DataMode : uint8_t { Journal, Ordered, WriteBack };

struct MountOptions {
  std::optional<DataMode> data_mode;  // none was asked for: ordered
  ErrorPolicy errors = ErrorPolicy::Continue;
  bool no_load = false;          // leave the journal alone; read-only mounts
  bool barriers = true;
  bool discard = false;
  bool acls = true;
  bool user_attributes = true;
  bool takes_directory_group = false;  // grpid
  bool delayed_allocation = true;
  uint32_t commit_seconds = 5;
  /// Who may use the reserved blocks, besides CAP_SYS_RESOURCE.
  uint32_t reserved_uid = 0, reserved_gid = 0;

  static MountOptions defaults(const Geometry& geometry);
  /// Changes what the text names. EINVAL for what is not known, after naming it in the log.
  Result<void> parse(std::string_view text);
  /// Those that differ from the defaults, each with a leading comma.
  void show(TextSink& sink, const Geometry& geometry) const;
};

}  // namespace umk::ext4

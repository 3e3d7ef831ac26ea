// Mount options: mount(8), "Mount options for iso9660".
#pragma once

#include <optional>
#include <string_view>

#include "core/base/text.h"
#include "core/lib/iso9660_format/directory_record.h"

namespace umk::iso9660 {

struct MountOptions {
  bool rock_ridge = true;
  bool joliet = true;
  NameMap map = NameMap::Normal;
  bool ignores_case = false;         // check=relaxed; not for Rock Ridge
  bool overrides_permissions = false;  // mode and dmode count for Rock Ridge too
  bool hides_hidden = false;
  bool shows_associated = false;
  bool cruft = false;  // sizes of at most 16 MiB: the highest byte is something else
  std::optional<uint32_t> uid, gid, file_mode, directory_mode;
  uint32_t first_sector = 0;  // of the session
  uint32_t block_size = kSectorBytes;  // shown; nothing here works in blocks

  /// Changes what the text names. EINVAL for what is not known, after naming it in the log.
  Result<void> parse(std::string_view text);
  /// As Linux shows them, each with a leading comma.
  void show(TextSink& sink, bool has_rock_ridge, bool has_joliet) const;
};

}  // namespace umk::iso9660

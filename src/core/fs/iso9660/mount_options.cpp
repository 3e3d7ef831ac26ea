#include "core/fs/iso9660/mount_options.h"

#include "core/base/log.h"
#include "core/kernel/time/log_limit.h"

namespace umk::iso9660 {

namespace {
// Whoever mounts, or uses what is damaged, in a loop must not flood the log.
constinit LogLimit log_limit;
}  // namespace

Result<void> MountOptions::parse(std::string_view text) {
  struct Switch {
    std::string_view name;
    bool MountOptions::*field;
    bool value;
  };
  static constexpr Switch kSwitches[] = {{"rock", &MountOptions::rock_ridge, true},
                                         {"norock", &MountOptions::rock_ridge, false},
                                         {"joliet", &MountOptions::joliet, true},
                                         {"nojoliet", &MountOptions::joliet, false},
                                         {"hide", &MountOptions::hides_hidden, true},
                                         {"unhide", &MountOptions::shows_associated, true},
                                         {"showassoc", &MountOptions::shows_associated, true},
                                         {"cruft", &MountOptions::cruft, true},
                                         {"overriderockperm", &MountOptions::overrides_permissions, true},
                                         {"check=relaxed", &MountOptions::ignores_case, true},
                                         {"check=r", &MountOptions::ignores_case, true},
                                         {"check=strict", &MountOptions::ignores_case, false},
                                         {"check=s", &MountOptions::ignores_case, false}};
  // What is so anyway: names are shown in UTF-8, and files that zisofs packed are shown packed.
  static constexpr std::string_view kWithoutEffect[] = {"utf8", "iocharset=utf8", "nocompress", "session=0"};
  while (!text.empty()) {
    const std::string_view option = split_first(text, ',');
    bool is_known = option.empty();
    for (const std::string_view entry : kWithoutEffect) is_known |= entry == option;
    for (const Switch& entry : kSwitches) {
      if (entry.name != option) continue;
      this->*entry.field = entry.value;
      is_known = true;
    }
    if (is_known) continue;
    std::string_view value = option;
    const std::string_view name = split_first(value, '=');
    const std::optional<uint64_t> number = parse_unsigned(value), octal = parse_unsigned(value, 8);
    if (name == "map" && (value == "n" || value == "normal")) map = NameMap::Normal;
    else if (name == "map" && (value == "o" || value == "off")) map = NameMap::Off;
    else if (name == "map" && (value == "a" || value == "acorn")) map = NameMap::Acorn;
    else if (name == "uid" && number && *number < UINT32_MAX) uid = static_cast<uint32_t>(*number);
    else if (name == "gid" && number && *number < UINT32_MAX) gid = static_cast<uint32_t>(*number);
    else if (name == "mode" && octal && *octal <= 07777) file_mode = static_cast<uint32_t>(*octal);
    else if (name == "dmode" && octal && *octal <= 07777) directory_mode = static_cast<uint32_t>(*octal);
    else if (name == "sbsector" && number && *number < UINT32_MAX) first_sector = static_cast<uint32_t>(*number);
    else if (name == "block" && number && (*number == 512 || *number == 1024 || *number == 2048))
      block_size = static_cast<uint32_t>(*number);
    else {
      log_limited(log_limit, "iso9660", LogLevel::Error, "iso9660: unknown mount option \"{}\"", option);
      return error(EINVAL);
    }
  }
  return {};
}

void MountOptions::show(TextSink& sink, bool has_rock_ridge, bool has_joliet) const {
  if (!has_rock_ridge) sink.put(",norock");
  else if (!has_joliet) sink.put(",nojoliet");
  if (cruft) sink.put(",cruft");
  if (hides_hidden) sink.put(",hide");
  if (overrides_permissions) sink.put(",overriderockperm");
  if (shows_associated) sink.put(",showassoc");
  sink.put(ignores_case ? ",check=r" : ",check=s");
  sink.put(map == NameMap::Normal ? ",map=n" : map == NameMap::Off ? ",map=o" : ",map=a");
  if (first_sector != 0) format(sink, ",sbsector={}", first_sector);
  if (block_size != 1024) format(sink, ",blocksize={}", block_size);
  if (uid && *uid != 0) format(sink, ",uid={}", *uid);
  if (gid && *gid != 0) format(sink, ",gid={}", *gid);
  if (directory_mode) format(sink, ",dmode={:o}", *directory_mode);
  if (file_mode) format(sink, ",fmode={:o}", *file_mode);
  if (has_joliet) sink.put(",iocharset=utf8");
}

}  // namespace umk::iso9660

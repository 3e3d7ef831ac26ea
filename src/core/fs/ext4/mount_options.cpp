#include "core/fs/ext4/mount_options.h"

#include "core/abi/errno.h"
#include "core/base/log.h"
#include "core/kernel/time/log_limit.h"

namespace umk::ext4 {

namespace {
// Whoever mounts, or uses what is damaged, in a loop must not flood the log.
constinit LogLimit log_limit;
}  // namespace

namespace {

constexpr uint32_t kDefaultBsdGroups = 0x2, kDefaultNoBarrier = 0x100, kDefaultDiscard = 0x400, kDefaultDataMask = 0x60, kDefaultNoDelayedAllocation = 0x800;

// Accepted without effect: what is always so here, or what only tunes.
constexpr std::string_view kWithoutEffect[] = {"defaults", "journal_checksum", "auto_da_alloc", "noauto_da_alloc", "nouid32", "oldalloc", "orlov",
                                               "block_validity", "noblock_validity", "noquota", "nobh", "bh", "nodioread_nolock", "dioread_nolock", "dioread_lock", "norecovery_ok",
                                               "lazytime", "nolazytime", "mblk_io_submit", "nomblk_io_submit", "prefetch_block_bitmaps", "no_prefetch_block_bitmaps", "noinit_itable",
                                               "bsddf", "debug", "mbcache", "nombcache", "no_mbcache", "data_err=ignore"};
constexpr std::string_view kWithoutEffectWithValue[] = {"stripe", "inode_readahead_blks", "max_batch_time", "min_batch_time", "journal_ioprio", "init_itable", "max_dir_size_kb",
                                                        "mb_optimize_scan"};

template <size_t N>
bool is_among(const std::string_view (&list)[N], std::string_view text) {
  for (const std::string_view entry : list)
    if (entry == text) return true;
  return false;
}

}  // namespace

MountOptions MountOptions::defaults(const Geometry& geometry) {
  MountOptions options;
  options.errors = geometry.error_policy;
  options.takes_directory_group = geometry.default_mount_options & kDefaultBsdGroups;
  options.barriers = !(geometry.default_mount_options & kDefaultNoBarrier);
  options.discard = geometry.default_mount_options & kDefaultDiscard;
  options.delayed_allocation = !(geometry.default_mount_options & kDefaultNoDelayedAllocation);
  constexpr DataMode kModes[] = {DataMode::Ordered, DataMode::Journal, DataMode::Ordered, DataMode::WriteBack};
  const uint32_t mode = (geometry.default_mount_options & kDefaultDataMask) >> 5;
  if (mode != 0 && geometry.has_compat(compat::kHasJournal)) options.data_mode = kModes[mode];
  options.reserved_uid = geometry.reserved_uid;
  options.reserved_gid = geometry.reserved_gid;
  return options;
}

Result<void> MountOptions::parse(std::string_view text) {
  struct Switch {
    std::string_view name;
    bool MountOptions::*field;
    bool value;
  };
  static constexpr Switch kSwitches[] = {{"noload", &MountOptions::no_load, true},
                                         {"norecovery", &MountOptions::no_load, true},
                                         {"barrier", &MountOptions::barriers, true},
                                         {"barrier=1", &MountOptions::barriers, true},
                                         {"nobarrier", &MountOptions::barriers, false},
                                         {"barrier=0", &MountOptions::barriers, false},
                                         {"discard", &MountOptions::discard, true},
                                         {"nodiscard", &MountOptions::discard, false},
                                         {"acl", &MountOptions::acls, true},
                                         {"noacl", &MountOptions::acls, false},
                                         {"user_xattr", &MountOptions::user_attributes, true},
                                         {"nouser_xattr", &MountOptions::user_attributes, false},
                                         {"grpid", &MountOptions::takes_directory_group, true},
                                         {"bsdgroups", &MountOptions::takes_directory_group, true},
                                         {"nogrpid", &MountOptions::takes_directory_group, false},
                                         {"sysvgroups", &MountOptions::takes_directory_group, false},
                                         {"delalloc", &MountOptions::delayed_allocation, true},
                                         {"nodelalloc", &MountOptions::delayed_allocation, false}};
  while (!text.empty()) {
    const std::string_view option = split_first(text, ',');
    if (option.empty() || is_among(kWithoutEffect, option)) continue;
    const Switch* known = nullptr;
    for (const Switch& entry : kSwitches)
      if (entry.name == option) known = &entry;
    if (known) {
      this->*known->field = known->value;
      continue;
    }
    std::string_view value = option;
    const std::string_view name = split_first(value, '=');
    if (name == "errors") {
      if (value == "continue") errors = ErrorPolicy::Continue;
      else if (value == "remount-ro") errors = ErrorPolicy::RemountReadOnly;
      else if (value == "panic") errors = ErrorPolicy::Panic;
      else return error(EINVAL);
    } else if (name == "data") {
      if (value == "journal") data_mode = DataMode::Journal;
      else if (value == "ordered") data_mode = DataMode::Ordered;
      else if (value == "writeback") data_mode = DataMode::WriteBack;
      else return error(EINVAL);
    } else if (name == "commit") {
      const auto seconds = parse_unsigned(value);
      if (!seconds || *seconds > 1'000'000) return error(EINVAL);
      commit_seconds = *seconds == 0 ? 5 : static_cast<uint32_t>(*seconds);
    } else if (name == "resuid" || name == "resgid") {
      const auto id = parse_unsigned(value);
      if (!id || *id >= UINT32_MAX) return error(EINVAL);
      (name == "resuid" ? reserved_uid : reserved_gid) = static_cast<uint32_t>(*id);
    } else if (!is_among(kWithoutEffectWithValue, name)) {
      log_limited(log_limit, "ext4", LogLevel::Error, "ext4: unknown mount option \"{}\"", option);
      return error(EINVAL);
    }
  }
  return {};
}

void MountOptions::show(TextSink& sink, const Geometry& geometry) const {
  const MountOptions usual = defaults(geometry);
  if (errors != ErrorPolicy::Continue) sink.put(errors == ErrorPolicy::Panic ? ",errors=panic" : ",errors=remount-ro");
  if (data_mode != usual.data_mode && data_mode)
    sink.put(*data_mode == DataMode::Journal ? ",data=journal" : *data_mode == DataMode::Ordered ? ",data=ordered" : ",data=writeback");
  if (no_load) sink.put(",norecovery");
  if (barriers != usual.barriers) sink.put(barriers ? ",barrier" : ",nobarrier");
  if (discard != usual.discard) sink.put(discard ? ",discard" : ",nodiscard");
  if (!acls) sink.put(",noacl");
  if (!user_attributes) sink.put(",nouser_xattr");
  if (takes_directory_group != usual.takes_directory_group) sink.put(takes_directory_group ? ",grpid" : ",nogrpid");
  if (delayed_allocation != usual.delayed_allocation) sink.put(delayed_allocation ? ",delalloc" : ",nodelalloc");
  if (reserved_uid != 0) format(sink, ",resuid={}", reserved_uid);
  if (reserved_gid != 0) format(sink, ",resgid={}", reserved_gid);
  if (commit_seconds != 5) format(sink, ",commit={}", commit_seconds);
}

}  // namespace umk::ext4

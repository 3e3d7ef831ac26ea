// OwnerRecord: what a guest set on a file that an ordinary user of the host cannot set there: owner, mode bits, device numbers.
//
// On regular files and directories it is kept in extended attributes, each present only where it differs from what the host's inode says:
//   user.umk.owner   UID:GID
//   user.umk.mode    permission bits in octal
//   user.umk.device  `c MAJOR:MINOR`, `b MAJOR:MINOR`, `p 0:0` (a FIFO), `s 0:0` (a socket): the file is an empty one that stands for this
//   user.umk.nodes   on directories: some entry has a device attribute
// Everything else is kept in a side file (owner_file.h). `./dev root` writes both.
#pragma once

#include <optional>
#include <span>

#include "core/fs/hostfs/descriptor.h"
#include "core/kernel/vfs/inode.h"

namespace umk::hostfs {

struct OwnerRecord {
  std::optional<UserId> uid;  // with gid, or none of both
  std::optional<GroupId> gid;
  std::optional<uint32_t> permissions;
  std::optional<vfs::FileType> type;  // only with a device attribute
  vfs::DeviceNumber device;
  bool has_nodes = false;

  bool is_empty() const { return !uid && !permissions && !type; }
};

inline constexpr std::string_view kHiddenAttributePrefix = "user.umk.";

/// Parse one value each; false, and nothing changed, when it is malformed.
bool parse_owner(std::string_view text, OwnerRecord& record);
bool parse_permissions(std::string_view text, OwnerRecord& record);
bool parse_device(std::string_view text, OwnerRecord& record);
/// The texts of the members that are there; `buffer` of at least 32 bytes.
std::string_view owner_text(const OwnerRecord& record, std::span<char> buffer);
std::string_view permissions_text(const OwnerRecord& record, std::span<char> buffer);
std::string_view device_text(const OwnerRecord& record, std::span<char> buffer);

/// What the attributes of a host file say; an empty record where the filesystem has none. Malformed ones are ignored.
Result<OwnerRecord> read_record(const HostDescriptor& file);
/// Changes the attributes of a host file from `old` to `wanted`. EOPNOTSUPP where there are none.
Result<void> write_record(const HostDescriptor& file, const OwnerRecord& old, const OwnerRecord& wanted);
Result<void> mark_nodes(const HostDescriptor& directory);

}  // namespace umk::hostfs

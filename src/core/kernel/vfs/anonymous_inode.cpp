#include "core/kernel/vfs/anonymous_inode.h"

namespace umk::vfs {

namespace {

struct KindFacts {
  std::string_view name;
  int64_t magic;  // statfs(2)
};
constexpr KindFacts kFacts[kAnonymousKinds] = {{"pipefs", 0x50495045}, {"sockfs", 0x534f434b}, {"anon_inodefs", 0x09041934}};

const KindFacts& facts_of(AnonymousKind kind) { return kFacts[static_cast<unsigned>(kind)]; }

}  // namespace

AnonymousSuperblock::AnonymousSuperblock(AnonymousKind kind, DeviceNumber device) : Superblock(facts_of(kind).name, device), kind_(kind) {}

Result<RefPtr<AnonymousSuperblock>> AnonymousSuperblock::create(AnonymousKind kind, DeviceNumber device) {
  return make_ref<AnonymousSuperblock>(kind, device);
}

Result<FilesystemStatistics> AnonymousSuperblock::statistics() {
  FilesystemStatistics statistics;
  statistics.type_magic = facts_of(kind_).magic;
  return statistics;
}

Result<RefPtr<AnonymousInode>> AnonymousInode::create(AnonymousSuperblock& superblock, uint32_t mode, UserId uid, GroupId gid) {
  return make_ref<AnonymousInode>(superblock, mode, uid, gid);
}

}  // namespace umk::vfs

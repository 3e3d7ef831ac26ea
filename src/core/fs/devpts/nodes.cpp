#include "core/fs/devpts/nodes.h"

namespace umk::devpts {

Root::Root(Instance& instance)
    : Inode(instance, Instance::kRootNumber, static_cast<uint32_t>(vfs::FileType::Directory) | 0755, 0, 0), instance_(instance) {
  links_.store(2);
}

Result<RefPtr<vfs::Inode>> Root::lookup(std::string_view name) {
  RefPtr<vfs::Inode> found = instance_.find(name);
  if (!found) return error(ENOENT);
  return found;
}

Result<uint64_t> Root::list(uint64_t position, vfs::InodeNumber parent_number, vfs::DirectorySink& sink) {
  constexpr uint64_t kFirstSlave = 3;  // position of slave 0
  if (!vfs::list_self_and_parent(position, number(), parent_number, sink)) return position;
  if (position == 2) {
    if (!sink.emit("ptmx", Instance::kMultiplexerNumber, vfs::FileType::CharacterDevice, kFirstSlave)) return position;
    position = kFirstSlave;
  }
  while (const std::optional<Instance::Listed> next = instance_.next_slave(static_cast<unsigned>(position - kFirstSlave))) {
    char text[16];
    BufferSink name(text);
    format(name, "{}", next->number);
    if (!sink.emit(name.view(), next->inode_number, vfs::FileType::CharacterDevice, kFirstSlave + next->number + 1)) return position;
    position = kFirstSlave + next->number + 1;
  }
  return position;
}

}  // namespace umk::devpts

// The files of devpts: the root directory and device nodes.
#pragma once

#include "core/fs/devpts/devpts.h"

namespace umk::devpts {

class Root final : public vfs::Inode {
 public:
  explicit Root(Instance& instance);

  // Slaves come and go by themselves.
  bool names_are_stable() const override { return false; }
  bool revalidate(std::string_view name, vfs::Inode* child) override { return instance_.find(name) == child; }
  Result<RefPtr<vfs::Inode>> lookup(std::string_view name) override;
  Result<uint64_t> list(uint64_t position, vfs::InodeNumber parent_number, vfs::DirectorySink& sink) override;

 private:
  Instance& instance_;
};

/// A device node. Slaves' nodes are held by programs and hold the instance; the multiplexer's is held by the instance.
class Node final : public vfs::Inode {
 public:
  struct Identity {
    vfs::InodeNumber number;
    uint32_t mode;
    UserId uid;
    GroupId gid;
    vfs::DeviceNumber device;
  };
  Node(Instance& instance, const Identity& identity, RefPtr<RefCounted> instance_hold)
      : Inode(instance, identity.number, static_cast<uint32_t>(vfs::FileType::CharacterDevice) | identity.mode, identity.uid, identity.gid,
              identity.device),
        instance_hold_(std::move(instance_hold)) {}

 protected:
  void last_reference_dropped() override {
    // The instance must outlive the base class.
    const RefPtr<RefCounted> kept = std::move(instance_hold_);
    delete this;
  }

 private:
  RefPtr<RefCounted> instance_hold_;
};

}  // namespace umk::devpts

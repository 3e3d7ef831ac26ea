// ExecutionHold: a program runs from this file, so nobody may open it for writing. execve(2), ETXTBSY.
//
// Life: taken by exec before it reads the file, kept by the address space next to its `executable` (forked children share it), given up by the last
// one that is emptied. Interpreters and scripts are held only while exec reads them, as on Linux.
#pragma once

#include "core/base/make.h"
#include "core/kernel/vfs/inode.h"

namespace umk::vfs {

class ExecutionHold final : public RefCounted {
 public:
  /// ETXTBSY while the file is open for writing.
  static Result<RefPtr<ExecutionHold>> take(Inode& inode) {
    RefPtr<ExecutionHold> hold = TRY(make_ref<ExecutionHold>());
    TRY(inode.deny_writers());
    hold->inode_ = RefPtr<Inode>(inode);
    return hold;
  }

 protected:
  ~ExecutionHold() override {
    if (inode_) inode_->allow_writers();
  }

 private:
  RefPtr<Inode> inode_;
};

}  // namespace umk::vfs

// TextFile: an open file whose text the kernel makes.
//
// The text is made when the file is read from its beginning, which rewinding does again; further reads go on in the same text. What is written goes to the
// entry's `store` at once, one write(2) one value, wherever the position stands.
#pragma once

#include "core/fs/proc/nodes.h"
#include "core/kernel/vfs/open_file.h"

namespace umk::proc {

class TextFile final : public vfs::OpenFile {
 public:
  static Result<RefPtr<vfs::OpenFile>> open(RefPtr<FileNode> node, const vfs::Caller& caller, uint32_t flags);
  TextFile(RefPtr<FileNode> node, RefPtr<const Credentials> reader, uint32_t flags)
      : OpenFile(RefPtr<vfs::Inode>(node), flags, LockRank::ProcFile), reader_(std::move(reader)) {}

  bool is_seekable() const override { return true; }
  bool is_pollable() const override { return false; }
  Result<size_t> read_at(uint64_t offset, UserOutBuffer& buffer) override;
  Result<size_t> write_at(uint64_t& offset, UserInBuffer& buffer, bool append) override;
  /// SEEK_END is EINVAL: there is no end before the text is made.
  Result<uint64_t> seek(int64_t offset, int whence) override;

 private:
  class Text : public RefCounted {
   public:
    explicit Text(String text) : string(std::move(text)) {}
    const String string;
  };

  const FileNode& node() const { return static_cast<const FileNode&>(inode()); }
  Result<RefPtr<Text>> make_text();

  const RefPtr<const Credentials> reader_;
  Mutex mutex_{LockRank::None};  // held for taking the pointer only
  RefPtr<Text> text_ GUARDED_BY(mutex_);
};

}  // namespace umk::proc

// Path: a place in the mount tree, a dentry seen through a mount.
#pragma once

#include "core/base/ref_ptr.h"

namespace umk::vfs {

class Dentry;  // a name in a directory: dentry.h
class Mount;   // a filesystem attached somewhere: mount.h

struct Path {
  RefPtr<Mount> mount;
  RefPtr<Dentry> dentry;

  Path();
  Path(RefPtr<Mount> at, RefPtr<Dentry> name);
  Path(const Path&);
  Path(Path&&) noexcept;
  Path& operator=(const Path&);
  Path& operator=(Path&&) noexcept;
  ~Path();

  explicit operator bool() const { return static_cast<bool>(dentry); }
  friend bool operator==(const Path& a, const Path& b) { return a.mount == b.mount && a.dentry == b.dentry; }
};

}  // namespace umk::vfs

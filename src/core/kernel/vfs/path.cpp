#include "core/kernel/vfs/path.h"

#include "core/kernel/vfs/dentry.h"
#include "core/kernel/vfs/mount.h"

namespace umk::vfs {

Path::Path() = default;
Path::Path(RefPtr<Mount> at, RefPtr<Dentry> name) : mount(std::move(at)), dentry(std::move(name)) {}
Path::Path(const Path&) = default;
Path::Path(Path&&) noexcept = default;
Path& Path::operator=(const Path&) = default;
Path& Path::operator=(Path&&) noexcept = default;
Path::~Path() = default;

}  // namespace umk::vfs

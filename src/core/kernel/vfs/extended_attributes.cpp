// Extended attributes: who may read and write which namespace. xattr(7).
#include "core/kernel/vfs/notify.h"
#include "core/kernel/vfs/vfs.h"

namespace umk::vfs {

namespace {

enum class Namespace { User, Trusted, Security, System };

Result<Namespace> namespace_of(std::string_view name) {
  struct Prefix {
    std::string_view text;
    Namespace kind;
  };
  constexpr Prefix kPrefixes[] = {{"user.", Namespace::User}, {"trusted.", Namespace::Trusted}, {"security.", Namespace::Security}, {"system.", Namespace::System}};
  for (const Prefix& prefix : kPrefixes) {
    if (!name.starts_with(prefix.text)) continue;
    if (name.size() == prefix.text.size()) return error(EINVAL);
    return prefix.kind;
  }
  return error(EOPNOTSUPP);
}

Result<void> check_read(const Caller& caller, Inode& inode, std::string_view name) {
  switch (TRY(namespace_of(name))) {
    case Namespace::User:
      if (!inode.is_regular() && !inode.is_directory()) return error(ENODATA);
      return inode.check_access(caller.credentials, 4);
    case Namespace::Trusted:
      if (!caller.credentials.has(Capability::SysAdmin)) return error(ENODATA);
      return {};
    default: return {};
  }
}

Result<void> check_write(const Caller& caller, const Target& target, std::string_view name) {
  TRY(check_writable(target.mount));
  Inode& inode = target.inode;
  switch (TRY(namespace_of(name))) {
    case Namespace::User:
      if (!inode.is_regular() && !inode.is_directory()) return error(EPERM);
      if (inode.is_directory() && (inode.mode() & mode::kSticky) && !owns_or_may(caller, inode)) return error(EPERM);
      return inode.check_access(caller.credentials, 2);
    case Namespace::Trusted:
      if (!caller.credentials.has(Capability::SysAdmin)) return error(EPERM);
      return {};
    case Namespace::Security:
      if (!caller.credentials.has(name == "security.capability" ? Capability::Setfcap : Capability::SysAdmin)) return error(EPERM);
      return {};
    case Namespace::System: return {};
  }
  return error(EOPNOTSUPP);
}

}  // namespace

Result<String> Vfs::get_attribute(const Caller& caller, const Target& target, std::string_view name) {
  TRY(check_read(caller, target.inode, name));
  MutexLock lock(target.inode.mutex());
  return target.inode.get_attribute(name);
}

Result<void> Vfs::set_attribute(const Caller& caller, const Target& target, std::string_view name, std::string_view value, int flags) {
  TRY(check_write(caller, target, name));
  {
    MutexLock lock(target.inode.mutex());
    TRY(target.inode.set_attribute(name, value, flags));
  }
  if (target.dentry) notify_file(target.inode, *target.dentry, notify_bits::kAttributes);
  return {};
}

Result<void> Vfs::remove_attribute(const Caller& caller, const Target& target, std::string_view name) {
  TRY(check_write(caller, target, name));
  {
    MutexLock lock(target.inode.mutex());
    TRY(target.inode.remove_attribute(name));
  }
  if (target.dentry) notify_file(target.inode, *target.dentry, notify_bits::kAttributes);
  return {};
}

Result<String> Vfs::list_attributes(const Caller& caller, const Target& target) {
  String all;
  {
    MutexLock lock(target.inode.mutex());
    all = TRY(target.inode.list_attributes());
  }
  if (caller.credentials.has(Capability::SysAdmin)) return all;
  // trusted.* is not shown to those who may not use it.
  String shown;
  for (std::string_view rest = all.view(); !rest.empty();) {
    const std::string_view name = rest.substr(0, rest.find('\0') + 1);
    rest.remove_prefix(name.size());
    if (!name.starts_with("trusted.")) TRY(shown.append(name));
  }
  return shown;
}

}  // namespace umk::vfs

#include "core/kernel/security/credentials.h"

#include <algorithm>

namespace umk {

bool Credentials::in_group(GroupId group) const {
  // The list is kept sorted by whoever sets it (identity.cpp).
  return group == fsgid || std::binary_search(groups.begin(), groups.end(), group);
}

Result<RefPtr<Credentials>> Credentials::clone() const {
  RefPtr<Credentials> copy = TRY(make_ref<Credentials>());
  copy->uid = uid;
  copy->euid = euid;
  copy->suid = suid;
  copy->fsuid = fsuid;
  copy->gid = gid;
  copy->egid = egid;
  copy->sgid = sgid;
  copy->fsgid = fsgid;
  TRY(copy->groups.append(std::span<const GroupId>(groups)));
  copy->effective = effective;
  copy->permitted = permitted;
  copy->inheritable = inheritable;
  copy->bounding = bounding;
  copy->ambient = ambient;
  copy->securebits = securebits;
  return copy;
}

Result<RefPtr<Credentials>> Credentials::root() { return make_ref<Credentials>(); }

}  // namespace umk

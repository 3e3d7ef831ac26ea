#include "core/kernel/security/identity.h"

#include <gtest/gtest.h>

namespace umk::identity {
namespace {

constexpr uint32_t kKeep = kUnchangedId;

RefPtr<Credentials> user(UserId real, UserId effective, UserId saved) {
  RefPtr<Credentials> credentials = Credentials::root().take();
  credentials->uid = real;
  credentials->euid = effective;
  credentials->suid = saved;
  credentials->fsuid = effective;
  if (effective != 0) credentials->effective = {};
  if (real != 0 && effective != 0 && saved != 0) credentials->permitted = {};
  return credentials;
}

struct ResuidCase {
  UserId from[3];
  UserId asked[3];
  int code;
  UserId to[3];
};

TEST(Identity, SetresuidFollowsTheTable) {
  const ResuidCase cases[] = {
      {{0, 0, 0}, {1000, 1000, 1000}, 0, {1000, 1000, 1000}},
      {{0, 0, 0}, {kKeep, 1000, kKeep}, 0, {0, 1000, 0}},
      {{1000, 1000, 1000}, {0, kKeep, kKeep}, EPERM, {}},
      {{1000, 1000, 0}, {kKeep, 0, kKeep}, 0, {1000, 0, 0}},
      {{1000, 0, 0}, {kKeep, 1000, 1000}, 0, {1000, 1000, 1000}},
      {{1000, 1001, 1002}, {1002, 1000, 1001}, 0, {1002, 1000, 1001}},
      {{1000, 1001, 1002}, {kKeep, kKeep, 1003}, EPERM, {}},
      {{1000, 1001, 1002}, {kKeep, kKeep, kKeep}, 0, {1000, 1001, 1002}},
  };
  for (const ResuidCase& c : cases) {
    auto result = set_resuid(*user(c.from[0], c.from[1], c.from[2]), c.asked[0], c.asked[1], c.asked[2]);
    ASSERT_EQ(result.code(), c.code);
    if (c.code != 0) continue;
    const RefPtr<Credentials> changed = result.take();
    EXPECT_EQ(changed->uid, c.to[0]);
    EXPECT_EQ(changed->euid, c.to[1]);
    EXPECT_EQ(changed->suid, c.to[2]);
    EXPECT_EQ(changed->fsuid, c.to[1]);
  }
}

TEST(Identity, SetuidOfRootSetsAllAndOfAUserOnlyTheEffectiveId) {
  RefPtr<Credentials> changed = set_uid(*user(0, 0, 0), 5).take();
  EXPECT_EQ(changed->uid, 5u);
  EXPECT_EQ(changed->suid, 5u);
  changed = set_uid(*user(5, 6, 7), 7).take();
  EXPECT_EQ(changed->uid, 5u);
  EXPECT_EQ(changed->euid, 7u);
  EXPECT_EQ(changed->suid, 7u);
  EXPECT_EQ(set_uid(*user(5, 6, 7), 6).code(), EPERM);
}

TEST(Identity, SetreuidSavesTheEffectiveIdWhenTheRealOneIsSet) {
  RefPtr<Credentials> changed = set_reuid(*user(5, 6, 7), 6, 5).take();
  EXPECT_EQ(changed->uid, 6u);
  EXPECT_EQ(changed->euid, 5u);
  EXPECT_EQ(changed->suid, 5u);
  changed = set_reuid(*user(5, 6, 7), kKeep, 5).take();
  EXPECT_EQ(changed->suid, 7u);
  EXPECT_EQ(set_reuid(*user(5, 6, 7), 7, kKeep).code(), EPERM);
}

TEST(Identity, LeavingRootDropsCapabilitiesAndComingBackRestoresThem) {
  const RefPtr<Credentials> down = set_resuid(*user(0, 0, 0), kKeep, 1000, kKeep).take();
  EXPECT_EQ(down->effective.bits, 0u);
  EXPECT_EQ(down->permitted.bits, CapabilitySet::all().bits);
  const RefPtr<Credentials> up = set_resuid(*down, kKeep, 0, kKeep).take();
  EXPECT_EQ(up->effective.bits, CapabilitySet::all().bits);
  const RefPtr<Credentials> gone = set_resuid(*user(0, 0, 0), 1, 1, 1).take();
  EXPECT_EQ(gone->permitted.bits, 0u);
}

TEST(Identity, KeepCapsKeepsThePermittedSet) {
  RefPtr<Credentials> start = user(0, 0, 0);
  start->securebits = securebits::kKeepCaps;
  const RefPtr<Credentials> changed = set_uid(*start, 1000).take();
  EXPECT_EQ(changed->permitted.bits, CapabilitySet::all().bits);
  EXPECT_EQ(changed->effective.bits, 0u);
}

TEST(Identity, FsuidIsSilentlyKeptWhenNotPermitted) {
  EXPECT_EQ(set_fsuid(*user(5, 6, 7), 8).take()->fsuid, 6u);
  EXPECT_EQ(set_fsuid(*user(5, 6, 7), 7).take()->fsuid, 7u);
  const RefPtr<Credentials> root = set_fsuid(*user(0, 0, 0), 8).take();
  EXPECT_FALSE(root->has(Capability::DacOverride));
  EXPECT_TRUE(root->has(Capability::SysAdmin));
}

TEST(Identity, GroupsNeedACapabilityAndAreFound) {
  Vector<GroupId> groups;
  for (const GroupId group : {40u, 10u, 30u}) ASSERT_TRUE(groups.push_back(group).ok());
  EXPECT_EQ(set_groups(*user(1, 1, 1), Vector<GroupId>{}).code(), EPERM);
  const RefPtr<Credentials> changed = set_groups(*user(0, 0, 0), std::move(groups)).take();
  EXPECT_TRUE(changed->in_group(10));
  EXPECT_TRUE(changed->in_group(40));
  EXPECT_FALSE(changed->in_group(11));
}

TEST(Identity, CapsetCannotAddPermitted) {
  const RefPtr<Credentials> plain = user(1, 1, 1);
  EXPECT_EQ(set_capabilities(*plain, {}, {1}, {}).code(), EPERM);
  EXPECT_EQ(set_capabilities(*user(0, 0, 0), {3}, {1}, {}).code(), EPERM);
  EXPECT_EQ(set_capabilities(*user(0, 0, 0), {1}, {3}, {}).take()->permitted.bits, 3u);
}

TEST(Identity, ExecOfASetuidProgramGivesItsOwner) {
  const RefPtr<Credentials> changed = after_exec(*user(1000, 1000, 1000), 0, kKeep).take();
  EXPECT_EQ(changed->uid, 1000u);
  EXPECT_EQ(changed->euid, 0u);
  EXPECT_EQ(changed->suid, 0u);
  EXPECT_EQ(changed->effective.bits, CapabilitySet::all().bits);
  const RefPtr<Credentials> plain = after_exec(*user(1000, 1000, 1000), kKeep, kKeep).take();
  EXPECT_EQ(plain->permitted.bits, 0u);
}

TEST(Identity, SignalsReachTheSameUser) {
  EXPECT_TRUE(may_signal(*user(5, 5, 5), *user(5, 0, 0)));
  EXPECT_TRUE(may_signal(*user(5, 6, 7), *user(0, 0, 6)));
  EXPECT_FALSE(may_signal(*user(5, 5, 5), *user(0, 5, 0)));
  EXPECT_TRUE(may_signal(*user(0, 0, 0), *user(5, 5, 5)));
}

}  // namespace
}  // namespace umk::identity

#include "core/kernel/vfs/leases.h"

#include <atomic>
#include <thread>

#include "core/kernel/vfs/testing_vfs.h"

namespace umk::vfs {
namespace {

/// Counts what it is asked to send.
class Listener final : public AsyncSender {
 public:
  void send(const AsyncOwner&, int, int, AsyncEvent event) override {
    EXPECT_EQ(event, AsyncEvent::Message);
    told.fetch_add(1);
  }
  std::atomic<int> told{0};
};

class LeasesTest : public VfsTest {
 protected:
  LeasesTest() { EXPECT_EQ(put("/f", "text"), 0); }

  int lease(OpenFile& file, LeaseKind kind) {
    return set_lease(file, kind, LeaseHolder{listener_, AsyncOwner{.kind = AsyncOwner::Kind::Process, .id = 1}, 3}, vfs_->leases).code();
  }
  int open_at_once(uint32_t flags) { return open_code("/f", flags | open_flags::kNonBlock); }

  Listener listener_;
};

TEST_F(LeasesTest, TellTheHolderOnceAndTurnOthersAway) {
  const RefPtr<OpenFile> holder = open("/f").take();
  ASSERT_EQ(lease(*holder, LeaseKind::Read), 0);
  EXPECT_EQ(open_at_once(open_flags::kReadOnly), 0);
  EXPECT_EQ(open_at_once(open_flags::kWriteOnly), EAGAIN);
  EXPECT_EQ(open_at_once(open_flags::kReadWrite), EAGAIN);
  EXPECT_EQ(listener_.told, 1);
  EXPECT_EQ(lease_of(*holder), LeaseKind::None);
  EXPECT_EQ(lease(*holder, LeaseKind::None), 0);
  EXPECT_EQ(open_at_once(open_flags::kWriteOnly), 0);
}

TEST_F(LeasesTest, OpensThatWereTurnedAwayAreNotCounted) {
  const RefPtr<OpenFile> holder = open("/f").take();
  ASSERT_EQ(lease(*holder, LeaseKind::Write), 0);
  EXPECT_EQ(open_at_once(open_flags::kReadOnly), EAGAIN);
  EXPECT_EQ(open_at_once(open_flags::kWriteOnly), EAGAIN);
  EXPECT_EQ(lease(*holder, LeaseKind::None), 0);
  EXPECT_EQ(lease(*holder, LeaseKind::Write), 0);
}

TEST_F(LeasesTest, EndWithTheirFile) {
  RefPtr<OpenFile> holder = open("/f").take();
  ASSERT_EQ(lease(*holder, LeaseKind::Write), 0);
  holder = nullptr;
  EXPECT_EQ(open_at_once(open_flags::kReadWrite), 0);
  EXPECT_EQ(listener_.told, 0);
}

TEST_F(LeasesTest, AreTakenAwayInTime) {
  vfs_->leases.break_seconds = 1;
  const RefPtr<OpenFile> holder = open("/f").take();
  ASSERT_EQ(lease(*holder, LeaseKind::Write), 0);
  EXPECT_EQ(open_code("/f"), 0);
  EXPECT_EQ(lease_of(*holder), LeaseKind::Read);
}

TEST_F(LeasesTest, CanBeSwitchedOff) {
  vfs_->leases.enable = 0;
  const RefPtr<OpenFile> holder = open("/f").take();
  EXPECT_EQ(lease(*holder, LeaseKind::Read), EINVAL);
}

// Whoever comes first is seen by the other: a lease and a file open against it are never had at once.
TEST_F(LeasesTest, NeverMissAnOpen) {
  constexpr int kRounds = 300;
  std::atomic<int> writers{0};
  std::thread opener([&] {
    for (int i = 0; i < kRounds; ++i) {
      Result<RefPtr<OpenFile>> file = open("/f", open_flags::kWriteOnly | open_flags::kNonBlock);
      if (!file.ok()) continue;
      writers.fetch_add(1);
      std::this_thread::yield();
      writers.fetch_sub(1);
    }
  });
  for (int i = 0; i < kRounds; ++i) {
    const RefPtr<OpenFile> holder = open("/f").take();
    if (lease(*holder, LeaseKind::Read) != 0) continue;
    EXPECT_EQ(writers.load(), 0);
    std::this_thread::yield();
    EXPECT_EQ(writers.load(), 0);
    EXPECT_EQ(lease(*holder, LeaseKind::None), 0);
  }
  opener.join();
}

}  // namespace
}  // namespace umk::vfs

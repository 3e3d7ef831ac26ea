#include "core/kernel/vfs/fd_table.h"

#include "core/kernel/vfs/testing_vfs.h"

namespace umk::vfs {
namespace {

class FdTableTest : public VfsTest {
 protected:
  FdTableTest() { EXPECT_EQ(put("/f"), 0); }
  RefPtr<OpenFile> file() { return open("/f").take(); }
  RefPtr<FdTable> table_ = make_ref<FdTable>().take();
  int add(int from = 0, uint64_t limit = 1024) {
    Result<Fd> fd = table_->add(file(), false, limit, from);
    return fd.ok() ? fd.value().number : -fd.code();
  }
};

TEST_F(FdTableTest, GivesTheLowestFreeNumber) {
  EXPECT_EQ(add(), 0);
  EXPECT_EQ(add(), 1);
  EXPECT_EQ(add(), 2);
  EXPECT_TRUE(table_->close(Fd{1}, nullptr).ok());
  EXPECT_EQ(add(), 1);
  EXPECT_EQ(add(10), 10);
  EXPECT_EQ(add(), 3);
  EXPECT_EQ(add(10), 11);
  EXPECT_TRUE(table_->close(Fd{0}, nullptr).ok());
  EXPECT_EQ(add(2), 4);
  EXPECT_EQ(add(), 0);
}

TEST_F(FdTableTest, LimitsAreKept) {
  EXPECT_EQ(add(0, 1), 0);
  EXPECT_EQ(add(0, 1), -EMFILE);
  EXPECT_EQ(table_->put(Fd{5}, file(), false, 5, nullptr).code(), EBADF);
  EXPECT_EQ(table_->put(Fd{-1}, file(), false, 5, nullptr).code(), EBADF);
  EXPECT_EQ(table_->put(Fd{4}, file(), false, 5, nullptr).code(), 0);
  EXPECT_EQ(add(4, 5), -EMFILE);
}

TEST_F(FdTableTest, BadNumbersAreRefused) {
  EXPECT_EQ(table_->get(Fd{0}).code(), EBADF);
  EXPECT_EQ(table_->get(Fd{-1}).code(), EBADF);
  EXPECT_EQ(table_->close(Fd{100000}, nullptr).code(), EBADF);
  EXPECT_EQ(add(), 0);
  EXPECT_EQ(table_->writable(Fd{0}).code(), EBADF);
  EXPECT_EQ(table_->readable(Fd{0}).code(), 0);
  EXPECT_TRUE(table_->add(open("/f", open_flags::kPath).take(), false, 1024).ok());
  EXPECT_EQ(table_->get(Fd{1}).code(), 0);
  EXPECT_EQ(table_->usable(Fd{1}).code(), EBADF);
}

TEST_F(FdTableTest, CloseOnExecClosesWhatIsMarked) {
  for (int i = 0; i < 5; ++i) EXPECT_EQ(add(), i);
  EXPECT_TRUE(table_->set_close_on_exec(Fd{1}, true).ok());
  table_->close_range(3, UINT32_MAX, true, nullptr);
  EXPECT_TRUE(table_->get_close_on_exec(Fd{4}).value());
  table_->close_on_exec(nullptr);
  EXPECT_EQ(table_->next_open(0), 0);
  EXPECT_EQ(table_->next_open(1), 2);
  EXPECT_EQ(table_->next_open(3), -1);
}

TEST_F(FdTableTest, CloneSharesFilesNotNumbers) {
  EXPECT_EQ(add(), 0);
  RefPtr<FdTable> copy = table_->clone().take();
  EXPECT_EQ(copy->get(Fd{0}).value().get(), table_->get(Fd{0}).value().get());
  EXPECT_TRUE(table_->close(Fd{0}, nullptr).ok());
  EXPECT_TRUE(copy->get(Fd{0}).ok());
  EXPECT_EQ(copy->add(file(), false, 1024).value().number, 1);
  copy->close_range(0, 0, false, nullptr);
  EXPECT_EQ(copy->next_open(0), 1);
}

TEST_F(FdTableTest, ManyDescriptorsGrowTheTable) {
  RefPtr<OpenFile> one = file();
  for (int i = 0; i < 5000; ++i) ASSERT_EQ(table_->add(one, false, 65536).value().number, i);
  EXPECT_EQ(one->reference_count(), 5001u);
  table_->close_all(nullptr);
  EXPECT_EQ(one->reference_count(), 1u);
}

}  // namespace
}  // namespace umk::vfs

#include "core/base/result.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "core/abi/errno.h"
#include "core/base/make.h"

namespace umk {
namespace {

Result<int> half(int number) {
  if (number % 2 != 0) return error(EINVAL);
  return number / 2;
}

Result<int> quarter(int number) { return TRY(half(TRY(half(number)))); }

Result<void> require_even(int number) {
  TRY(half(number));
  return {};
}

/// Cannot be copied, so a copy made on the way would not compile; counts what dies.
struct Tracked {
  explicit Tracked(int* deaths) : deaths_(deaths) {}
  Tracked(Tracked&& other) noexcept : deaths_(std::exchange(other.deaths_, nullptr)) {}
  ~Tracked() {
    if (deaths_) ++*deaths_;
  }
  int* deaths_;
};

TEST(Result, HoldsValueOrFailure) {
  EXPECT_TRUE(half(4).ok());
  EXPECT_EQ(half(4).value(), 2);
  EXPECT_EQ(half(4).code(), 0);
  EXPECT_FALSE(half(3).ok());
  EXPECT_EQ(half(3).code(), EINVAL);
  EXPECT_EQ(half(3).value_or(7), 7);
}

TEST(Result, RemembersWhereTheFailureWasMade) {
  const int here = __LINE__ + 1;
  const Error failure = error(EIO);
  EXPECT_EQ(failure.line, here);
  EXPECT_NE(std::string(failure.file).find("result_test.cpp"), std::string::npos);
}

TEST(Result, TryPassesValuesAndFailuresUp) {
  EXPECT_EQ(quarter(8).value(), 2);
  EXPECT_EQ(quarter(6).code(), EINVAL);
  EXPECT_TRUE(require_even(2).ok());
  EXPECT_EQ(require_even(1).code(), EINVAL);
}

TEST(Result, TryOfReferenceNamesTheObjectItself) {
  struct Immovable {
    Immovable() = default;
    Immovable(const Immovable&) = delete;
    int number = 1;
  };
  Immovable object;
  auto set = [&]() -> Result<void> {
    auto get = [&]() -> Result<Immovable&> { return object; };
    Immovable& same = TRY(get());
    same.number = 2;
    TRY(get()).number += 3;
    return {};
  };
  ASSERT_TRUE(set().ok());
  EXPECT_EQ(object.number, 5);
}

TEST(Result, DestroysItsValueOnce) {
  int deaths = 0;
  {
    Result<Tracked> first = Tracked(&deaths);
    Result<Tracked> second = std::move(first);
    first = std::move(second);
    EXPECT_EQ(deaths, 0);
  }
  EXPECT_EQ(deaths, 1);
}

TEST(Result, AssigningAFailureDestroysTheValue) {
  int deaths = 0;
  Result<Tracked> result = Tracked(&deaths);
  result = error(EIO);
  EXPECT_EQ(deaths, 1);
  EXPECT_EQ(result.code(), EIO);
}

TEST(Result, CarriesMoveOnlyValues) {
  auto make = []() -> Result<std::unique_ptr<int>> { return make_unique<int>(5); };
  auto pass = [&]() -> Result<int> {
    const std::unique_ptr<int> number = TRY(make());
    return *number;
  };
  EXPECT_EQ(pass().value(), 5);
}

TEST(ResultDeathTest, ValueOfAFailurePanics) { EXPECT_DEATH((void)half(1).value(), "value\\(\\) of a failure"); }

TEST(ResultDeathTest, MustPanicsWithItsReason) { EXPECT_DEATH(MUST(half(1), "one is even"), "one is even"); }

}  // namespace
}  // namespace umk

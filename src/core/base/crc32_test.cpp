#include "core/base/crc32.h"

#include <gtest/gtest.h>

#include <string_view>

namespace umk {
namespace {

TEST(Crc32, IsThatOfIso3309) {
  const std::string_view text = "123456789";
  EXPECT_EQ(crc32(std::as_bytes(std::span(text.data(), text.size()))), 0xcbf43926u);
}

}  // namespace
}  // namespace umk

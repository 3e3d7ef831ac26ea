// Records of what happens on the terminals of a machine, as User Mode Linux wrote them and its tools read them.
//
// A log is a sequence of records, each a head of numbers in the host's byte order and `length` bytes of data:
//
//                 what  tty  length  direction  seconds  microseconds   data
//   32-bit head   i32   u32  i32     i32        u32      u32            open: the terminal that the opener had until now (u32), 0 for none
//   64-bit head   i32   u64  i32     i32        u64      u64            write: bytes; exec: the arguments, each with its NUL; close: nothing
//                            (at offsets 0, 8, 16, 20, 24, 32; 40 bytes)
//
// A write has a direction: Read for what a program read, so for what was typed, Write for what it wrote. The 32-bit head is the one that the tools of
// uml-utilities read, and the one that is written here; a 64-bit User Mode Linux wrote the other.
//
// `tty` is a number that tells terminals apart. Here it is the device number as stat(2) has it (encoded), so that it can be shown by name; elsewhere
// it is an address. What is read is untrusted.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace umk::tty_log_format {

enum class What : uint32_t { Open = 1, Close = 2, Write = 3, Exec = 4 };
enum class Direction : uint32_t { None = 0, Read = 1, Write = 2 };

/// The size of numbers in the head.
enum class Layout { Bits32, Bits64 };
constexpr size_t head_bytes(Layout layout) { return layout == Layout::Bits32 ? 24 : 40; }

/// No record of ours is longer, nor is a command line that a guest can make: what says that it is, is damaged.
inline constexpr uint32_t kMostData = 4u << 20;

struct Head {
  What what = What::Open;
  uint64_t tty = 0;
  uint32_t length = 0;
  Direction direction = Direction::None;
  uint64_t seconds = 0;
  uint32_t microseconds = 0;
  friend bool operator==(const Head&, const Head&) = default;
};

/// In the 32-bit layout.
std::array<std::byte, head_bytes(Layout::Bits32)> write_head(const Head& head);

struct Parsed {
  Head head;
  /// Why it is no record; null when it is one.
  const char* fault = nullptr;
};
/// `bytes` are those of one head in `layout`.
Parsed parse_head(std::span<const std::byte> bytes, Layout layout);

/// The layout in which the beginning of a log makes sense for longer. A log that is cut within its first record counts as far as it goes.
Layout guess_layout(std::span<const std::byte> beginning);

/// The terminal that an open record's data name; 0 for none.
uint64_t parent_of(std::span<const std::byte> data);

/// Takes the first argument off `data`; with or without its NUL at the end.
std::string_view next_argument(std::string_view& data);

}  // namespace umk::tty_log_format

#include "engine/patcher/eh_frame.h"

#include <algorithm>
#include <array>
#include <limits>

namespace umk::patcher {
namespace {

// How a pointer is written (DW_EH_PE_*): a format in the low four bits, what it is relative to in the next three.
constexpr uint8_t kFormatMask = 0x0f;
constexpr uint8_t kFormatPointer = 0x00;
constexpr uint8_t kFormatU16 = 0x02;
constexpr uint8_t kFormatU32 = 0x03;
constexpr uint8_t kFormatU64 = 0x04;
constexpr uint8_t kFormatS16 = 0x0a;
constexpr uint8_t kFormatS32 = 0x0b;
constexpr uint8_t kFormatS64 = 0x0c;
constexpr uint8_t kBaseMask = 0xf0;
constexpr uint8_t kBaseNone = 0x00;
constexpr uint8_t kBaseHere = 0x10;
constexpr uint8_t kBaseIndex = 0x30;
constexpr uint8_t kOmitted = 0xff;

/// The largest programs have some hundred thousand entries; Chromium half a million.
constexpr uint64_t kMaxRecords = uint64_t{1} << 20;
/// Of a record only the beginning matters: pointers and the augmentation come before the instructions.
constexpr size_t kRecordHead = 96;
/// The CIE pointer, which is 0 in a CIE; of this size also behind an extended length.
constexpr size_t kIdSize = 4;

size_t fixed_size(uint8_t encoding) {
  switch (encoding & kFormatMask) {
    case kFormatU16:
    case kFormatS16: return 2;
    case kFormatU32:
    case kFormatS32: return 4;
    case kFormatPointer:
    case kFormatU64:
    case kFormatS64: return 8;
    default: return 0;
  }
}

/// Reads values one after the other from bytes that stand at a known address. Past the end everything is zero and ok() is false.
class Cursor {
 public:
  Cursor(std::span<const uint8_t> bytes, uint64_t address) : bytes_(bytes), address_(address) {}

  bool ok() const { return ok_; }
  uint64_t address() const { return address_ + offset_; }
  void skip(uint64_t count) {
    if (count > bytes_.size() - offset_) return fail();
    offset_ += count;
  }

  uint64_t unsigned_value(size_t size) {
    if (size > bytes_.size() - offset_) {
      fail();
      return 0;
    }
    uint64_t value = 0;
    for (size_t i = 0; i < size; ++i) value |= static_cast<uint64_t>(bytes_[offset_ + i]) << (8 * i);
    offset_ += size;
    return value;
  }
  uint8_t byte() { return static_cast<uint8_t>(unsigned_value(1)); }

  uint64_t uleb() {
    uint64_t value = 0;
    for (unsigned shift = 0; ok_; shift += 7) {
      const uint8_t next = byte();
      if (shift < 64) value |= static_cast<uint64_t>(next & 0x7f) << shift;
      if (!(next & 0x80)) break;
    }
    return value;
  }
  // The value of a signed one is not needed anywhere.
  void skip_sleb() { uleb(); }

  /// The value as written, signed where the format says so; not made absolute.
  uint64_t formatted(uint8_t encoding) {
    const size_t size = fixed_size(encoding);
    if (size == 0) {
      fail();
      return 0;
    }
    const uint64_t value = unsigned_value(size);
    switch (encoding & kFormatMask) {
      case kFormatS16: return static_cast<uint64_t>(static_cast<int64_t>(static_cast<int16_t>(value)));
      case kFormatS32: return static_cast<uint64_t>(static_cast<int64_t>(static_cast<int32_t>(value)));
      default: return value;
    }
  }

  /// An address. `index` is where .eh_frame_hdr begins.
  uint64_t pointer(uint8_t encoding, uint64_t index) {
    const uint64_t here = address();
    const uint64_t value = formatted(encoding);
    switch (encoding & kBaseMask) {
      case kBaseNone: return value;
      case kBaseHere: return here + value;
      case kBaseIndex: return index + value;
      default: fail(); return 0;
    }
  }

 private:
  void fail() {
    ok_ = false;
    offset_ = bytes_.size();
  }

  std::span<const uint8_t> bytes_;
  uint64_t address_;
  size_t offset_ = 0;
  bool ok_ = true;
};

/// The head of a CIE or FDE in a buffer of its own.
struct Record {
  std::array<uint8_t, kRecordHead> buffer;
  size_t held = 0;
  uint64_t body = 0;        // address of the first byte after the length
  uint64_t next = 0;        // address of the record that follows
  uint64_t id_address = 0;  // address of the CIE pointer
  uint64_t id = 0;
  bool is_terminator = false;

  Cursor after_id() const { return Cursor(std::span(buffer).first(held).subspan(kIdSize), id_address + kIdSize); }
};

bool read_record(const AddressReader& read, uint64_t address, Record& record) {
  std::array<uint8_t, 12> head{};
  if (!read(address, std::span(head).first(4))) return false;
  Cursor short_length{std::span(head).first(4), address};
  uint64_t length = short_length.unsigned_value(4);
  uint64_t body = address + 4;
  record.is_terminator = length == 0;
  if (record.is_terminator) {
    record.next = body;
    return true;
  }
  if (length == 0xffffffff) {
    if (!read(address, head)) return false;
    Cursor long_length{std::span(head).subspan(4), address + 4};
    length = long_length.unsigned_value(8);
    body = address + 12;
  }
  if (length < kIdSize || body < address || body + length < body) return false;

  record.body = body;
  record.next = body + length;
  record.held = std::min<uint64_t>(length, kRecordHead);
  if (!read(body, std::span(record.buffer).first(record.held))) return false;
  Cursor cursor{std::span(record.buffer).first(record.held), body};
  record.id_address = body;
  record.id = cursor.unsigned_value(kIdSize);
  return true;
}

/// What an FDE needs to know of its CIE.
struct CommonEntry {
  uint64_t address = 0;
  uint8_t pointer_encoding = kFormatPointer;
  bool is_signal_frame = false;
};

std::optional<CommonEntry> read_common_entry(const AddressReader& read, uint64_t address) {
  Record record;
  if (!read_record(read, address, record) || record.is_terminator || record.id != 0) return std::nullopt;
  Cursor cursor = record.after_id();
  const uint8_t version = cursor.byte();
  if (version != 1 && version != 3 && version != 4) return std::nullopt;

  std::array<char, 8> augmentation{};
  size_t length = 0;
  while (const uint8_t letter = cursor.byte()) {
    if (length == augmentation.size()) return std::nullopt;
    augmentation[length++] = static_cast<char>(letter);
  }
  if (version == 4) cursor.skip(2);  // address and segment size
  cursor.uleb();                     // code alignment
  cursor.skip_sleb();                // data alignment
  if (version == 1) {
    cursor.byte();  // return address register
  } else {
    cursor.uleb();
  }

  CommonEntry entry{.address = address};
  if (length == 0) return cursor.ok() ? std::optional(entry) : std::nullopt;
  if (augmentation[0] != 'z') return std::nullopt;
  cursor.uleb();  // size of what follows
  for (size_t i = 1; i < length; ++i) {
    switch (augmentation[i]) {
      case 'R': entry.pointer_encoding = cursor.byte(); break;
      case 'L': cursor.byte(); break;
      case 'P': {
        const uint8_t encoding = cursor.byte();
        if (encoding != kOmitted) cursor.formatted(encoding);
        break;
      }
      case 'S': entry.is_signal_frame = true; break;
      case 'B': break;
      default: return std::nullopt;
    }
  }
  return cursor.ok() ? std::optional(entry) : std::nullopt;
}

/// The function of the FDE in `record`. `common` is a memory of the last CIE, as neighbours share one.
std::optional<FunctionRange> read_entry(const AddressReader& read, const Record& record, std::optional<CommonEntry>& common) {
  if (record.is_terminator || record.id == 0) return std::nullopt;
  const uint64_t common_address = record.id_address - record.id;
  if (!common || common->address != common_address) {
    common = read_common_entry(read, common_address);
    if (!common) return std::nullopt;
  }
  Cursor cursor = record.after_id();
  const uint64_t begin = cursor.pointer(common->pointer_encoding, 0);
  const uint64_t size = cursor.formatted(common->pointer_encoding);
  if (!cursor.ok() || size == 0 || begin + size < begin) return std::nullopt;
  return FunctionRange{.code = {begin, begin + size}, .padding_begin = begin, .is_signal_frame = common->is_signal_frame};
}

std::optional<FunctionRange> read_entry_at(const AddressReader& read, uint64_t address) {
  Record record;
  std::optional<CommonEntry> common;
  if (!read_record(read, address, record)) return std::nullopt;
  return read_entry(read, record, common);
}

/// .eh_frame_hdr, after its header was read.
struct Index {
  uint64_t address = 0;
  uint64_t entries = 0;  // where .eh_frame begins
  uint8_t encoding = kOmitted;
  uint64_t table = 0;
  uint64_t count = 0;  // 0 when there is no table that we can search

  size_t row_size() const { return 2 * fixed_size(encoding); }
};

std::optional<Index> read_index(const AddressReader& read, AddressRange range) {
  std::array<uint8_t, 4 + 8 + 8> bytes{};
  const size_t held = std::min<uint64_t>(range.size(), bytes.size());
  if (held < 4 || !read(range.begin, std::span(bytes).first(held))) return std::nullopt;
  Cursor cursor{std::span(bytes).first(held), range.begin};
  if (cursor.byte() != 1) return std::nullopt;
  const uint8_t entries_encoding = cursor.byte();
  const uint8_t count_encoding = cursor.byte();
  const uint8_t table_encoding = cursor.byte();

  Index index{.address = range.begin};
  if (entries_encoding == kOmitted) return std::nullopt;
  index.entries = cursor.pointer(entries_encoding, range.begin);
  if (!cursor.ok()) return std::nullopt;
  if (count_encoding == kOmitted || table_encoding == kOmitted) return index;

  index.encoding = table_encoding;
  index.count = cursor.pointer(count_encoding, range.begin);
  index.table = cursor.address();
  const size_t row = index.row_size();
  if (!cursor.ok() || row == 0 || index.count > (range.end - index.table) / row) index.count = 0;
  return index;
}

std::optional<std::array<uint64_t, 2>> read_row(const AddressReader& read, const Index& index, uint64_t row) {
  std::array<uint8_t, 16> bytes{};
  const uint64_t address = index.table + row * index.row_size();
  if (!read(address, std::span(bytes).first(index.row_size()))) return std::nullopt;
  Cursor cursor{std::span(bytes).first(index.row_size()), address};
  const uint64_t function = cursor.pointer(index.encoding, index.address);
  const uint64_t entry = cursor.pointer(index.encoding, index.address);
  if (!cursor.ok()) return std::nullopt;
  return std::array{function, entry};
}

std::optional<FunctionRange> read_entry_of_row(const AddressReader& read, const Index& index, uint64_t row) {
  const auto found = read_row(read, index, row);
  return found ? read_entry_at(read, (*found)[1]) : std::nullopt;
}

std::optional<FunctionRange> search(const AddressReader& read, const Index& index, uint64_t address) {
  // Rows before `below` begin at `address` or before it, rows from `above` on after it.
  uint64_t below = 0;
  uint64_t above = index.count;
  while (below < above) {
    const uint64_t middle = below + (above - below) / 2;
    const auto row = read_row(read, index, middle);
    if (!row) return std::nullopt;
    if ((*row)[0] <= address) {
      below = middle + 1;
    } else {
      above = middle;
    }
  }
  if (below == 0) return std::nullopt;
  std::optional<FunctionRange> function = read_entry_of_row(read, index, below - 1);
  if (!function || !function->code.contains(address)) return std::nullopt;
  if (below >= 2) {
    const auto previous = read_entry_of_row(read, index, below - 2);
    if (previous && previous->code.end <= function->code.begin) function->padding_begin = previous->code.end;
  }
  return function;
}

void scan(AddressRange entries, const AddressReader& read, const std::function<bool(const FunctionRange&)>& visit) {
  std::optional<CommonEntry> common;
  uint64_t address = entries.begin;
  for (uint64_t count = 0; count < kMaxRecords && entries.contains(address); ++count) {
    Record record;
    if (!read_record(read, address, record) || record.is_terminator) return;
    if (const auto function = read_entry(read, record, common)) {
      if (!visit(*function)) return;
    }
    address = record.next;
  }
}

AddressRange all_entries(const UnwindTables& tables, const std::optional<Index>& index) {
  if (tables.entries.size() != 0) return tables.entries;
  if (index) return {index->entries, std::numeric_limits<uint64_t>::max()};
  return {};
}

std::optional<Index> index_of(const UnwindTables& tables, const AddressReader& read) {
  if (tables.index.size() == 0) return std::nullopt;
  return read_index(read, tables.index);
}

}  // namespace

std::optional<FunctionRange> find_function(const UnwindTables& tables, const AddressReader& read, uint64_t address) {
  const std::optional<Index> index = index_of(tables, read);
  if (index && index->count != 0) return search(read, *index, address);

  std::optional<FunctionRange> found;
  uint64_t previous_end = 0;
  scan(all_entries(tables, index), read, [&](const FunctionRange& function) {
    if (function.code.contains(address)) {
      if (!found) found = function;
    } else if (function.code.end <= address) {
      previous_end = std::max(previous_end, function.code.end);
    }
    return true;
  });
  if (found && previous_end != 0 && previous_end <= found->code.begin) found->padding_begin = previous_end;
  return found;
}

void for_each_function(const UnwindTables& tables, const AddressReader& read, const std::function<bool(const FunctionRange&)>& visit) {
  scan(all_entries(tables, index_of(tables, read)), read, visit);
}

}  // namespace umk::patcher

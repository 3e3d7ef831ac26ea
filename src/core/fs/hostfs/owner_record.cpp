#include "core/fs/hostfs/owner_record.h"

#include "core/host/file_calls.h"

namespace umk::hostfs {

namespace {

constexpr const char* kOwner = "user.umk.owner";
constexpr const char* kMode = "user.umk.mode";
constexpr const char* kDevice = "user.umk.device";
constexpr const char* kNodes = "user.umk.nodes";

struct NumberPair {
  uint32_t first, second;
};

std::optional<NumberPair> parse_pair(std::string_view text) {
  const std::string_view first = split_first(text, ':');
  const std::optional<uint64_t> a = parse_unsigned(first), b = parse_unsigned(text);
  if (!a || !b || *a >= UINT32_MAX || *b >= UINT32_MAX) return std::nullopt;
  return NumberPair{static_cast<uint32_t>(*a), static_cast<uint32_t>(*b)};
}

Result<void> write_one(const char* path, const char* name, bool had, bool wants, std::string_view value) {
  if (wants) return host::set_attribute(path, name, std::span(value.data(), value.size()), 0);
  if (!had) return {};
  Result<void> removed = host::remove_attribute(path, name);
  return removed.code() == ENODATA ? Result<void>{} : std::move(removed);
}

}  // namespace

bool parse_owner(std::string_view text, OwnerRecord& record) {
  const std::optional<NumberPair> pair = parse_pair(text);
  if (!pair) return false;
  record.uid = pair->first;
  record.gid = pair->second;
  return true;
}

bool parse_permissions(std::string_view text, OwnerRecord& record) {
  const std::optional<uint64_t> bits = parse_unsigned(text, 8);
  if (!bits || *bits > vfs::kPermissionMask) return false;
  record.permissions = static_cast<uint32_t>(*bits);
  return true;
}

bool parse_device(std::string_view text, OwnerRecord& record) {
  if (text.size() < 5 || text[1] != ' ') return false;
  const std::optional<NumberPair> pair = parse_pair(text.substr(2));
  if (!pair) return false;
  switch (text[0]) {
    case 'c': record.type = vfs::FileType::CharacterDevice; break;
    case 'b': record.type = vfs::FileType::BlockDevice; break;
    case 'p': record.type = vfs::FileType::Fifo; break;
    case 's': record.type = vfs::FileType::Socket; break;
    default: return false;
  }
  record.device = {pair->first, pair->second};
  return true;
}

std::string_view owner_text(const OwnerRecord& record, std::span<char> buffer) {
  BufferSink sink(buffer);
  if (record.uid) format(sink, "{}:{}", *record.uid, *record.gid);
  return sink.view();
}

std::string_view permissions_text(const OwnerRecord& record, std::span<char> buffer) {
  BufferSink sink(buffer);
  if (record.permissions) format(sink, "{:o}", *record.permissions);
  return sink.view();
}

std::string_view device_text(const OwnerRecord& record, std::span<char> buffer) {
  BufferSink sink(buffer);
  if (!record.type) return {};
  char letter = 'c';
  if (*record.type == vfs::FileType::BlockDevice) letter = 'b';
  if (*record.type == vfs::FileType::Fifo) letter = 'p';
  if (*record.type == vfs::FileType::Socket) letter = 's';
  format(sink, "{} {}:{}", letter, record.device.major, record.device.minor);
  return sink.view();
}

Result<OwnerRecord> read_record(const HostDescriptor& file) {
  OwnerRecord record;
  const DescriptorPath path(file);
  char names[1024];
  Result<size_t> listed = host::list_attributes(path.c_str(), names);
  // Most files have no attribute at all: one call tells. A list that does not fit may hold ours, so they are asked for by name.
  const bool ask_all = listed.code() == ERANGE;
  if (!listed.ok() && !ask_all) {
    if (listed.code() == EOPNOTSUPP || listed.code() == EACCES || listed.code() == EPERM) return record;
    return listed.failure();
  }
  const std::string_view list(names, ask_all ? 0 : listed.value());
  if (!ask_all && list.find(kHiddenAttributePrefix) == std::string_view::npos) return record;

  const auto value_of = [&](const char* name, std::span<char> buffer) -> std::string_view {
    Result<size_t> size = host::get_attribute(path.c_str(), name, buffer);
    return size.ok() ? std::string_view(buffer.data(), size.value()) : std::string_view();
  };
  char buffer[64];
  parse_owner(value_of(kOwner, buffer), record);
  parse_permissions(value_of(kMode, buffer), record);
  parse_device(value_of(kDevice, buffer), record);
  record.has_nodes = !value_of(kNodes, buffer).empty();
  return record;
}

Result<void> write_record(const HostDescriptor& file, const OwnerRecord& old, const OwnerRecord& wanted) {
  const DescriptorPath path(file);
  char buffer[64];
  if (old.uid != wanted.uid || old.gid != wanted.gid)
    TRY(write_one(path.c_str(), kOwner, old.uid.has_value(), wanted.uid.has_value(), owner_text(wanted, buffer)));
  if (old.permissions != wanted.permissions)
    TRY(write_one(path.c_str(), kMode, old.permissions.has_value(), wanted.permissions.has_value(), permissions_text(wanted, buffer)));
  if (old.type != wanted.type || !(old.device == wanted.device))
    TRY(write_one(path.c_str(), kDevice, old.type.has_value(), wanted.type.has_value(), device_text(wanted, buffer)));
  return {};
}

Result<void> mark_nodes(const HostDescriptor& directory) { return host::set_attribute(DescriptorPath(directory).c_str(), kNodes, std::span("1", 1), 0); }

}  // namespace umk::hostfs

#include "core/lib/cpio/hard_links.h"

namespace umk::cpio {

namespace {

constexpr uint32_t kTypeMask = 0170000;

}  // namespace

bool HardLinks::Seen::is_same_file(const Entry& entry) const {
  return archive == entry.archive && inode == entry.inode && device_major == entry.device_major && device_minor == entry.device_minor &&
         type == (entry.mode & kTypeMask);
}

size_t HardLinks::hash(const Entry& entry) {
  uint64_t mixed = entry.inode;
  for (const uint32_t word : {entry.device_minor, entry.device_major, entry.archive, entry.mode & kTypeMask})
    mixed = (mixed ^ (mixed >> 29) ^ word) * 0x9e3779b97f4a7c15u;
  return mixed >> 24;
}

HardLinks::Seen& HardLinks::slot(const Entry& entry) {
  const size_t mask = slots_.size() - 1;
  for (size_t at = hash(entry) & mask;; at = (at + 1) & mask)
    if (slots_[at].name.empty() || slots_[at].is_same_file(entry)) return slots_[at];
}

Result<void> HardLinks::grow() {
  Vector<Seen> old = std::move(slots_);
  Vector<Seen> larger;
  if (Result<void> done = larger.resize(old.empty() ? 16 : old.size() * 2); !done) {
    slots_ = std::move(old);
    return done.failure();
  }
  slots_ = std::move(larger);
  for (const Seen& seen : old) {
    if (seen.name.empty()) continue;
    Entry key{};
    key.archive = seen.archive;
    key.inode = seen.inode;
    key.device_major = seen.device_major;
    key.device_minor = seen.device_minor;
    key.mode = seen.type;
    slot(key) = seen;
  }
  return {};
}

Result<std::string_view> HardLinks::first_name(const Entry& entry) {
  // The root has no second name, and its own is empty.
  if (!entry.may_have_links() || entry.name.empty()) return std::string_view{};
  if (used_ * 2 >= slots_.size()) TRY(grow());
  Seen& seen = slot(entry);
  if (!seen.name.empty()) return seen.name;
  seen = {entry.archive, entry.inode, entry.device_major, entry.device_minor, entry.mode & kTypeMask, entry.name};
  ++used_;
  return std::string_view{};
}

}  // namespace umk::cpio

#include "core/fs/hostfs/owner_file.h"

#include "core/base/log.h"

#include "core/host/calls.h"
#include "core/host/file_calls.h"
#include "core/kernel/time/log_limit.h"

namespace umk::hostfs {

namespace {
// Whoever mounts, or uses what is damaged, in a loop must not flood the log.
constinit LogLimit log_limit;
}  // namespace

namespace {

constexpr uint64_t kMaximumBytes = 64 << 20;
constexpr const char* kFile = ".umk-owners";
constexpr const char* kNewFile = ".umk-owners.new";
constexpr int kOpenSafely = host::file_flags::kNoFollow | host::file_flags::kCloseOnExec | host::file_flags::kNonBlock | host::file_flags::kNoTty;
constexpr int kAppend = 02000;
constexpr int kTruncate = 01000;

class OpenedFile {
 public:
  explicit OpenedFile(int fd) : fd_(fd) {}
  ~OpenedFile() { host::close(fd_); }
  OpenedFile(const OpenedFile&) = delete;
  OpenedFile& operator=(const OpenedFile&) = delete;
  int fd() const { return fd_; }

 private:
  int fd_;
};

bool can_be_written(std::string_view path) { return path.find_first_of("\t\n") == std::string_view::npos; }

void put_line(TextSink& sink, std::string_view path, const OwnerRecord& record) {
  char owner[32], permissions[32], device[32];
  const std::string_view owner_part = owner_text(record, owner), mode_part = permissions_text(record, permissions), device_part = device_text(record, device);
  format(sink, "{}\t{}\t{}\t{}\n", path, owner_part.empty() ? "0:0" : owner_part, mode_part.empty() ? "777" : mode_part, device_part.empty() ? "-" : device_part);
}

Result<void> write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const size_t written = TRY(host::write(fd, std::as_bytes(std::span(text.data(), text.size()))));
    text.remove_prefix(written);
  }
  return {};
}

}  // namespace

OwnerFile::~OwnerFile() {
  MutexLock lock(mutex_);
  while (!entries_.empty()) drop_locked(*entries_.begin());
}

void OwnerFile::drop_locked(Entry& entry) {
  entry.unlink();
  delete &entry;
  count_.fetch_sub(1, std::memory_order_relaxed);
}

Result<void> OwnerFile::store_locked(std::string_view path, const OwnerRecord& record) {
  const auto found = entries_.find(path);
  if (found != entries_.end()) {
    found->record = record;
    return {};
  }
  std::unique_ptr<Entry> entry = TRY(make_unique<Entry>());
  TRY(entry->path.append(path));
  entry->record = record;
  entries_.insert(*entry.release());
  count_.fetch_add(1, std::memory_order_relaxed);
  return {};
}

Result<void> OwnerFile::take_line_locked(std::string_view line) {
  const std::string_view path = split_first(line, '\t');
  const std::string_view owner = split_first(line, '\t');
  const std::string_view permissions = split_first(line, '\t');
  if (path.empty()) return {};
  if (owner == "-") {
    if (const auto found = entries_.find(path); found != entries_.end()) drop_locked(*found);
    return {};
  }
  OwnerRecord record;
  // A line that somebody damaged is no reason to refuse the tree.
  if (!parse_owner(owner, record)) return {};
  parse_permissions(permissions, record);
  parse_device(line, record);
  return store_locked(path, record);
}

Result<void> OwnerFile::load(RefPtr<HostDescriptor> top, bool read_only) {
  MutexLock lock(mutex_);
  top_ = std::move(top);
  Result<int> opened = host::openat(top_->fd(), kFile, host::file_flags::kReadOnly | kOpenSafely, 0);
  if (opened.code() == ENOENT) return {};
  if (opened.code() == EACCES) {
    // Somebody else's notes, in a directory that is his: it is shown as the host has it.
    log_limited(log_limit, "hostfs", LogLevel::Warning, "hostfs: {} cannot be read: owners and modes that it notes are not shown", kFile);
    return {};
  }
  const OpenedFile file(TRY(std::move(opened)));
  const host::FileStatus status = TRY(host::status_of(file.fd()));
  if ((status.mode & vfs::kFileTypeMask) != static_cast<uint32_t>(vfs::FileType::Regular)) return {};
  if (status.size > kMaximumBytes) return error(EFBIG);

  constexpr size_t kChunk = 64 << 10;
  Vector<char> buffer;
  TRY(buffer.resize(kChunk));
  size_t used = 0, lines = 0;
  for (uint64_t offset = 0;;) {
    const size_t got = TRY(host::pread(file.fd(), std::as_writable_bytes(std::span(buffer.data() + used, kChunk - used)), offset));
    offset += got;
    used += got;
    std::string_view rest(buffer.data(), used);
    for (size_t end = rest.find('\n'); end != std::string_view::npos; end = rest.find('\n')) {
      TRY(take_line_locked(rest.substr(0, end)));
      rest.remove_prefix(end + 1);
      ++lines;
    }
    // The last line may lack its newline when somebody was killed while writing it: it is not whole and does not count.
    if (got == 0) break;
    if (rest.size() == kChunk) return error(EINVAL);
    memmove(buffer.data(), rest.data(), rest.size());
    used = rest.size();
  }
  // Shortening it is good housekeeping, not more: the directory may be closed to us.
  if (!read_only && lines > 64 && lines > 2 * count_.load()) (void)rewrite_locked();
  return {};
}

Result<void> OwnerFile::rewrite_locked() {
  const OpenedFile file(TRY(host::openat(top_->fd(), kNewFile, host::file_flags::kWriteOnly | host::file_flags::kCreate | kTruncate | kOpenSafely, 0600)));
  StringSink sink;
  for (const Entry& entry : entries_) put_line(sink, entry.path.view(), entry.record);
  const String text = TRY(sink.take());
  TRY(write_all(file.fd(), text.view()));
  TRY(host::fsync(file.fd(), true));
  return host::rename(top_->fd(), kNewFile, top_->fd(), kFile, 0);
}

Result<void> OwnerFile::append_locked(std::string_view lines) {
  if (!is_kept_) return {};
  Result<int> opened = host::openat(top_->fd(), kFile, host::file_flags::kWriteOnly | host::file_flags::kCreate | kAppend | kOpenSafely, 0600);
  if (opened.code() == EACCES || opened.code() == EPERM || opened.code() == EROFS) {
    is_kept_ = false;
    log(LogLevel::Warning, "hostfs: {} cannot be written (error {}): owners of symlinks and kinds of special files that it would note are forgotten at the end",
        kFile, opened.code());
    return {};
  }
  const OpenedFile file(TRY(std::move(opened)));
  return write_all(file.fd(), lines);
}

std::optional<OwnerRecord> OwnerFile::find(std::string_view path) {
  MutexLock lock(mutex_);
  const auto found = entries_.find(path);
  if (found == entries_.end()) return std::nullopt;
  return found->record;
}

Result<void> OwnerFile::set(std::string_view path, const OwnerRecord& record) {
  if (!can_be_written(path)) return error(EINVAL);
  StringSink sink;
  put_line(sink, path, record);
  const String line = TRY(sink.take());
  MutexLock lock(mutex_);
  TRY(append_locked(line.view()));
  return store_locked(path, record);
}

Result<void> OwnerFile::forget(std::string_view path) {
  if (is_empty()) return {};
  MutexLock lock(mutex_);
  const auto found = entries_.find(path);
  if (found == entries_.end()) return {};
  const String line = TRY(format_string("{}\t-\n", path));
  TRY(append_locked(line.view()));
  drop_locked(*found);
  return {};
}

Result<void> OwnerFile::move(std::string_view from, std::string_view to) {
  if (is_empty()) return {};
  MutexLock lock(mutex_);
  StringSink sink;
  const auto moves = [&](std::string_view path) { return path == from || (path.size() > from.size() && path.starts_with(from) && path[from.size()] == '/'); };
  // What was at the new place is gone.
  if (const auto found = entries_.find(to); found != entries_.end()) {
    format(sink, "{}\t-\n", to);
    drop_locked(*found);
  }
  Entries moved;
  for (auto it = entries_.lower_bound(from); it != entries_.end() && it->path.view().starts_with(from);) {
    Entry& entry = *it++;
    if (!moves(entry.path.view())) continue;
    entry.unlink();
    moved.insert(entry);
  }
  bool complete = true;
  while (!moved.empty()) {
    Entry& entry = *moved.begin();
    entry.unlink();
    Result<String> path = format_string("{}{}", to, entry.path.view().substr(from.size()));
    format(sink, "{}\t-\n", entry.path.view());
    complete &= path.ok();
    if (!path.ok()) {
      delete &entry;
      count_.fetch_sub(1, std::memory_order_relaxed);
      continue;
    }
    entry.path = path.take();
    // A name that would break a line is known until the next mount only.
    if (can_be_written(entry.path.view())) put_line(sink, entry.path.view(), entry.record);
    entries_.insert(entry);
  }
  const String lines = TRY(sink.take());
  if (!lines.empty()) TRY(append_locked(lines.view()));
  return complete ? Result<void>{} : error(ENOMEM);
}

}  // namespace umk::hostfs

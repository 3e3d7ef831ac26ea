#include "core/fs/proc/text_file.h"

#include <algorithm>

namespace umk::proc {

namespace {
constexpr size_t kLongestWrite = 4096;
}

Result<RefPtr<vfs::OpenFile>> TextFile::open(RefPtr<FileNode> node, const vfs::Caller& caller, uint32_t flags) {
  // A reference to the caller's credentials where they are shared ones; else a copy.
  const Task* current = Task::current_or_null();
  RefPtr<const Credentials> reader;
  if (current && current->credentials_.get() == &caller.credentials) reader = current->credentials_;
  else reader = RefPtr<const Credentials>(TRY(caller.credentials.clone()));
  return RefPtr<vfs::OpenFile>(TRY(make_ref<TextFile>(std::move(node), std::move(reader), flags)));
}

Result<RefPtr<TextFile::Text>> TextFile::make_text() {
  StringSink sink;
  if (node().entry().show) TRY(node().entry().show(node().context(*reader_), sink));
  return make_ref<Text>(TRY(sink.take()));
}

Result<size_t> TextFile::read_at(uint64_t offset, UserOutBuffer& buffer) {
  RefPtr<Text> text;
  if (offset != 0) {
    MutexLock lock(mutex_);
    text = text_;
  }
  if (!text) {
    text = TRY(make_text());
    RefPtr<Text> old = text;
    MutexLock lock(mutex_);
    std::swap(text_, old);
  }
  const std::string_view whole = text->string.view();
  if (offset >= whole.size()) return size_t{0};
  return buffer.put(std::as_bytes(std::span(whole.substr(offset))));
}

Result<size_t> TextFile::write_at(uint64_t& offset, UserInBuffer& buffer, bool) {
  const auto store = node().entry().store;
  if (!store) return error(EIO);
  char bytes[kLongestWrite];
  const size_t whole = buffer.remaining();
  const size_t taken = TRY(buffer.get(std::as_writable_bytes(std::span(bytes, std::min(whole, sizeof bytes)))));
  TRY(store(node().context(*reader_), std::string_view(bytes, taken)));
  offset += taken;
  return taken;
}

Result<uint64_t> TextFile::seek(int64_t offset, int whence) {
  if (whence != 0 && whence != 1) return error(EINVAL);
  return OpenFile::seek(offset, whence);
}

}  // namespace umk::proc

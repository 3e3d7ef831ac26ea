#include "core/kernel/device/memory_devices.h"

#include "core/host/calls.h"

namespace umk::device {

using vfs::OpenFile;

namespace {

enum Minor : uint32_t { kNull = 3, kZero = 5, kFull = 7, kRandom = 8, kUrandom = 9 };

class MemoryDeviceFile final : public OpenFile {
 public:
  MemoryDeviceFile(RefPtr<vfs::Inode> inode, uint32_t flags, uint32_t minor, mm::PageSource& zero_source)
      : OpenFile(std::move(inode), flags), minor_(minor), zero_source_(zero_source) {}

  bool is_seekable() const override { return true; }

  Result<size_t> read_at(uint64_t, UserOutBuffer& buffer) override {
    switch (minor_) {
      case kNull: return size_t{0};
      case kZero:
      case kFull: return buffer.put_zeroes(buffer.remaining());
      default: return read_random(buffer);
    }
  }

  Result<size_t> write_at(uint64_t&, UserInBuffer& buffer, bool) override {
    // What is written to the random devices would stir a pool; the host's needs no help of ours.
    if (minor_ == kFull) return error(ENOSPC);
    return buffer.remaining();
  }

  Result<uint64_t> seek(int64_t, int) override {
    set_position(0);
    return uint64_t{0};
  }

  Result<int64_t> ioctl(Task& task, uint32_t request, uint64_t argument) override {
    constexpr uint32_t kGetEntropyCount = 0x80045200;
    if ((minor_ == kRandom || minor_ == kUrandom) && request == kGetEntropyCount) {
      TRY(UserPtr<int32_t>(argument).write(256));
      return int64_t{0};
    }
    return OpenFile::ioctl(task, request, argument);
  }

  Result<void> sync(bool) override { return error(EINVAL); }
  mm::PageSource* page_source() override { return minor_ == kZero ? &zero_source_ : nullptr; }

 private:
  static Result<size_t> read_random(UserOutBuffer& buffer) {
    std::array<std::byte, 1024> bytes;
    size_t total = 0;
    while (buffer.remaining() != 0) {
      const std::span<std::byte> part = std::span(bytes).first(std::min(bytes.size(), buffer.remaining()));
      host::get_random(part);
      const Result<size_t> put = buffer.put(part);
      if (!put.ok()) return total != 0 ? Result<size_t>(total) : put.failure();
      total += put.value();
      if (put.value() < part.size()) break;
    }
    return total;
  }

  uint32_t minor_;
  mm::PageSource& zero_source_;
};

}  // namespace

Result<size_t> MemoryDevices::ZeroSource::read_for_text(uint64_t, std::span<std::byte> into) {
  for (std::byte& byte : into) byte = std::byte{0};
  return into.size();
}

Result<void> MemoryDevices::attach(DeviceRegistry& registry) {
  // The log is a device of this major and of another driver.
  constexpr uint32_t kLog = 11;
  TRY(registry.add_driver(vfs::FileType::CharacterDevice, kMajor, 0, kLog, *this));
  TRY(registry.add_driver(vfs::FileType::CharacterDevice, kMajor, kLog + 1, 256 - kLog - 1, *this));
  struct Known {
    std::string_view name;
    uint32_t minor;
  };
  for (const Known& known : {Known{"null", kNull}, Known{"zero", kZero}, Known{"full", kFull}, Known{"random", kRandom}, Known{"urandom", kUrandom}})
    TRY(registry.announce({known.name, vfs::FileType::CharacterDevice, {kMajor, known.minor}, 0666}));
  return {};
}

Result<RefPtr<OpenFile>> MemoryDevices::open(const vfs::Caller&, RefPtr<vfs::Inode> inode, vfs::DeviceNumber number, const vfs::Path&, uint32_t flags) {
  switch (number.minor) {
    case kNull:
    case kZero:
    case kFull:
    case kRandom:
    case kUrandom: break;
    default: return error(ENXIO);
  }
  RefPtr<MemoryDeviceFile> file = TRY(make_ref<MemoryDeviceFile>(std::move(inode), flags, number.minor, zero_source_));
  return RefPtr<OpenFile>(std::move(file));
}

}  // namespace umk::device

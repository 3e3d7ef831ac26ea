#include "core/init/root_device.h"

#include "core/base/log.h"
#include "core/drivers/ubd/ubd_disk.h"

namespace umk::init {

namespace {

/// "98:16".
std::optional<DeviceNumber> parse_number(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const std::optional<uint64_t> major = parse_unsigned(text.substr(0, colon)), minor = parse_unsigned(text.substr(colon + 1));
  if (!major || !minor || *major > UINT32_MAX || *minor > UINT32_MAX) return std::nullopt;
  return DeviceNumber{static_cast<uint32_t>(*major), static_cast<uint32_t>(*minor)};
}

}  // namespace

RefPtr<block::BlockDevice> find_root_device(block::BlockDevices& devices, std::string_view name) {
  if (const std::optional<DeviceNumber> number = parse_number(name)) return devices.find(*number);
  if (name.starts_with("/dev/")) name.remove_prefix(5);
  if (RefPtr<block::BlockDevice> device = devices.find(name)) return device;
  if (const std::optional<uint32_t> disk = ubd::disk_number(name)) return devices.find(DeviceNumber{ubd::kMajor, *disk * block::BlockDevices::kMinorsOfDisk});
  return {};
}

Result<void> mount_root_device(vfs::Vfs& vfs, block::BlockDevices& devices, const vfs::Caller& caller, const StartRequest& request) {
  const RefPtr<block::BlockDevice> device = find_root_device(devices, request.root_device);
  if (!device) {
    log(LogLevel::Critical, "VFS: Cannot open root device \"{}\": error {}", request.root_device, -ENXIO);
    return error(ENXIO);
  }
  // As Linux, by a node of the first root, under a name that /proc/mounts shows.
  constexpr std::string_view kNode = "/dev/root";
  TRY(vfs.make_directory(caller, {nullptr, "/dev"}, 0755));
  TRY(vfs.make_node(caller, {nullptr, kNode}, static_cast<uint32_t>(vfs::FileType::BlockDevice) | 0600, device->number()));
  const auto try_type = [&](std::string_view type) {
    uint64_t flags = vfs::mount_flags::kSilent | (request.root_read_only || device->is_read_only() ? vfs::mount_flags::kReadOnly : 0);
    Result<void> mounted = vfs.mount(caller, kNode, {nullptr, "/"}, type, flags, request.root_flags);
    if (mounted.code() == EACCES && !(flags & vfs::mount_flags::kReadOnly)) {
      // What cannot be written is a root all the same.
      flags |= vfs::mount_flags::kReadOnly;
      mounted = vfs.mount(caller, kNode, {nullptr, "/"}, type, flags, request.root_flags);
    }
    if (mounted.ok()) log(LogLevel::Info, "VFS: Mounted root ({} filesystem){} on device {}:{}.", type, flags & vfs::mount_flags::kReadOnly ? " readonly" : "", device->number().major, device->number().minor);
    return mounted;
  };
  Result<void> outcome = error(EINVAL);
  if (!request.root_type.empty()) {
    outcome = try_type(request.root_type);
  } else {
    for (vfs::FilesystemType* type : vfs.types()) {
      if (!type->needs_device()) continue;
      outcome = try_type(type->name());
      // EINVAL: not one of these. Anything else is a filesystem that cannot be mounted.
      if (outcome.ok() || outcome.code() != EINVAL) break;
    }
  }
  if (!outcome.ok())
    log(LogLevel::Critical, "VFS: Unable to mount root fs on {} ({}:{}): error {}", device->name(), device->number().major, device->number().minor, -outcome.code());
  return outcome;
}

const char* problem_of_root(const StartRequest& request, int error_code) {
  if (request.root_device.empty()) return "the root filesystem cannot be mounted";
  switch (error_code) {
    case ENXIO: return "there is no disk with the root filesystem: root= names one that no ubd switch makes";
    case ENODEV: return "the root filesystem cannot be mounted: rootfstype= names a type that this kernel does not have";
    case EINVAL: return "the root filesystem cannot be mounted: no filesystem of this kernel is on the root device";
    default: return "the root filesystem on the root device cannot be mounted";
  }
}

void close_filesystems(vfs::Vfs& vfs) {
  Vector<RefPtr<vfs::Superblock>> all;
  if (!vfs.mounts().superblocks(all).ok()) return;
  for (const RefPtr<vfs::Superblock>& superblock : all) {
    const bool is_on_disk = superblock->device().major != 0;
    if (is_on_disk && !superblock->is_read_only() && superblock->remount({}, true).ok()) superblock->set_read_only(true);
  }
}

void flush_disks(block::BlockDevices& devices) {
  Vector<RefPtr<block::BlockDevice>> all;
  if (!devices.list(all).ok()) return;
  for (const RefPtr<block::BlockDevice>& device : all)
    if (!device->disk() && !device->is_read_only()) (void)device->flush();
}

}  // namespace umk::init

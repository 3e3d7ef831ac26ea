#include "core/fs/devpts/devpts.h"

#include "core/fs/devpts/nodes.h"
#include "core/kernel/vfs/caller.h"

namespace umk::devpts {

namespace {
constexpr int64_t kMagic = 0x1cd1;
}

Result<Options> Options::parse(std::string_view text) {
  Options options;
  while (!text.empty()) {
    std::string_view value = split_first(text, ',');
    if (value.empty()) continue;
    const bool has_value = value.find('=') != std::string_view::npos;
    const std::string_view name = split_first(value, '=');
    if (name == "newinstance" && !has_value) continue;
    const bool is_octal = name == "mode" || name == "ptmxmode";
    const std::optional<uint64_t> number = has_value ? parse_unsigned(value, is_octal ? 8 : 10) : std::nullopt;
    if (!number || *number >= UINT32_MAX) return error(EINVAL);
    const uint32_t small = static_cast<uint32_t>(*number);
    if (name == "uid") {
      options.uid = small;
    } else if (name == "gid") {
      options.gid = small;
    } else if (name == "mode") {
      options.mode = small & vfs::kPermissionMask;
    } else if (name == "ptmxmode") {
      options.multiplexer_mode = small & vfs::kPermissionMask;
    } else if (name == "max") {
      if (small > kMaximumSlaves) return error(EINVAL);
      options.maximum = small;
    } else {
      return error(EINVAL);
    }
  }
  return options;
}

Result<RefPtr<Instance>> Instance::create(tty::TtyRegistry& registry, vfs::DeviceNumber device, const Options& options, const Credentials& who) {
  RefPtr<Instance> instance = TRY(make_ref<Instance>(registry, device, options));
  instance->root_ = RefPtr<vfs::Inode>(TRY(make_ref<Root>(*instance)));
  const Node::Identity identity{kMultiplexerNumber, options.multiplexer_mode, who.fsuid, who.fsgid, {tty::kAuxiliaryMajor, tty::kMultiplexerMinor}};
  // Held by the instance itself, so it must not hold the instance.
  instance->multiplexer_ = RefPtr<vfs::Inode>(TRY(make_ref<Node>(*instance, identity, nullptr)));
  TRY(registry.add_source(*instance));
  return instance;
}

Instance::~Instance() { registry_.remove_source(*this); }

Result<vfs::FilesystemStatistics> Instance::statistics() {
  vfs::FilesystemStatistics statistics;
  statistics.type_magic = kMagic;
  return statistics;
}

Result<void> Instance::remount(std::string_view text, bool) {
  const Options options = TRY(Options::parse(text));
  {
    MutexLock lock(mutex_);
    options_ = options;
  }
  vfs::MetadataChange change;
  change.permissions = options.multiplexer_mode;
  return multiplexer_->change(change);
}

void Instance::show_options(TextSink& sink) {
  MutexLock lock(mutex_);
  if (options_.uid) format(sink, ",uid={}", *options_.uid);
  if (options_.gid) format(sink, ",gid={}", *options_.gid);
  format(sink, ",mode={03o},ptmxmode={03o}", options_.mode, options_.multiplexer_mode);
  if (options_.maximum < kMaximumSlaves) format(sink, ",max={}", options_.maximum);
}

Result<unsigned> Instance::take_number() {
  MutexLock lock(mutex_);
  unsigned number = 0;
  while (number < slots_.size() && slots_[number].is_used) ++number;
  if (number >= options_.maximum) return error(ENOSPC);
  if (number == slots_.size()) TRY(slots_.push_back({}));
  slots_[number].is_used = true;
  return number;
}

Result<RefPtr<vfs::OpenFile>> Instance::open_master(RefPtr<vfs::Inode> inode, uint32_t flags, const Credentials& who) {
  const unsigned number = TRY(take_number());
  Result<RefPtr<tty::PtySlave>> made = make_ref<tty::PtySlave>(registry_.jobs(), *this, number);
  if (!made.ok()) {
    free_number(number);
    return made.failure();
  }
  // From here on the slave gives its number back itself.
  const RefPtr<tty::PtySlave> slave = made.take();
  Node::Identity identity{kFirstSlaveNumber + number, 0, who.fsuid, who.fsgid, {tty::kSlaveMajor, number}};
  {
    MutexLock lock(mutex_);
    identity.mode = options_.mode;
    identity.uid = options_.uid.value_or(who.fsuid);
    identity.gid = options_.gid.value_or(who.fsgid);
  }
  RefPtr<vfs::Inode> node(TRY(make_ref<Node>(*this, identity, hold())));
  RefPtr<vfs::OpenFile> file = TRY(slave->open_master(std::move(inode), flags));
  MutexLock lock(mutex_);
  slots_[number].inode = std::move(node);
  slots_[number].slave = slave.get();
  return file;
}

Result<RefPtr<vfs::OpenFile>> Instance::open_slave(unsigned number, RefPtr<vfs::Inode> inode, uint32_t flags) {
  RefPtr<tty::PtySlave> slave;
  {
    MutexLock lock(mutex_);
    if (number >= slots_.size() || slots_[number].inode != inode) return error(EIO);
    if (slots_[number].slave->try_add_reference()) slave = adopt_ref(slots_[number].slave);
  }
  if (!slave) return error(EIO);
  return slave->open(std::move(inode), flags);
}

void Instance::on_master_closed(unsigned number) {
  RefPtr<vfs::Inode> gone;  // dropped after the lock
  MutexLock lock(mutex_);
  std::swap(gone, slots_[number].inode);
  slots_[number].slave = nullptr;
}

void Instance::free_number(unsigned number) {
  MutexLock lock(mutex_);
  slots_[number].is_used = false;
}

RefPtr<vfs::Inode> Instance::slave_inode(unsigned number) {
  MutexLock lock(mutex_);
  return number < slots_.size() ? slots_[number].inode : nullptr;
}

RefPtr<vfs::Inode> Instance::find(std::string_view name) {
  if (name == "ptmx") return multiplexer_;
  if (name.size() > 1 && name[0] == '0') return nullptr;
  const std::optional<uint64_t> number = parse_unsigned(name);
  return number && *number < kMaximumSlaves ? slave_inode(static_cast<unsigned>(*number)) : nullptr;
}

std::optional<Instance::Listed> Instance::next_slave(unsigned from) {
  MutexLock lock(mutex_);
  for (unsigned number = from; number < slots_.size(); ++number)
    if (slots_[number].inode) return Listed{number, slots_[number].inode->number()};
  return {};
}

Result<RefPtr<vfs::Superblock>> Type::mount(const vfs::MountRequest& request) {
  const Options options = TRY(Options::parse(request.options));
  return RefPtr<vfs::Superblock>(TRY(Instance::create(registry_, request.anonymous_device, options, request.caller.credentials)));
}

}  // namespace umk::devpts

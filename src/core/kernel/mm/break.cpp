// The shape of a fresh address space: the places of stack, images and heap. brk(2), and the copy for fork(2).
#include "core/kernel/mm/address_space.h"

namespace umk::mm {

using guest::kProtRead, guest::kProtWrite;

namespace {

// The top of the stack lies within the last pages of the guest's part, whose page-table page the kernel's private pages need anyway.
constexpr uint64_t kStackRandomPages = 64;
// Room for the stack to grow, between these bounds, as in Linux; then up to 256 MiB of chance. All of it is in one GiB.
constexpr uint64_t kMinimumStackRoom = uint64_t{128} << 20;
constexpr uint64_t kMaximumStackRoom = layout::kUserEnd / 6 * 5;
constexpr uint64_t kBaseRandomPages = 65536;

// The heap's own place is where the 512 GiB begin that hold everything else; up to 32 MiB of chance, as in Linux.
constexpr uint64_t kUpperTableBytes = uint64_t{512} << 30;
constexpr uint64_t kHeapPlace = layout::kUserEnd / kUpperTableBytes * kUpperTableBytes;
static_assert(layout::kUserEnd - kHeapPlace > kUpperTableBytes / 2, "the heap has room to grow");
constexpr uint64_t kHeapRandomPages = 8192;

}  // namespace

void AddressSpace::set_layout(uint64_t stack_limit, uint64_t random) {
  MutexLock lock(mutex_);
  stack_top_ = layout::kUserEnd - (random % kStackRandomPages) * kPageSize;
  uint64_t room = stack_limit > kMaximumStackRoom - kStackGuardGap ? kMaximumStackRoom : page_up(stack_limit) + kStackGuardGap;
  if (room < kMinimumStackRoom) room = kMinimumStackRoom;
  map_base_ = stack_top_ - room - (random / kStackRandomPages % kBaseRandomPages) * kPageSize;
  heap_place_ = kHeapPlace + (random / (kStackRandomPages * kBaseRandomPages) % kHeapRandomPages) * kPageSize;
  searched_from_ = UINT64_MAX;
}

Result<uint64_t> AddressSpace::map_stack(uint64_t bytes, int protection, const MemoryLimits& limits) {
  MapRequest request;
  request.length = page_up(bytes);
  request.hint = stack_top_ - request.length;
  request.protection = protection;
  request.flags = map_flags::kPrivate | map_flags::kFixed | map_flags::kGrowsDown;
  request.label = "[stack]";
  TRY(map_request(request, limits));
  return stack_top_;
}

Result<uint64_t> AddressSpace::find_image_space(uint64_t length, uint64_t alignment) {
  MutexLock lock(mutex_);
  const uint64_t found = find_space_locked(page_up(length), kTrampolineGap, map_base_, alignment < kPageSize ? kPageSize : alignment);
  if (!found) return error(ENOMEM);
  return found;
}

void AddressSpace::start_break(uint64_t address) {
  MutexLock lock(mutex_);
  break_start = break_end_ = address;
}

void AddressSpace::start_break_apart() { start_break(heap_place_); }

uint64_t AddressSpace::current_break() {
  MutexLock lock(mutex_);
  return break_end_;
}

uint64_t AddressSpace::set_break(uint64_t address, const MemoryLimits& limits) {
  DeadAreas dead;
  MutexLock lock(mutex_);
  const uint64_t before = break_end_;
  if (address < break_start || address >= layout::kUserEnd) return before;
  if (limits.data != UINT64_MAX && address - break_start + (data_end - data_start) > limits.data) return before;
  const uint64_t old_end = page_up(before), new_end = page_up(address);
  if (new_end < old_end) {
    if (!unmap_locked(new_end, old_end, dead).ok()) return before;
  } else if (new_end > old_end) {
    if (!is_free_locked(old_end, new_end, Visibility::All) || invades_stack_gap_locked(old_end, new_end)) return before;
    if (!grow_break_locked(old_end, new_end, limits, dead).ok()) return before;
  }
  return break_end_ = address;
}

Result<void> AddressSpace::grow_break_locked(uint64_t start, uint64_t end, const MemoryLimits& limits, DeadAreas& dead) {
  std::unique_ptr<Area> area = TRY(make_unique<Area>(*this, start, end));
  area->protection = kProtRead | kProtWrite;
  area->flags = map_flags::kPrivate | (lock_future_ ? map_flags::kLocked : 0);
  area->label = "[heap]";
  TRY(check_limits_locked(*area, limits));
  return place_locked(std::move(area), dead);
}

Result<RefPtr<AddressSpace>> AddressSpace::clone_for_fork() {
  RefPtr<AddressSpace> child = TRY(create(engine_, window_));
  // A fork promises all private memory once more; as in Linux only what could never be kept is refused.
  if (!window_.account().try_commit(committed_bytes_)) return error(ENOMEM);
  window_.account().uncommit(committed_bytes_);
  TRY(child->auxiliary_vector.append(auxiliary_vector));
  child->copy_shape_from(*this);
  TRY(child->copy_areas_from(areas_));
  return child;
}

void AddressSpace::copy_shape_from(const AddressSpace& parent) {
  code_start = parent.code_start, code_end = parent.code_end, data_start = parent.data_start, data_end = parent.data_end;
  break_start = parent.break_start, stack_start = parent.stack_start, vdso_start = parent.vdso_start;
  arguments_start = parent.arguments_start, arguments_end = parent.arguments_end;
  environment_start = parent.environment_start, environment_end = parent.environment_end;
  executable = parent.executable;
  executable_hold = parent.executable_hold;
  trap_only = parent.trap_only;
  break_end_ = parent.break_end_;
  stack_top_ = parent.stack_top_;
  map_base_ = parent.map_base_;
  heap_place_ = parent.heap_place_;
}

Result<void> AddressSpace::copy_areas_from(const AreaTree& areas) {
  MutexLock lock(mutex_);
  for (const Area& area : areas) {
    if (area.dont_fork) continue;
    std::unique_ptr<Area> copy = TRY(make_unique<Area>(*this, area.start, area.end));
    copy->copy_from(area);
    copy->flags &= ~map_flags::kLocked;  // locks are not inherited: fork(2)
    insert_locked(*copy.release());
  }
  return {};
}

}  // namespace umk::mm

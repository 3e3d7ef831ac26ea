#include "core/kernel/task/task_list.h"

#include "core/kernel/task/task.h"

namespace umk {

namespace {
constexpr ProcessId kFirstAfterWrap = 300;
}

size_t TaskList::lower_bound(int32_t id) const {
  size_t low = 0, high = entries_.size();
  // Numbers mostly grow, so the last entry is looked at first.
  if (high > 0 && entries_[high - 1].id < id) return high;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (entries_[middle].id < id) low = middle + 1;
    else high = middle;
  }
  return low;
}

TaskList::Entry* TaskList::find_locked(int32_t id) {
  const size_t place = lower_bound(id);
  return place < entries_.size() && entries_[place].id == id ? &entries_[place] : nullptr;
}

Result<TaskList::Entry*> TaskList::find_or_make(int32_t id) {
  const size_t place = lower_bound(id);
  if (place == entries_.size() || entries_[place].id != id) TRY(entries_.insert(place, Entry{.id = id}));
  return &entries_[place];
}

void TaskList::drop_if_unused(int32_t id) {
  const size_t place = lower_bound(id);
  if (place == entries_.size() || entries_[place].id != id) return;
  const Entry& entry = entries_[place];
  if (!entry.reserved && !entry.task && !entry.group && !entry.session) entries_.erase(place);
}

Result<ThreadId> TaskList::allocate_id() {
  if (entries_.size() >= static_cast<size_t>(kMaximumId - kFirstAfterWrap)) return error(EAGAIN);
  int32_t id = last_id_ + 1;
  if (id >= kMaximumId) id = kFirstAfterWrap;
  size_t place = lower_bound(id);
  // Step over numbers in use; there is a free one, since there are fewer entries than numbers.
  while (place < entries_.size() && entries_[place].id == id) {
    ++place;
    if (++id < kMaximumId) continue;
    id = kFirstAfterWrap;
    place = lower_bound(id);
  }
  TRY(entries_.insert(place, Entry{.id = id, .reserved = true}));
  last_id_ = id;
  return id;
}

void TaskList::release_id(ThreadId id) {
  Entry* entry = find_locked(id);
  CHECK(entry && entry->reserved, "a number that was not allocated is released");
  entry->reserved = false;
  drop_if_unused(id);
}

void TaskList::add(Task& task) {
  Entry* entry = find_locked(task.tid());
  CHECK(entry && !entry->task, "a task's number was allocated for it");
  entry->reserved = false;
  entry->task = &task;
  ++task_count_;
}

void TaskList::remove(Task& task) {
  Entry* entry = find_locked(task.tid());
  CHECK(entry && entry->task == &task, "a task is removed once");
  entry->task = nullptr;
  --task_count_;
  drop_if_unused(task.tid());
}

void TaskList::take_over_id(Task& task, Task& old_leader) {
  const ThreadId own = task.tid();
  Entry* entry = find_locked(old_leader.tid());
  CHECK(entry && entry->task == &old_leader, "the old leader is still listed");
  entry->task = &task;
  task.change_tid(old_leader.tid());
  entry = find_locked(own);
  CHECK(entry && entry->task == &task, "the new leader is listed");
  entry->task = nullptr;
  --task_count_;
  drop_if_unused(own);
}

RefPtr<Task> TaskList::find_task(ThreadId tid) {
  Entry* entry = find_locked(tid);
  return entry ? RefPtr<Task>(entry->task) : nullptr;
}

RefPtr<Process> TaskList::find_process(ProcessId pid) {
  Entry* entry = find_locked(pid);
  if (!entry || !entry->task || !entry->task->is_leader()) return nullptr;
  return entry->task->process_;
}

RefPtr<ProcessGroup> TaskList::find_group(ProcessId id) {
  Entry* entry = find_locked(id);
  return entry ? RefPtr<ProcessGroup>(entry->group) : nullptr;
}

RefPtr<Session> TaskList::find_session(ProcessId id) {
  Entry* entry = find_locked(id);
  return entry ? RefPtr<Session>(entry->session) : nullptr;
}

Result<RefPtr<ProcessGroup>> TaskList::make_group(ProcessId id, RefPtr<Session> session) {
  Entry* entry = TRY(find_or_make(id));
  CHECK(!entry->group, "the number of a new group is free");
  RefPtr<ProcessGroup> group = TRY(make_ref<ProcessGroup>(id, session));
  entry->group = group.get();
  ++session->group_count;
  return group;
}

Result<RefPtr<Session>> TaskList::make_session(ProcessId id) {
  Entry* entry = TRY(find_or_make(id));
  CHECK(!entry->session, "the number of a new session is free");
  RefPtr<Session> session = TRY(make_ref<Session>(id));
  entry->session = session.get();
  return session;
}

void TaskList::set_group(Process& process, RefPtr<ProcessGroup> group) {
  const RefPtr<ProcessGroup> old = process.group;
  if (old == group) return;
  if (old) static_cast<ListHook<GroupTag>&>(process).unlink();
  if (group) group->members.push_back(process);
  process.group = group;
  if (group) process.session = &group->session();
  if (!old || !old->members.empty()) return;
  // Last one out: the number may be used again.
  Session& session = old->session();
  if (Entry* entry = find_locked(old->id())) {
    entry->group = nullptr;
    drop_if_unused(old->id());
  }
  if (--session.group_count != 0) return;
  if (Entry* entry = find_locked(session.id())) {
    entry->session = nullptr;
    drop_if_unused(session.id());
  }
}

RefPtr<Task> TaskList::next_task(ThreadId from) {
  for (size_t place = lower_bound(from); place < entries_.size(); ++place)
    if (entries_[place].task) return entries_[place].task;
  return nullptr;
}

RefPtr<Process> TaskList::next_process(ProcessId from) {
  for (size_t place = lower_bound(from); place < entries_.size(); ++place)
    if (entries_[place].task && entries_[place].task->is_leader()) return entries_[place].task->process_;
  return nullptr;
}

}  // namespace umk

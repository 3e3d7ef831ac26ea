// Small files of /proc/PID: name, cgroup, out-of-memory settings, identities that are the same for all.
#include <algorithm>

#include "core/fs/proc/proc.h"
#include "core/fs/proc/process_files.h"
#include "core/fs/proc/task_facts.h"

namespace umk::proc {

Result<void> show_name(const Context& context, TextSink& sink) {
  const RefPtr<Task> task = TRY(context.subject.find(context.kernel));
  format(sink, "{}\n", name_of(*task));
  return {};
}

// proc_pid_comm(5): threads of the same process may; more than 15 characters are cut.
Result<void> store_name(const Context& context, std::string_view text) {
  const RefPtr<Task> task = TRY(context.subject.find(context.kernel));
  const Task* current = Task::current_or_null();
  if (current && &current->process() != &task->process()) return error(EINVAL);
  text = text.substr(0, std::min(text.find('\0'), sizeof task->name - 1));
  if (text.ends_with('\n')) text.remove_suffix(1);
  // Readers on other threads may see a mixture of old and new, but always an end.
  for (size_t i = 0; i < sizeof task->name - 1; ++i) task->name[i] = i < text.size() ? text[i] : '\0';
  return {};
}

Result<void> show_cgroup(const Context& context, TextSink& sink) {
  TRY(context.subject.find(context.kernel));
  sink.put("0::/\n");
  return {};
}

// The share of the machine's memory that the process has, in thousandths, moved by its adjustment. proc_pid_oom_score(5).
Result<void> show_oom_score(const Context& context, TextSink& sink) {
  const RefPtr<Task> task = TRY(context.subject.find(context.kernel));
  const int adjustment = task->process().oom_score_adjustment.load();
  int64_t score = 0;
  const uint64_t total = total_memory_bytes(context.kernel) / kPageSize;
  if (const RefPtr<mm::AddressSpace> space = task->address_space_ref(); space && total != 0 && adjustment > -1000) {
    const uint64_t pages = memory_sizes(*space).resident();
    score = std::clamp<int64_t>(static_cast<int64_t>((pages * 1000 / total + 1000) * 2 / 3) + adjustment * 2 / 3, 0, 2000);
  }
  format(sink, "{}\n", score);
  return {};
}

Result<void> show_oom_adjustment(const Context& context, TextSink& sink) {
  const RefPtr<Task> task = TRY(context.subject.find(context.kernel));
  format(sink, "{}\n", task->process().oom_score_adjustment.load());
  return {};
}

// proc_pid_oom_score_adj(5): lowering it below what it was needs CAP_SYS_RESOURCE.
Result<void> store_oom_adjustment(const Context& context, std::string_view text) {
  const std::optional<int64_t> value = parse_signed(trim(text));
  if (!value || *value < -1000 || *value > 1000) return error(EINVAL);
  const RefPtr<Task> task = TRY(context.subject.find(context.kernel));
  std::atomic<int>& adjustment = task->process().oom_score_adjustment;
  if (*value < adjustment.load() && !context.reader.has(Capability::SysResource)) return error(EACCES);
  adjustment.store(static_cast<int>(*value));
  return {};
}

Result<void> show_personality(const Context&, TextSink& sink) {
  sink.put("00000000\n");
  return {};
}

Result<void> show_wait_channel(const Context&, TextSink& sink) {
  sink.put("0");
  return {};
}

// There is one user namespace, where every id is itself.
Result<void> show_id_map(const Context&, TextSink& sink) {
  format(sink, "{10} {10} {10}\n", 0, 0, UINT32_MAX);
  return {};
}

Result<void> show_group_setting(const Context&, TextSink& sink) {
  sink.put("allow\n");
  return {};
}

}  // namespace umk::proc

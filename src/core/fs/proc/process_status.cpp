// stat, statm, status, limits: proc_pid_stat(5), proc_pid_status(5).
#include <algorithm>

#include "core/fs/proc/proc.h"
#include "core/fs/proc/process_files.h"
#include "core/fs/proc/task_facts.h"
#include "core/kernel/task/exit.h"

namespace umk::proc {

namespace {

/// What is taken under the TaskList lock and the signal mutex, in one go.
struct Facts {
  RefPtr<Task> task;
  RefPtr<ControllingTerminal> terminal;
  RefPtr<mm::AddressSpace> space;
  ProcessId parent = 0, group = 0, session = 0;
  char state = 'R';
  uint64_t threads = 0;
  guest::Usage usage, children_usage;
  int exit_signal = 17, exit_status = 0;
  SignalSet task_pending, process_pending, blocked, ignored, caught;
  uint32_t queued = 0;
};

Result<Facts> facts_of(const Context& context) {
  Facts facts;
  facts.task = TRY(context.subject.find(context.kernel));
  Task& task = *facts.task;
  Process& process = task.process();
  RefPtr<SignalHandlers> handlers;
  {
    MutexLock lock(context.kernel.tasks.mutex);
    facts.parent = process.parent ? process.parent->pid() : 0;
    facts.group = process.group ? process.group->id() : 0;
    facts.session = process.session ? process.session->id() : 0;
    if (process.session && !process.has_left_terminal) facts.terminal = process.session->controlling_tty;
    facts.state = process.is_zombie ? 'Z' : state_of(task);
    for (const Task& thread : process.tasks) (void)thread, ++facts.threads;
    const guest::Usage whole = process_usage_locked(process);
    facts.usage = context.subject.is_thread ? context.kernel.engine.usage(task) : whole;
    if (!context.subject.is_thread) facts.children_usage = process.children_usage;
    facts.exit_signal = task.is_leader() ? process.exit_signal : -1;
    facts.exit_status = process.exit_status;
    MutexLock signal_lock(process.signal_mutex);
    facts.task_pending = task.pending.set();
    facts.process_pending = process.pending.set();
    facts.blocked = task.blocked();
    facts.queued = task.pending.queued_count() + process.pending.queued_count();
    handlers = process.handlers;
  }
  if (handlers) {
    facts.ignored = handlers->ignored();
    facts.caught = handlers->caught();
  }
  facts.space = task.address_space_ref();
  return facts;
}


/// Processors as a bit mask in groups of 32, and as a list.
void put_processors(TextSink& sink, unsigned count) {
  sink.put("Cpus_allowed:\t");
  for (unsigned group = (count + 31) / 32; group-- > 0;) {
    const unsigned here = std::min(count - group * 32, 32u);
    const uint32_t mask = here == 32 ? ~0u : (1u << here) - 1;
    if (group == (count + 31) / 32 - 1) format(sink, "{x}", mask);
    else format(sink, ",{08x}", mask);
  }
  if (count == 1) sink.put("\nCpus_allowed_list:\t0\n");
  else format(sink, "\nCpus_allowed_list:\t0-{}\n", count - 1);
}

std::string_view word_for(char state) {
  switch (state) {
    case 'R': return "running";
    case 'S': return "sleeping";
    case 'D': return "disk sleep";
    case 'T': return "stopped";
    case 't': return "tracing stop";
    default: return "zombie";
  }
}

}  // namespace

Result<void> show_process_stat(const Context& context, TextSink& sink) {
  const Facts facts = TRY(facts_of(context));
  const Task& task = *facts.task;
  Process& process = task.process();
  const bool may_inspect = check_inspection(context.reader, task).ok();
  int32_t terminal = 0, foreground = -1;
  if (facts.terminal) {
    terminal = static_cast<int32_t>(facts.terminal->device_number().encoded());
    foreground = facts.terminal->foreground_group_id();
  }
  // PF_RANDOMIZE is what a user process has set.
  constexpr unsigned kFlags = 0x00400000;
  const int nice = task.nice.load(std::memory_order_relaxed);
  format(sink, "{} ({}) {} {} {} {} {} {} {}", task.tid(), name_of(task), facts.state, facts.parent, facts.group, facts.session, terminal, foreground, kFlags);
  format(sink, " {} {} {} {} {} {} {} {}", facts.usage.minor_faults, facts.children_usage.minor_faults, facts.usage.major_faults,
         facts.children_usage.major_faults, facts.usage.user_ns / kTickNs, facts.usage.system_ns / kTickNs, facts.children_usage.user_ns / kTickNs,
         facts.children_usage.system_ns / kTickNs);
  const uint64_t started = task.start_time_ns > context.kernel.boot_time_ns ? task.start_time_ns - context.kernel.boot_time_ns : 0;
  format(sink, " {} {} {} 0 {}", 20 + nice, nice, facts.threads, started / kTickNs);
  // Who wants to know exactly what is resident reads statm or status: proc_pid_stat(5) says so, too.
  const uint64_t total_bytes = facts.space ? facts.space->total_bytes() : 0;
  const uint64_t resident = facts.space ? quick_resident_pages(*facts.space, facts.usage) : 0;
  format(sink, " {} {} {}", total_bytes, resident, process.limits.soft(Resource::ResidentSet));
  const mm::AddressSpace* space = facts.space.get();
  const bool shows = space && may_inspect;
  format(sink, " {} {} {} 0 0", shows ? space->code_start : space ? 1 : 0, shows ? space->code_end : space ? 1 : 0, shows ? space->stack_start : 0);
  // The signal sets of old: what fits in a positive 32-bit number.
  constexpr uint64_t kOldSignals = 0x7fffffff;
  format(sink, " {} {} {} {}", facts.task_pending.bits & kOldSignals, facts.blocked.bits & kOldSignals, facts.ignored.bits & kOldSignals,
         facts.caught.bits & kOldSignals);
  // wchan nswap cnswap, exit_signal processor rt_priority policy, delayacct_blkio_ticks guest_time cguest_time
  format(sink, " 0 0 0 {} 0 0 0 0 0 0", facts.exit_signal);
  const uint64_t break_start = shows ? space->break_start : 0;
  format(sink, " {} {} {} {} {} {} {} {}\n", shows ? space->data_start : 0, shows ? space->data_end : 0, break_start, shows ? space->arguments_start : 0,
         shows ? space->arguments_end : 0, shows ? space->environment_start : 0, shows ? space->environment_end : 0, may_inspect ? facts.exit_status : 0);
  return {};
}

Result<void> show_process_statm(const Context& context, TextSink& sink) {
  const Facts facts = TRY(facts_of(context));
  MemorySizes sizes;
  if (facts.space) sizes = memory_sizes(*facts.space);
  format(sink, "{} {} {} {} 0 {} 0\n", sizes.total, sizes.resident(), sizes.resident_file, sizes.text, sizes.data + sizes.stack);
  return {};
}

Result<void> show_process_status(const Context& context, TextSink& sink) {
  const Facts facts = TRY(facts_of(context));
  const Task& task = *facts.task;
  Process& process = task.process();
  const RefPtr<const Credentials> who = task.credentials_ref();
  if (!who) return error(ESRCH);
  sink.put("Name:\t");
  for (const char character : name_of(task)) {
    if (character == '\n') sink.put("\\n");
    else if (character == '\\') sink.put("\\\\");
    else sink.put({&character, 1});
  }
  sink.put("\n");
  const RefPtr<vfs::FsContext> fs = task.fs_ref();
  if (fs) format(sink, "Umask:\t{04o}\n", fs->umask());
  format(sink, "State:\t{} ({})\nTgid:\t{}\nNgid:\t0\nPid:\t{}\nPPid:\t{}\nTracerPid:\t0\n", facts.state, word_for(facts.state), process.pid(), task.tid(),
         facts.parent);
  format(sink, "Uid:\t{}\t{}\t{}\t{}\nGid:\t{}\t{}\t{}\t{}\n", who->uid, who->euid, who->suid, who->fsuid, who->gid, who->egid, who->sgid, who->fsgid);
  const RefPtr<vfs::FdTable> fds = task.fds_ref();
  format(sink, "FDSize:\t{}\nGroups:\t", fds ? fds->capacity() : 0);
  for (const GroupId group : who->groups) format(sink, "{} ", group);
  if (who->groups.empty()) sink.put(" ");
  format(sink, "\nNStgid:\t{}\nNSpid:\t{}\nNSpgid:\t{}\nNSsid:\t{}\nKthread:\t0\n", process.pid(), task.tid(), facts.group, facts.session);
  if (facts.space) {
    const MemorySizes sizes = memory_sizes(*facts.space);
    const auto line = [&](std::string_view name, uint64_t pages) { format(sink, "{}\t{8} kB\n", name, pages * (kPageSize / 1024)); };
    // Peaks are not kept: the present sizes stand for them.
    line("VmPeak:", sizes.total);
    line("VmSize:", sizes.total);
    line("VmLck:", sizes.locked);
    line("VmPin:", 0);
    line("VmHWM:", sizes.resident());
    line("VmRSS:", sizes.resident());
    line("RssAnon:", sizes.resident_anonymous);
    line("RssFile:", sizes.resident_file);
    line("RssShmem:", 0);
    line("VmData:", sizes.data);
    line("VmStk:", sizes.stack);
    line("VmExe:", sizes.text);
    line("VmLib:", sizes.library);
    line("VmPTE:", 0);
    line("VmSwap:", 0);
    line("HugetlbPages:", 0);
    sink.put("CoreDumping:\t0\nTHP_enabled:\t0\n");
  }
  format(sink, "Threads:\t{}\nSigQ:\t{}/{}\n", facts.threads, facts.queued, process.limits.soft(Resource::PendingSignals));
  format(sink, "SigPnd:\t{016x}\nShdPnd:\t{016x}\nSigBlk:\t{016x}\nSigIgn:\t{016x}\nSigCgt:\t{016x}\n", facts.task_pending.bits, facts.process_pending.bits,
         facts.blocked.bits, facts.ignored.bits, facts.caught.bits);
  format(sink, "CapInh:\t{016x}\nCapPrm:\t{016x}\nCapEff:\t{016x}\nCapBnd:\t{016x}\nCapAmb:\t{016x}\n", who->inheritable.bits, who->permitted.bits,
         who->effective.bits, who->bounding.bits, who->ambient.bits);
  format(sink, "NoNewPrivs:\t{}\nSeccomp:\t0\nSeccomp_filters:\t0\n", task.no_new_privileges ? 1 : 0);
  put_processors(sink, context.kernel.options.cpus);
  format(sink, "Mems_allowed:\t1\nMems_allowed_list:\t0\nvoluntary_ctxt_switches:\t{}\nnonvoluntary_ctxt_switches:\t{}\n", facts.usage.voluntary_switches,
         facts.usage.involuntary_switches);
  return {};
}

Result<void> show_limits(const Context& context, TextSink& sink) {
  const RefPtr<Task> task = TRY(context.subject.find(context.kernel));
  constexpr struct {
    std::string_view name, unit;
  } kNames[kResourceCount] = {
      {"Max cpu time", "seconds"},      {"Max file size", "bytes"},      {"Max data size", "bytes"},        {"Max stack size", "bytes"},
      {"Max core file size", "bytes"},  {"Max resident set", "bytes"},   {"Max processes", "processes"},    {"Max open files", "files"},
      {"Max locked memory", "bytes"},   {"Max address space", "bytes"},  {"Max file locks", "locks"},       {"Max pending signals", "signals"},
      {"Max msgqueue size", "bytes"},   {"Max nice priority", ""},       {"Max realtime priority", ""},     {"Max realtime timeout", "us"},
  };
  format(sink, "{-25} {-20} {-20} {-10}\n", "Limit", "Soft Limit", "Hard Limit", "Units");
  for (unsigned i = 0; i < kResourceCount; ++i) {
    const Limit limit = task->process().limits.get(static_cast<Resource>(i));
    format(sink, "{-25} ", kNames[i].name);
    for (const uint64_t value : {limit.soft, limit.hard}) {
      if (value == kUnlimited) format(sink, "{-20} ", "unlimited");
      else format(sink, "{-20} ", value);
    }
    if (kNames[i].unit.empty()) sink.put("\n");
    else format(sink, "{-10}\n", kNames[i].unit);
  }
  return {};
}

}  // namespace umk::proc

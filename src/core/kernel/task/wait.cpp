#include "core/kernel/task/wait.h"

#include "core/kernel/task/exit.h"

namespace umk {

namespace {

constexpr int kContinuedStatus = 0xffff;

bool is_meant(const Process& child, const WaitRequest& request) {
  switch (request.who) {
    case WaitRequest::Who::Any:
      break;
    case WaitRequest::Who::Process:
      if (child.pid() != request.id) return false;
      break;
    case WaitRequest::Who::Group:
      if (!child.group || child.group->id() != request.id) return false;
      break;
  }
  // wait(2): "clone" children are those that do not report by SIGCHLD.
  if (request.options & wait_options::kAll) return true;
  const bool is_clone_child = child.exit_signal != signals::kChild;
  return is_clone_child == ((request.options & wait_options::kClone) != 0);
}

WaitOutcome describe(Process& child) {
  WaitOutcome outcome;
  outcome.pid = child.pid();
  if (child.leader) outcome.uid = child.leader->credentials_ref()->uid;
  outcome.usage = process_usage_locked(child);
  add_usage(outcome.usage, child.children_usage);
  return outcome;
}

WaitOutcome collect_zombie_locked(Process& parent, Process& child, const WaitRequest& request) {
  WaitOutcome outcome = describe(child);
  const int signal = child.exit_status & 0x7f;
  outcome.code = signal ? signal_codes::kChildKilled : signal_codes::kChildExited;
  outcome.status = signal ? signal : (child.exit_status >> 8) & 0xff;
  outcome.wait_status = child.exit_status;
  if (request.options & wait_options::kNoWait) return outcome;
  add_usage(parent.children_usage, outcome.usage);
  reap_locked(parent.kernel(), &child);
  return outcome;
}

WaitOutcome collect_change_locked(Process& child, const WaitRequest& request) {
  WaitOutcome outcome = describe(child);
  outcome.code = child.unreported_change;
  if (outcome.code == signal_codes::kChildStopped) {
    outcome.status = child.stop_signal;
    outcome.wait_status = child.stop_signal << 8 | 0x7f;
  } else {
    outcome.status = signals::kContinue;
    outcome.wait_status = kContinuedStatus;
  }
  if (!(request.options & wait_options::kNoWait)) child.unreported_change = 0;
  return outcome;
}

/// A continued child is waited for from the SIGCONT on (waitid(2)), also before it has run and told so itself.
void notice_continue_locked(Process& child, bool collect) {
  MutexLock lock(child.signal_mutex);
  if (!child.continue_is_due || child.continue_was_collected) return;
  child.unreported_change = signal_codes::kChildContinued;
  child.continue_was_collected = collect;
}

}  // namespace

Result<WaitOutcome> wait_for_child(Task& current, const WaitRequest& request) {
  Process& parent = current.process();
  MutexLock lock(current.kernel().tasks.mutex);
  Result<void> slept;
  for (;;) {
    bool has_candidate = false;
    for (Process& child : parent.children) {
      if (!is_meant(child, request)) continue;
      has_candidate = true;
      if (child.is_zombie) {
        if (request.options & wait_options::kExited) return collect_zombie_locked(parent, child, request);
        continue;
      }
      const bool reports_stop = child.unreported_change == signal_codes::kChildStopped && (request.options & wait_options::kStopped);
      const bool wants_continue = request.options & wait_options::kContinued;
      if (wants_continue) notice_continue_locked(child, !(request.options & wait_options::kNoWait));
      const bool reports_continue = child.unreported_change == signal_codes::kChildContinued && wants_continue;
      if (reports_stop || reports_continue) return collect_change_locked(child, request);
    }
    if (!has_candidate) return error(ECHILD);
    if (request.options & wait_options::kNoHang) return WaitOutcome{};
    // A child's end comes with a signal: the children are looked at once more before that counts as an interruption.
    TRY(std::move(slept));
    slept = parent.child_events.wait(current.kernel().tasks.mutex, Sleep::Interruptible);
  }
}

}  // namespace umk

// ManagementConsole: a machine's place on the host and what answers there: directory, socket, thread of the commands, notifications.
//
//   made before the machine: directory and socket are there, requests wait at the host
//   start():   the machine runs; requests are taken by the event loop. Urgent ones are served there and then; the others go to the thread of the
//              commands, one after the other, and their answers come back through the event loop
//   end():     what is left to say is said, the directory is removed. The thread may still sleep in the kernel: it ends with the process
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "monitor/channels/lines.h"
#include "monitor/configuration.h"
#include "monitor/event_loop.h"
#include "monitor/mconsole/commands.h"
#include "monitor/mconsole/machine_directory.h"
#include "monitor/mconsole/mconsole_socket.h"
#include "monitor/mconsole/notifier.h"

namespace umk::monitor {

class ManagementConsole {
 public:
  /// `notes` gets lines for the log. Throws std::runtime_error when there can be none.
  ManagementConsole(EventLoop& loop, const Configuration& configuration, std::vector<std::string>& notes);
  ManagementConsole(const ManagementConsole&) = delete;
  ManagementConsole& operator=(const ManagementConsole&) = delete;

  const std::string& name() const { return directory_.name(); }
  bool has_notifier() const { return notifier_ != nullptr; }
  /// Serves a running machine; `end` ends it at once.
  void start(Machine& machine, Lines& lines, Commands::End end);
  /// The kernel has news: notices of programs, answers of the thread.
  void look();
  void notify_panic(std::string_view reason);
  void end();
  /// For the guardian of a monitor that was killed.
  void remove_directory() { directory_.remove(); }

 private:
  using Request = std::pair<MconsoleClient, std::string>;

  void serve(const MconsoleClient& client, std::string_view text);
  void run_commands();
  void send_answers();

  const Configuration& configuration_;
  EventLoop& loop_;
  MachineDirectory directory_;
  std::unique_ptr<Notifier> notifier_;
  MconsoleSocket socket_;
  std::unique_ptr<KernelCalls> kernel_;
  ManagedDevices devices_;
  KernelSymbols symbols_;
  std::unique_ptr<Commands> commands_;

  std::mutex mutex_;
  std::condition_variable arrivals_;
  std::deque<Request> requests_;
  std::vector<std::pair<MconsoleClient, Answer>> answers_;
  /// The thread has taken a request and not answered it yet.
  bool is_at_work_ = false;
  std::condition_variable rest_;
};

}  // namespace umk::monitor

// Files at the top of proc that tell about the machine as a whole.
#pragma once

#include "core/fs/proc/entry.h"

namespace umk::proc {

Result<void> show_command_line(const Context&, TextSink&);
Result<void> show_devices(const Context&, TextSink&);
Result<void> show_disk_statistics(const Context&, TextSink&);
Result<void> show_exit_code(const Context&, TextSink&);
Result<void> store_exit_code(const Context&, std::string_view);
Result<void> show_consoles(const Context&, TextSink&);
Result<void> show_filesystems(const Context&, TextSink&);
Result<void> show_load(const Context&, TextSink&);
Result<void> show_memory(const Context&, TextSink&);           // memory_files.cpp
Result<void> show_memory_counters(const Context&, TextSink&);  // memory_files.cpp
Result<void> show_partitions(const Context&, TextSink&);
Result<void> show_processors(const Context&, TextSink&);  // processors.cpp
Result<void> show_statistics(const Context&, TextSink&);
Result<void> refuse_to_show(const Context&, TextSink&);
Result<void> store_sysrq(const Context& context, std::string_view text);
Result<void> store_notice(const Context& context, std::string_view text);
Result<void> show_swaps(const Context&, TextSink&);
Result<void> show_uptime(const Context&, TextSink&);
Result<void> show_version(const Context&, TextSink&);

}  // namespace umk::proc

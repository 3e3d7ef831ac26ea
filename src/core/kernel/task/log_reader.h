// Reading the kernel's log as text: syslog(2) and /proc/kmsg, which share one position for all readers.
#pragma once

#include "core/kernel/guest/user_memory.h"
#include "core/kernel/task/kernel_log.h"

namespace umk::log_reader {

/// Room for one record as text.
inline constexpr size_t kLineBytes = KernelLog::kMaximumLine + 48;
/// A record as lines show it: "<6>[    0.012345] text\n", the time as the log is set; returns how long that is.
size_t spell(const KernelLog& log, const KernelLog::Record& record, std::span<char> into);

/// Sleeps until the record of that number is there. ERESTARTSYS.
Result<void> wait_for(KernelLog& log, uint64_t sequence);

/// What nobody has read yet, whole records as far as they fit; takes it off. Sleeps while there is nothing, or fails with EAGAIN when `nonblocking`.
Result<size_t> read_next(KernelLog& log, UserOutBuffer& buffer, bool nonblocking);
/// Bytes that read_next could give now.
size_t unread_bytes(KernelLog& log);
/// The last records that fit, since the log was last cleared. Takes nothing off.
Result<size_t> read_last(KernelLog& log, UserOutBuffer& buffer);

}  // namespace umk::log_reader

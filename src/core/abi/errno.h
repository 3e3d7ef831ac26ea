// Error numbers of x86-64 Linux, errno(3). libstdc++ headers bring the host's macros in, with the same values; they are
// used where present so that both spellings agree.
#pragma once

#include <errno.h>

// Results that stay inside the kernel: a call interrupted by a signal, and how it is to go on. The signal code turns them
// into EINTR or a restart (kernel/task/signal_delivery.cpp); a guest never sees them.
#define ERESTARTSYS 512            // restart if the handler has SA_RESTART or there is no handler
#define ERESTARTNOINTR 513         // always restart
#define ERESTARTNOHAND 514         // restart only if no handler runs
#define ERESTART_RESTARTBLOCK 516  // restart by restart_syscall(2), with what remains of a timeout
#define ENOTSUPP_INTERNAL 524      // an operation that an object does not have

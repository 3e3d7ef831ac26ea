// /proc/tty: which drivers serve terminals, and their line disciplines. proc_tty(5).
#pragma once

#include "core/fs/proc/entry.h"

namespace umk::proc {

extern const Entry kTerminalEntries[2];

}  // namespace umk::proc

// /proc/sys, proc_sys(5), and /proc/umk.
//
// What can be written has an effect. A setting that has none here is shown with the value that describes how the kernel behaves, and is read-only.
#pragma once

#include "core/fs/proc/entry.h"

namespace umk::proc {

extern const Entry kSystemEntries[3];
extern const Entry kOwnEntries[2];

}  // namespace umk::proc

// The first program: which file becomes process 1.
#pragma once

#include "core/init/machine_start.h"
#include "core/kernel/task/clone.h"

namespace umk::init {

/// Makes process 1 and starts it in its own address space, where it execs the program that `request` names.
Result<void> start_first_program(Kernel& kernel, InitContext context, const StartRequest& request);

}  // namespace umk::init

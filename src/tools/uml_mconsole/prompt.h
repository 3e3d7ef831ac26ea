// The interactive prompt: lines with editing, history and completion.
#pragma once

#include "tools/uml_mconsole/local_commands.h"

namespace umk::uml_mconsole {

/// Until `quit` or end of file; returns the exit status.
int run_prompt(Session& session);

}  // namespace umk::uml_mconsole

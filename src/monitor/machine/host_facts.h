// What the kernel has to know of the host: where its vDSO lies, how large vector state is, whether it can run us at all.
#pragma once

#include "engine/image/boot_protocol.h"
#include "monitor/configuration.h"

namespace umk::monitor {

/// Fills the host's part of the parameters. Throws std::runtime_error, naming what is missing and what to do, when this host cannot run umk.
void examine_host(engine::BootParameters& parameters);

/// Whether guests' system calls are to be caught by seccomp: as told, else where the host has no Syscall User Dispatch. Throws when it has not what is wanted.
bool must_filter_calls(Configuration::Dispatch dispatch);

}  // namespace umk::monitor

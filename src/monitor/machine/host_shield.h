// What the shield needs of the host: protection keys, and how they and its signals behave.
#pragma once

#include <cstdint>
#include <string>

namespace umk::monitor {

/// Why there can be no shield here, as the end of a sentence; empty when there can. Tries everything that the shield relies on, in a child process.
std::string find_shield_obstacle();

/// Takes the shield's keys and opens them for the calling thread and those that it starts. Throws std::runtime_error when others have them.
void allocate_shield_keys();

/// Bytes from the end of an alternate signal stack down to the stack pointer with which the host starts a handler.
uint64_t signal_frame_bytes();

}  // namespace umk::monitor

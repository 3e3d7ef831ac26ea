#include "engine/gate/gate.h"

#include "engine/vessel/machine.h"

extern "C" {
// gate.S and keyed_gate.S
void umk_gate_entry();
void umk_gate_entered();
void umk_gate_interrupt();
[[noreturn]] void umk_leave_to_guest(umk::Registers* registers);
void umk_gate_start();
void umk_gate_exit_begin();
void umk_gate_exit_end();
void umk_signal_entry();
void umk_keyed_gate_entry();
void umk_keyed_gate_entered();
void umk_keyed_gate_opens();
void umk_keyed_gate_opened();
void umk_keyed_gate_lost();
void umk_keyed_gate_interrupt();
void umk_keyed_gate_interrupted();
[[noreturn]] void umk_keyed_leave_to_guest(umk::Registers* registers);
void umk_keyed_gate_start();
void umk_keyed_gate_exit_begin();
void umk_keyed_gate_exit_end();
void umk_keyed_signal_entry();
}

namespace umk::engine {

namespace {

constexpr Gate kPlainGate{.entry = umk_gate_entry,
                          .entered = umk_gate_entered,
                          .opens = umk_gate_entered,
                          .opened = umk_gate_entered,
                          .lost = nullptr,
                          .interrupt = umk_gate_interrupt,
                          .interrupted = umk_gate_interrupt,
                          .leave = umk_leave_to_guest,
                          .start = umk_gate_start,
                          .exit_begin = umk_gate_exit_begin,
                          .exit_end = umk_gate_exit_end,
                          .signal_entry = umk_signal_entry};
constexpr Gate kKeyedGate{.entry = umk_keyed_gate_entry,
                          .entered = umk_keyed_gate_entered,
                          .opens = umk_keyed_gate_opens,
                          .opened = umk_keyed_gate_opened,
                          .lost = umk_keyed_gate_lost,
                          .interrupt = umk_keyed_gate_interrupt,
                          .interrupted = umk_keyed_gate_interrupted,
                          .leave = umk_keyed_leave_to_guest,
                          .start = umk_keyed_gate_start,
                          .exit_begin = umk_keyed_gate_exit_begin,
                          .exit_end = umk_keyed_gate_exit_end,
                          .signal_entry = umk_keyed_signal_entry};

}  // namespace

const Gate& gate() { return machine().parameters.shield ? kKeyedGate : kPlainGate; }

}  // namespace umk::engine

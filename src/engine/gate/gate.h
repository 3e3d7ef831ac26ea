// The ways in and out of the kernel as C++ knows them. There are two gates, chosen once at boot: the plain one (gate.S), and the one that opens and
// closes the kernel's memory with protection keys (keyed_gate.S).
#pragma once

#include <cstdint>

#include "core/kernel/guest/registers.h"

namespace umk::engine {

struct Gate {
  /// Where patched call sites and redirected traps arrive.
  void (*entry)();
  /// Before this nothing has happened but that the slot was used, whose address the guest can spoil.
  void (*entered)();
  /// From `opens` to `opened` the entry opens the kernel's memory, and can be begun again at `opens`.
  void (*opens)();
  void (*opened)();
  /// Where an entry stops that found nothing in its slot, as the GS base led elsewhere. Null: entries notice by a fault.
  void (*lost)();
  /// Where signal handlers send guest code that faulted or was kicked, its registers in the register block.
  void (*interrupt)();
  /// Up to here it can be begun again.
  void (*interrupted)();
  /// Leaves to a guest with these registers, which are the block at the top of the current kernel stack.
  void (*leave)(Registers* registers);
  /// The text of the gate; from `exit_begin` to `exit_end` the thread may be on its way out with nothing left to do in the kernel.
  void (*start)();
  void (*exit_begin)();
  void (*exit_end)();
  /// The host's handler of all signals.
  void (*signal_entry)();
};

/// The gate of this machine.
const Gate& gate();

}  // namespace umk::engine

extern "C" {
void umk_signal_restorer();
}

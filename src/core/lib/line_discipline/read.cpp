// What programs get to read, and when.
#include <algorithm>

#include "core/lib/line_discipline/line_discipline.h"

namespace umk {

using namespace termios;

LineDiscipline::ReadStep LineDiscipline::read(std::span<uint8_t> buffer, size_t already) {
  if (already >= buffer.size()) return {already, true};
  const std::span<uint8_t> rest = buffer.subspan(already);

  if (makes_lines()) {
    if (!input_.has_line()) return {already, false};
    return {already + input_.take_line(rest), true};
  }
  if (is_canonical()) {
    // EXTPROC: the other end edits lines and sends a lone VEOF to say that the file ends.
    const size_t count = input_.take(rest);
    if (count == 1 && input_.size() == 0 && rest[0] == control(kVeof)) return {already, true};
    return {already + count, count > 0};
  }

  // The four cases of VMIN and VTIME, termios(3) "Canonical and noncanonical mode".
  const size_t count = already + input_.take(rest);
  const size_t minimum = control(kVmin);
  const unsigned tenths = control(kVtime);
  if (minimum == 0) return {count, count > 0 || tenths == 0, tenths};
  return {count, count >= std::min(minimum, buffer.size()), count > 0 ? tenths : 0};
}

bool LineDiscipline::is_readable() const {
  if (makes_lines()) return input_.has_line();
  const bool waits_for_minimum = control(kVtime) == 0 && control(kVmin) != 0;
  return input_.size() >= (waits_for_minimum ? control(kVmin) : 1u);
}

size_t LineDiscipline::readable_bytes() const { return makes_lines() ? input_.line_bytes() : input_.size(); }

void LineDiscipline::flush_input() {
  input_.clear();
  erasing_ = false;
}

}  // namespace umk

// Taking back what was typed: VERASE, VWERASE and VKILL, and what of it is seen.
#include "core/lib/line_discipline/characters.h"
#include "core/lib/line_discipline/line_discipline.h"

namespace umk {

using namespace termios;

void LineDiscipline::erase(uint8_t c) {
  if (input_.is_line_empty()) return;
  if (c == control(kVerase)) return erase_visibly(Erase::Character);
  if (local_flag(kIexten) && c == control(kVwerase)) return erase_visibly(Erase::Word);

  const bool shows_each = local_flag(kEchok) && local_flag(kEchoke) && local_flag(kEchoe);
  if (local_flag(kEcho) && shows_each) return erase_visibly(Erase::Line);
  input_.cut(input_.line_head());
  if (!local_flag(kEcho)) return;
  finish_erasing();
  echo(control(kVkill));
  if (local_flag(kEchok)) echo_raw('\n');
}

void LineDiscipline::erase_visibly(Erase how) {
  bool in_word = false;
  while (!input_.is_line_empty()) {
    // One character, which may be several bytes of UTF-8; half of one is left alone.
    size_t start = input_.head() - 1;
    while (is_continuation(input_.at(start)) && start != input_.line_head()) --start;
    const uint8_t c = input_.at(start);
    if (is_continuation(c)) break;

    if (how == Erase::Word) {
      if (characters::is_word(c)) in_word = true;
      else if (in_word) break;
    }
    const size_t length = input_.head() - start;
    input_.cut(start);
    if (local_flag(kEcho)) echo_erasure(how, c, length);
    if (how == Erase::Character) break;
  }
  if (input_.is_line_empty() && local_flag(kEcho)) finish_erasing();
}

/// Shows that the character of `length` bytes that starts with `c`, just cut from the queue, is gone.
void LineDiscipline::echo_erasure(Erase how, uint8_t c, size_t length) {
  if (local_flag(kEchoprt)) {
    // For paper: erased characters are printed again between \ and /.
    if (!erasing_) {
      echo_raw('\\');
      erasing_ = true;
    }
    echo(c);
    for (size_t i = 1; i < length; ++i) {
      echo_raw(input_.at(input_.head() + i));
      echo_.push({EchoItem::Kind::StepBack});
    }
  } else if (how == Erase::Character && !local_flag(kEchoe)) {
    echo(control(kVerase));
  } else if (c == '\t') {
    echo_tab_erasure();
  } else {
    const bool is_control = characters::is_control(c);
    const int width = !is_control ? 1 : local_flag(kEchoctl) ? 2 : 0;
    for (int i = 0; i < width; ++i)
      for (const uint8_t shown : {'\b', ' ', '\b'}) echo_raw(shown);
  }
}

/// How far a tab moved the cursor follows from the columns before it: since the last tab, or since the line's start.
void LineDiscipline::echo_tab_erasure() {
  size_t columns = 0;
  EchoItem::Kind kind = EchoItem::Kind::EraseTab;
  for (size_t position = input_.head(); position != input_.line_head(); --position) {
    const uint8_t c = input_.at(position - 1);
    if (c == '\t') {
      kind = EchoItem::Kind::EraseTabTab;
      break;
    }
    if (characters::is_control(c)) columns += local_flag(kEchoctl) ? 2 : 0;
    else if (!is_continuation(c)) ++columns;
  }
  echo_.push({kind, static_cast<uint8_t>(columns % 8)});
}

void LineDiscipline::finish_erasing() {
  if (!erasing_) return;
  echo_raw('/');
  erasing_ = false;
}

}  // namespace umk

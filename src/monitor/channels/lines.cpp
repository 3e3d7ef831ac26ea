#include "monitor/channels/lines.h"

#include <cstdlib>
#include <utility>

#include "monitor/channels/descriptor_channel.h"

namespace umk::monitor {

using console::kConsoles;
using console::kSerialLines;
using console::line_of_serial;

Lines::Lines(EventLoop& loop, const Configuration& configuration, std::string machine_name, std::function<void(const std::string&)> log)
    : loop_(loop),
      log_(std::move(log)),
      ports_(loop, [this](const std::string& text) { this->log(text); }),
      context_{loop,
               ports_,
               [this](const std::string& text) { this->log(text); },
               std::move(machine_name),
               configuration.xterm,
               find_inherited_descriptors()},
      serial_lines_are_raw_(configuration.serial_lines_are_raw) {
  const auto add = [&](unsigned index, const char* kind, unsigned number, const ChannelPair& pair) {
    if (index == 0 && pair.is_inherited()) {
      elsewhere_[0] = describe_channel_pair(pair);
      return;
    }
    if (pair.is_none()) return;
    try {
      configure(index, pair);
    } catch (const ChannelError& failure) {
      context_.log(failure.what());
      context_.log(std::string("setup_one_line failed for device ") + std::to_string(number) + " : Configuration failed (" + kind +
                   std::to_string(number) + ")");
    }
  };
  for (unsigned number = 0; number < kConsoles; ++number) add(number, "con", number, configuration.console(number));
  for (unsigned number = 0; number < kSerialLines; ++number) add(line_of_serial(number), "ssl", number, configuration.serial_line(number));
}

Lines::~Lines() = default;

void Lines::log(const std::string& text) {
  // As many as a boot with a getty on each line brings.
  constexpr unsigned kBurst = 100;
  constexpr std::chrono::seconds kTurn{5};
  const auto now = std::chrono::steady_clock::now();
  if (now - log_turn_ > kTurn) {
    log_turn_ = now;
    log_lines_ = 0;
    if (const unsigned left_out = std::exchange(log_lines_left_out_, 0))
      log_("consoles: " + std::to_string(left_out) + " messages suppressed");
  }
  if (++log_lines_ > kBurst) {
    ++log_lines_left_out_;
    return;
  }
  log_(text);
}

uint64_t Lines::existing(unsigned first, unsigned count) const {
  uint64_t bits = 0;
  for (unsigned number = 0; number < count; ++number)
    if (entries_.contains(first + number) || elsewhere_.contains(first + number)) bits |= uint64_t{1} << number;
  return bits;
}

uint64_t Lines::consoles() const { return existing(0, kConsoles); }
uint64_t Lines::serial_lines() const { return existing(line_of_serial(0), kSerialLines); }

void Lines::configure(unsigned index, const ChannelPair& pair) {
  remove(index);
  if (pair.is_none()) return;
  const bool is_console = index < kConsoles;
  ChannelUse use{{is_console, is_console ? index : index - kConsoles}, Direction::Both, is_console || serial_lines_are_raw_};
  Entry entry;
  entry.text = describe_channel_pair(pair);
  if (pair.input == pair.output) {
    entry.input = make_channel(pair.input, use, context_);
  } else {
    use.direction = Direction::Input;
    entry.input = make_channel(pair.input, use, context_);
    use.direction = Direction::Output;
    entry.output = make_channel(pair.output, use, context_);
  }
  Entry& kept = entries_[index] = std::move(entry);
  if (board_) start_line(index, kept);
}

void Lines::remove(unsigned index) { entries_.erase(index); }

void Lines::start(console::ConsoleBoard& board) {
  board_ = &board;
  for (auto& [index, entry] : entries_) start_line(index, entry);
}

void Lines::start_line(unsigned index, Entry& entry) {
  entry.line = std::make_unique<Line>(context_, *board_, index, std::move(entry.input), std::move(entry.output));
  if (index == 0) entry.line->show_messages(board_->messages);
  entry.line->serve();
}

void Lines::serve() {
  if (!board_) return;
  board_->monitor_news.take([this](unsigned index) {
    const auto found = entries_.find(index);
    if (found != entries_.end() && found->second.line) found->second.line->serve();
  });
  // The kernel's messages come without a line's number.
  const auto console = entries_.find(0);
  if (console != entries_.end() && console->second.line) console->second.line->serve();
}

bool Lines::is_drained() const {
  for (const auto& [index, entry] : entries_)
    if (entry.line && !entry.line->is_drained()) return false;
  return true;
}

void Lines::drain(std::chrono::milliseconds patience) {
  const auto deadline = std::chrono::steady_clock::now() + patience;
  for (auto& [index, entry] : entries_)
    if (entry.line) entry.line->serve();
  while (!is_drained()) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return;
    loop_.run_once(static_cast<int>(left.count()));
  }
}

std::string Lines::describe(unsigned index) const {
  if (const auto found = elsewhere_.find(index); found != elsewhere_.end()) return found->second;
  const auto found = entries_.find(index);
  if (found == entries_.end()) return "none";
  const std::string open = found->second.line ? found->second.line->describe() : std::string();
  return open.empty() ? found->second.text : open;
}

}  // namespace umk::monitor

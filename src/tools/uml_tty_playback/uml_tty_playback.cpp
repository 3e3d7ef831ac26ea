// uml_tty_playback: shows what a log of terminals holds. uml_tty_playback(1).
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

#include "tools/uml_tty_playback/database.h"
#include "tools/uml_tty_playback/json_lines.h"
#include "tools/uml_tty_playback/log_file.h"
#include "tools/uml_tty_playback/player.h"

namespace {

using namespace umk::uml_tty_playback;
namespace format = umk::tty_log_format;

struct Request {
  std::string log, terminal, layout = "auto", database;
  bool follows = false, wants_all = false, wants_input = false, at_once = false, lists = false, shows_programs = false, wants_json = false,
       is_visible = false;
  double speed = 1, longest_wait = 0;

  LogFile::Follow follow() const { return follows ? LogFile::Follow::Yes : LogFile::Follow::No; }
  std::optional<format::Layout> known_layout() const {
    if (layout == "auto") return {};
    return layout == "32" ? format::Layout::Bits32 : format::Layout::Bits64;
  }
};

/// What of a log belongs to one terminal, as far as it was read.
struct Summary {
  std::string first_time, last_time;
  bool is_first_of_its_session = false;  // not opened from another terminal
  size_t openings = 0, bytes_read = 0, bytes_written = 0, programs = 0;
};

/// Goes through the log as it is now. What is damaged ends it; that is told when it is played.
std::map<uint64_t, Summary> summarise(const Request& request) {
  std::map<uint64_t, Summary> terminals;
  LogFile log(request.log, LogFile::Follow::No, request.known_layout());
  try {
    while (const std::optional<Record> record = log.next()) {
      if (record->head.tty == 0) continue;
      Summary& summary = terminals[record->head.tty];
      if (summary.first_time.empty()) summary.first_time = time_text(*record);
      summary.last_time = time_text(*record);
      if (record->is(format::What::Open)) {
        ++summary.openings;
        summary.is_first_of_its_session |= record->parent() == 0 || record->parent() == record->head.tty;
      }
      if (record->is(format::What::Exec)) ++summary.programs;
      if (record->is(format::What::Write))
        (record->head.direction == format::Direction::Read ? summary.bytes_read : summary.bytes_written) += record->data.size();
    }
  } catch (const LogError& failure) {
    if (request.lists) fmt::print(stderr, "uml_tty_playback: {}\n", failure.what());
  }
  return terminals;
}

void list(const std::map<uint64_t, Summary>& terminals) {
  fmt::print("{:<12} {:<26} {:<26} {:>8} {:>10} {:>10} {:>8}\n", "TERMINAL", "FROM", "TO", "OPENINGS", "INPUT", "OUTPUT", "PROGRAMS");
  for (const auto& [id, summary] : terminals)
    fmt::print("{:<12} {:<26} {:<26} {:>8} {:>10} {:>10} {:>8}\n", name_of_terminal(id), summary.first_time, summary.last_time,
               summary.openings, summary.bytes_read, summary.bytes_written, summary.programs);
}

/// Which terminal is meant when none was named; false when that is for the caller to say, who has been told the choice.
bool choose_terminal(const Request& request, std::optional<uint64_t>& chosen) {
  std::vector<uint64_t> first;
  for (const auto& [id, summary] : summarise(request))
    if (summary.is_first_of_its_session && summary.bytes_read + summary.bytes_written > 0) first.push_back(id);
  if (first.size() == 1) chosen = first.front();
  if (first.size() <= 1) return true;
  fmt::print("You have the following ttys to choose from:\n");
  for (const uint64_t id : first) fmt::print("{} ", name_of_terminal(id));
  fmt::print("\n");
  return false;
}

std::string command_line(const Record& record) {
  std::string text;
  for (const std::string_view argument : record.arguments())
    text += (text.empty() ? "" : " ") + (argument.empty() ? std::string("''") : visible(argument));
  return text;
}

int run(const Request& request) {
  if (request.lists) {
    list(summarise(request));
    return 0;
  }
  const bool plays = !request.wants_json && request.database.empty() && !request.shows_programs;
  std::optional<uint64_t> terminal;  // none: all
  if (!request.terminal.empty() && request.terminal != "all") {
    uint64_t id = 0;
    if (!parse_terminal(request.terminal, id)) {
      fmt::print(stderr, "uml_tty_playback: {}: no terminal is called so; --list shows those of the log\n", request.terminal);
      return 1;
    }
    terminal = id;
  } else if (request.terminal.empty() && plays && request.log != "-" && !choose_terminal(request, terminal)) {
    return 0;
  }

  Player::Options options;
  options.shows_input = request.wants_all || request.wants_input;
  options.shows_output = request.wants_all || !request.wants_input;
  options.waits = !request.at_once;
  options.speed = request.speed;
  if (request.longest_wait > 0) options.longest_wait = request.longest_wait;
  options.is_visible = request.is_visible;
  Player player(options);
  std::optional<Database> database;
  if (!request.database.empty()) database.emplace(request.database);

  LogFile log(request.log, request.follow(), request.known_layout());
  const auto on_wait = [&] {
    player.catch_up();
    if (database) database->commit();
  };
  while (const std::optional<Record> record = log.next(on_wait)) {
    // What is of no terminal is of the log itself: that records are missing.
    if (terminal && record->head.tty != *terminal && record->head.tty != 0) continue;
    if (terminal && record->head.tty == 0 && !record->is(format::What::Write)) continue;
    bool is_shown = true;
    if (database) database->add(*record);
    else if (request.wants_json) is_shown = std::fputs(json_line(*record).c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
    else if (!request.shows_programs) is_shown = player.play(*record);
    else if (record->is(format::What::Exec)) {
      fmt::print("{} {} {}\n", time_text(*record), record->head.tty == 0 ? "-" : name_of_terminal(record->head.tty), command_line(*record));
      is_shown = std::fflush(stdout) == 0;
    }
    if (!is_shown) return 1;
  }
  if (database) database->commit();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Plays what happened on the terminals of a machine of umk or User Mode Linux, from a log that tty_log_fd= has made.",
               "uml_tty_playback"};
  Request request;
  app.add_option("log", request.log, "the log; - for standard input")->required();
  app.add_option("tty", request.terminal, "the terminal to be shown, as --list names it; all for all of them");
  app.add_flag("-f,--follow", request.follows, "at the end wait for more, as tail -f does");
  app.add_flag("-n,--no-wait", request.at_once, "show everything at once, not at its pace");
  auto* both = app.add_flag("-a,--all", request.wants_all, "show what was typed too: passwords, but also a second time what was echoed");
  app.add_flag("-i,--input", request.wants_input, "show only what was typed")->excludes(both);
  app.add_option("-s,--speed", request.speed, "play so many times as fast")->check(CLI::Range(0.001, 1e6));
  app.add_option("-w,--longest-wait", request.longest_wait, "wait at most so many seconds where nothing happens")
      ->check(CLI::PositiveNumber);
  app.add_flag("-v,--visible", request.is_visible, "spell control characters; each record is a line");
  auto* lists = app.add_flag("-l,--list", request.lists, "list the terminals of the log");
  auto* programs = app.add_flag("-x,--exec", request.shows_programs, "list the programs that were started");
  auto* json = app.add_flag("-j,--json", request.wants_json, "print each record as a line of JSON");
  auto* database = app.add_option("--sqlite", request.database, "put the records into tables of a new SQLite database")->type_name("FILE");
  app.add_option("--layout", request.layout, "the log's numbers are of so many bits; auto finds out")
      ->check(CLI::IsMember({"auto", "32", "64"}));
  for (auto* one : {lists, programs, json})
    for (auto* other : {lists, programs, json, static_cast<CLI::Option*>(database)})
      if (one != other) one->excludes(other);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    app.exit(error);
    return 1;
  }
  try {
    return run(request);
  } catch (const std::exception& failure) {
    std::fflush(stdout);
    fmt::print(stderr, "uml_tty_playback: {}\n", failure.what());
    return 1;
  }
}

// What uml_mconsole does itself, or before it asks a machine.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "tools/uml_mconsole/connection.h"

namespace umk::uml_mconsole {

class Session {
 public:
  enum class Output { Text, Json };
  Session(std::unique_ptr<Connection> connection, Output output) : connection_(std::move(connection)), output_(output) {}

  const std::string& name() const { return connection_->name(); }
  bool has_quit() const { return has_quit_; }
  /// One line as typed. Prints what comes of it; returns an exit status. Throws ConnectionError.
  int run(const std::string& line);

 private:
  int quit();
  int switch_to(const std::string& name);
  int log_file(const std::string& path);
  int log_text(std::string_view text);
  int interrupt();
  int help();
  int ask(const std::string& request);
  int report(const Outcome& outcome, std::string_view command);

  std::unique_ptr<Connection> connection_;
  Output output_;
  bool has_quit_ = false;
};

/// `config ubd0=a,b` with names that the machine, which is elsewhere, understands.
std::string with_absolute_names(const std::string& line);

}  // namespace umk::uml_mconsole

// uml_mconsole: asks the management console of a machine. uml_mconsole(1).
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tools/uml_mconsole/local_commands.h"
#include "tools/uml_mconsole/prompt.h"

int main(int argc, char** argv) {
  using namespace umk::uml_mconsole;
  CLI::App app{"Talks to the management console of a machine of umk or User Mode Linux. Without a command, asks for commands.",
               "uml_mconsole"};
  std::string name;
  bool wants_json = false;
  double patience_seconds = 60;
  app.add_flag("-j,--json", wants_json, "print each answer as one line of JSON");
  app.add_option("-t,--timeout", patience_seconds, "give up when the machine has said nothing for so many seconds; 0: never")
      ->check(CLI::Range(0.0, 1e6))
      ->capture_default_str();
  app.add_option("machine", name, "umid of the machine, or path of its socket; what follows is a command for it")->required();
  // What follows the machine is the command's, dashes too: `log -f file`.
  int own = 1;
  while (own < argc && argv[own][0] == '-') {
    const std::string_view option = argv[own++];
    // Its value is a word of its own.
    if ((option == "-t" || option == "--timeout") && own < argc) ++own;
  }
  const std::vector<std::string> words(argv + std::min(own + 1, argc), argv + argc);
  try {
    app.parse(std::min(own + 1, argc), argv);
  } catch (const CLI::CallForHelp& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    app.exit(error);
    return 1;
  }
  std::string line;
  for (const std::string& word : words) line += (line.empty() ? "" : " ") + word;
  try {
    const std::chrono::milliseconds patience(static_cast<int64_t>(patience_seconds * 1000));
    Session session(std::make_unique<Connection>(name, patience), wants_json ? Session::Output::Json : Session::Output::Text);
    return words.empty() ? run_prompt(session) : session.run(line);
  } catch (const ConnectionError& failure) {
    fmt::print(stderr, "uml_mconsole: {}\n", failure.what());
    return 1;
  }
}

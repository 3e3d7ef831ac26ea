// MachineDirectory: the place on the host where a machine is found by its name: `<uml_dir>/<umid>/` with the files `pid` and `mconsole`.
//
// A directory whose machine is gone is taken over. One whose machine lives is left alone, and the newcomer gets a random name, as in User Mode Linux. Machines
// that start at the same moment take turns by a lock on the directory above. The directory is removed at the end; after a kill the guardian removes
// it if there is one (channels/host_terminal.h), and else the next machine of that name takes it over, or the next without a name removes it if its name
// was random.
#pragma once

#include <string>
#include <vector>

namespace umk::monitor {

class MachineDirectory {
 public:
  /// `base` as uml_dir= gives it, a leading ~ is the home directory; empty: ~/.uml. An empty `name` asks for a random one. Throws std::runtime_error with
  /// a text for people when no directory can be made; `notes` gets what is to be told although there is one.
  MachineDirectory(const std::string& base, const std::string& name, std::vector<std::string>& notes);
  ~MachineDirectory() { remove(); }
  MachineDirectory(const MachineDirectory&) = delete;
  MachineDirectory& operator=(const MachineDirectory&) = delete;

  const std::string& name() const { return name_; }
  const std::string& path() const { return path_; }
  std::string socket_path() const { return path_ + "/mconsole"; }
  /// Removes the directory with its files, once. Also for the guardian, which is a copy of this process.
  void remove();

 private:
  bool try_name(const std::string& base, const std::string& name, std::vector<std::string>& notes);
  void take_random_name(const std::string& base);
  void write_pid();

  std::string name_, path_;
  int owner_ = 0;  // the process whose number the file has
};

}  // namespace umk::monitor

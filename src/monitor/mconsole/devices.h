// ManagedDevices: what `config` and `remove` of the management console work on: kinds of devices by the prefix of their names.
//
// A kind (disks, consoles, memory) implements ManagedDevice; the table is made once, by the session. All is called on the thread of the commands, one call
// at a time. Texts and numbers of failures are those of User Mode Linux where it has them.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "monitor/mconsole/answer.h"

namespace umk::monitor {

class ManagedDevice {
 public:
  virtual ~ManagedDevice() = default;
  /// "ubd", "con", "mem".
  virtual std::string_view prefix() const = 0;
  /// `config <prefix><text>`, where the text has an equals sign: "0=root.img".
  virtual Answer configure(std::string_view text) = 0;
  /// `config <prefix><text>`: the configuration as it would be given to configure().
  virtual Answer query(std::string_view text) = 0;
  /// `remove <prefix><text>`.
  virtual Answer remove(std::string_view text) = 0;
};

class ManagedDevices {
 public:
  void add(std::unique_ptr<ManagedDevice> device) { devices_.push_back(std::move(device)); }
  /// What follows the word `config`, or `remove`, and blanks.
  Answer config(std::string_view text) const;
  Answer remove(std::string_view text) const;

 private:
  ManagedDevice* find(std::string_view text) const;
  std::vector<std::unique_ptr<ManagedDevice>> devices_;
};

/// The number at the front of `text`, as strtoul(3) reads one, which is taken off. Negative when there is none.
int take_device_number(std::string_view& text);

}  // namespace umk::monitor

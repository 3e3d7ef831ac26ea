#include "monitor/mconsole/disk_device.h"

#include <fmt/format.h>

#include <cctype>
#include <cerrno>
#include <stdexcept>

#include "monitor/disk_switch.h"
#include "monitor/machine/disk_images.h"

namespace umk::monitor {

namespace {

std::string files_of(const DiskOption& disk) { return disk.second_file.empty() ? disk.file : disk.file + "," + disk.second_file; }

/// A number, or a letter: ubda is ubd0. Taken off the text; negative when there is none.
int take_disk_number(std::string_view& text) {
  if (!text.empty() && std::islower(static_cast<unsigned char>(text[0]))) {
    const int number = text[0] - 'a';
    text.remove_prefix(1);
    return number;
  }
  return take_device_number(text);
}

/// UML's numbers for UML's texts.
int error_of(std::string_view problem) {
  if (problem.find("Device is already configured") != std::string_view::npos) return -EBUSY;
  if (problem.find("Device number out of range") != std::string_view::npos) return 1;
  return -EINVAL;
}

}  // namespace

DiskDevice::DiskDevice(KernelCalls& kernel, const Configuration& configuration)
    : kernel_(kernel), is_synchronous_(configuration.disks_are_synchronous) {
  for (const DiskOption& disk : configuration.disks) files_[disk.number] = files_of(disk);
}

Answer DiskDevice::configure(std::string_view text) {
  // The switch's own parser; disks that are there already make it refuse a number twice.
  Configuration wanted;
  wanted.disks_are_synchronous = is_synchronous_;
  for (const auto& [number, file] : files_) wanted.disks.push_back({.number = number, .file = file, .second_file = {}, .serial = {}});
  const size_t before = wanted.disks.size();
  if (const auto problem = apply_disk_switch(wanted, "ubd" + std::string(text))) {
    constexpr std::string_view kBeforeReason = "\" : ";
    const size_t reason = problem->find(kBeforeReason);
    return Answer::failed(error_of(*problem), reason == std::string::npos ? *problem : problem->substr(reason + kBeforeReason.size()));
  }
  is_synchronous_ = wanted.disks_are_synchronous;
  if (wanted.disks.size() == before) return Answer::ok();
  const DiskOption& disk = wanted.disks.back();
  std::vector<std::string> notes;
  try {
    const DiskImages images({disk}, notes);
    for (const std::string& note : notes) kernel_.log(note);
    if (const int error = kernel_.attach_disk(images.images().front()))
      return Answer::failed(-error, error == EBUSY ? "Device is already configured" : "Failed to add the disk");
  } catch (const DiskFileError& failure) {
    // UML asks for the size and nothing else here; it says of every failure that it could not be had.
    if (failure.error() != 0) return Answer::failed(-failure.error(), "Couldn't determine size of device's file");
    return Answer::failed(-EINVAL, failure.what());
  }
  files_[disk.number] = files_of(disk);
  return Answer::ok();
}

Answer DiskDevice::query(std::string_view text) {
  const int number = take_disk_number(text);
  if (number < 0) return Answer::failed(1, "ubd_get_config : failed to parse device number");
  if (number >= static_cast<int>(kMaximumDisks)) return Answer::failed(1, "ubd_get_config : device number out of range");
  const auto found = files_.find(static_cast<unsigned>(number));
  return Answer::ok(found == files_.end() ? std::string() : found->second);
}

Answer DiskDevice::remove(std::string_view text) {
  const int number = take_disk_number(text);
  if (number < 0) return Answer::failed(1, "Couldn't parse device number");
  if (number >= static_cast<int>(kMaximumDisks))
    return Answer::failed(1, fmt::format("Invalid device number - must be between 0 and {}", kMaximumDisks - 1));
  switch (const int error = kernel_.detach_disk(static_cast<uint32_t>(number))) {
    case 0: files_.erase(static_cast<unsigned>(number)); return Answer::ok();
    case ENODEV: return Answer::failed(-ENODEV, "Device doesn't exist");
    case EBUSY: return Answer::failed(-EBUSY, "Device is currently open");
    default: return Answer::failed(-error, "Error in removing device");
  }
}

}  // namespace umk::monitor

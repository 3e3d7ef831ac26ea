#include "core/kernel/device/uevents.h"

#include <array>
#include <optional>

#include "core/base/make.h"
#include "core/base/text.h"

namespace umk::device {

namespace {

constexpr std::array<std::string_view, 8> kActions = {"add", "remove", "change", "move", "online", "offline", "bind", "unbind"};

std::string_view name_of(UeventAction action) { return kActions[static_cast<size_t>(action)]; }

std::optional<UeventAction> find_action(std::string_view name) {
  for (size_t i = 0; i < kActions.size(); ++i)
    if (kActions[i] == name) return static_cast<UeventAction>(i);
  return std::nullopt;
}

constexpr std::string_view kEnd("\0", 1);

void put_lines(TextSink& sink, std::string_view lines) {
  while (!lines.empty()) {
    sink.put(split_first(lines, '\n'));
    sink.put(kEnd);
  }
}

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hexadecimal(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }
bool is_alphanumeric(char c) { return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/// 8-4-4-4-12 hexadecimal digits.
bool is_uuid(std::string_view text) {
  if (text.size() != 36) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (is_dash ? text[i] != '-' : !is_hexadecimal(text[i])) return false;
  }
  return true;
}

/// NAME=value, both of letters and digits.
bool is_argument(std::string_view text) {
  const size_t equals = text.find('=');
  if (equals == 0 || equals == std::string_view::npos || equals + 1 == text.size()) return false;
  for (size_t i = 0; i < text.size(); ++i)
    if (i != equals && !is_alphanumeric(text[i])) return false;
  return true;
}

}  // namespace

Result<void> Uevents::add_receiver(UeventReceiver& receiver) {
  MutexLock lock(mutex_);
  return receivers_.push_back(&receiver);
}

Result<void> Uevents::send(const Uevent& event) {
  MutexLock lock(mutex_);
  const uint64_t number = last_number_.load(std::memory_order_relaxed) + 1;
  last_number_.store(number, std::memory_order_relaxed);
  RefPtr<UeventMessage> message;
  for (UeventReceiver* receiver : receivers_) {
    if (!receiver->is_listening()) continue;
    if (!message) {
      StringSink text;
      const std::string_view action = name_of(event.action);
      format(text, "{}@/{}", action, event.place);
      text.put(kEnd);
      format(text, "ACTION={}", action);
      text.put(kEnd);
      format(text, "DEVPATH=/{}", event.place);
      text.put(kEnd);
      format(text, "SUBSYSTEM={}", event.subsystem);
      text.put(kEnd);
      put_lines(text, event.remarks);
      put_lines(text, event.properties);
      format(text, "SEQNUM={}", number);
      text.put(kEnd);
      if (text.view().size() > kMaximumBytes) return error(ENOMEM);
      message = TRY(make_ref<UeventMessage>(TRY(text.take())));
    }
    receiver->receive(message);
  }
  return {};
}

Result<void> Uevents::send_as_asked(std::string_view request, Uevent event) {
  if (!request.empty() && (request.back() == '\n' || request.back() == '\0')) request.remove_suffix(1);
  const std::optional<UeventAction> action = find_action(split_first(request, ' '));
  if (!action) return error(EINVAL);
  StringSink remarks;
  if (request.empty()) {
    remarks.put("SYNTH_UUID=0\n");
  } else {
    const std::string_view uuid = split_first(request, ' ');
    if (!is_uuid(uuid)) return error(EINVAL);
    format(remarks, "SYNTH_UUID={}\n", uuid);
    while (!request.empty()) {
      const std::string_view argument = split_first(request, ' ');
      if (!is_argument(argument)) return error(EINVAL);
      format(remarks, "SYNTH_ARG_{}\n", argument);
    }
  }
  event.action = *action;
  event.remarks = remarks.view();
  if (remarks.failed()) return error(ENOMEM);
  return send(event);
}

Result<void> Uevents::set_helper(std::string_view path) {
  if (!path.empty() && path.back() == '\n') path.remove_suffix(1);
  if (path.size() + 1 > kMaximumHelper) return error(ENOENT);
  String fresh = TRY(String::from(path));
  MutexLock lock(helper_mutex_);
  helper_ = std::move(fresh);
  has_helper_.store(!path.empty(), std::memory_order_relaxed);
  return {};
}

Result<String> Uevents::helper() {
  MutexLock lock(helper_mutex_);
  return helper_.clone();
}

}  // namespace umk::device

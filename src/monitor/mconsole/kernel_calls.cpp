#include "monitor/mconsole/kernel_calls.h"

#include <array>

namespace umk::monitor {

template <typename Body>
void KernelCalls::attached(Body&& body) {
  machine_.run_attached([](void* argument) { (*static_cast<Body*>(argument))(); }, &body);
}

template <typename Ask>
KernelCalls::Text KernelCalls::text_of(Ask&& ask) {
  engine::KernelText made;
  attached([&] { ask(&made); });
  Text text{made.error, made.was_opened, std::string(made.data ? made.data : "", made.bytes)};
  attached([&] { functions_.drop(&made); });
  return text;
}

KernelCalls::Text KernelCalls::describe() {
  return text_of([this](engine::KernelText* into) { functions_.describe(into); });
}
KernelCalls::Text KernelCalls::read_proc(std::string_view path) {
  return text_of([this, path](engine::KernelText* into) { functions_.read_proc(path.data(), path.size(), into); });
}
KernelCalls::Text KernelCalls::sysrq(char key) {
  return text_of([this, key](engine::KernelText* into) { functions_.sysrq(key, into); });
}
KernelCalls::Text KernelCalls::show_stack(int pid) {
  return text_of([this, pid](engine::KernelText* into) { functions_.show_stack(pid, into); });
}

void KernelCalls::log(std::string_view text) {
  attached([&] { functions_.log(text.data(), text.size()); });
}
void KernelCalls::press_ctrl_alt_del() {
  attached([&] { functions_.press_ctrl_alt_del(); });
}
uint32_t KernelCalls::hold() {
  uint32_t busy = 0;
  attached([&] { busy = functions_.hold(); });
  return busy;
}
void KernelCalls::release() {
  attached([&] { functions_.release(); });
}
bool KernelCalls::is_holding() {
  bool is_holding = false;
  attached([&] { is_holding = functions_.is_holding(); });
  return is_holding;
}
int KernelCalls::attach_disk(const ubd::DiskImage& image) {
  int error = 0;
  attached([&] { error = functions_.attach_disk(&image); });
  return error;
}
int KernelCalls::detach_disk(uint32_t number) {
  int error = 0;
  attached([&] { error = functions_.detach_disk(number); });
  return error;
}
int KernelCalls::add_line(uint32_t line) {
  int error = 0;
  attached([&] { error = functions_.add_line(line); });
  return error;
}
int KernelCalls::remove_line(uint32_t line) {
  int error = 0;
  attached([&] { error = functions_.remove_line(line); });
  return error;
}
uint64_t KernelCalls::memory_bytes() {
  uint64_t bytes = 0;
  attached([&] { bytes = functions_.memory_bytes(); });
  return bytes;
}
int KernelCalls::take_memory(uint64_t bytes) {
  int error = 0;
  attached([&] { error = functions_.take_memory(bytes); });
  return error;
}
void KernelCalls::give_memory(uint64_t bytes) {
  attached([&] { functions_.give_memory(bytes); });
}
std::optional<std::string> KernelCalls::take_notice() {
  std::array<char, 512> text;
  uint64_t bytes = 0;
  bool was_there = false;
  attached([&] { was_there = functions_.take_notice(text.data(), text.size(), &bytes); });
  return was_there ? std::optional<std::string>(std::in_place, text.data(), bytes) : std::nullopt;
}
int KernelCalls::exit_code() {
  int code = 0;
  attached([&] { code = functions_.exit_code(); });
  return code;
}

watchdog::Order KernelCalls::take_watchdog_order() {
  int order = 0;
  attached([&] { order = functions_.take_watchdog_order(); });
  return static_cast<watchdog::Order>(order);
}
void KernelCalls::note_watchdog_started(int fd) {
  attached([&] { functions_.note_watchdog_started(fd); });
}
void KernelCalls::note_watchdog_stopped() {
  attached([&] { functions_.note_watchdog_stopped(); });
}

}  // namespace umk::monitor

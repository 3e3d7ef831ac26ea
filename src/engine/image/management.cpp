#include "core/init/management.h"
#include "core/base/make.h"
#include "core/init/machine_start.h"
#include "core/kernel/mm/cache_window.h"
#include "core/kernel/task/kernel.h"
#include "engine/image/management_protocol.h"
#include "engine/vessel/machine.h"

namespace umk::engine {

namespace {

Kernel& kernel() { return *machine().kernel; }

void hand_out(Result<String> text, KernelText* into) {
  into->error = text.code();
  if (!text.ok()) return;
  Result<std::unique_ptr<String>> owner = umk::make_unique<String>(text.take());
  into->error = owner.code();
  if (!owner.ok()) return;
  String* const kept = owner.value().release();
  into->owner = kept;
  into->data = kept->c_str();
  into->bytes = kept->size();
}

constexpr uint64_t kHoldPatienceNs = 5'000'000'000;

}  // namespace

constinit const ManagementFunctions kManagementFunctions{
    .drop = [](KernelText* text) { delete static_cast<String*>(text->owner); },
    .describe = [](KernelText* into) { hand_out(init::describe_kernel(kernel()), into); },
    .log =
        [](const char* text, uint64_t bytes) {
          init::log_text({text, bytes});
        },
    .press_ctrl_alt_del = [] { kernel().press_ctrl_alt_del(); },
    .read_proc =
        [](const char* path, uint64_t bytes, KernelText* into) {
          hand_out(init::read_proc_file(kernel(), {path, bytes}, into->was_opened), into);
        },
    .sysrq = [](char key, KernelText* into) { hand_out(init::give_sysrq(kernel(), key), into); },
    .show_stack = [](int pid, KernelText* into) { hand_out(init::show_kernel_stack(kernel(), pid), into); },
    .hold = [] { return kernel().freezer.hold(kHoldPatienceNs); },
    .release = [] { kernel().freezer.release(); },
    .is_holding = [] { return kernel().freezer.is_holding(); },
    .attach_disk = [](const ubd::DiskImage* image) { return init::attach_disk(kernel(), *image).code(); },
    .detach_disk = [](uint32_t number) { return init::detach_disk(kernel(), number).code(); },
    .add_line = [](uint32_t line) { return init::add_line(kernel(), line).code(); },
    .remove_line = [](uint32_t line) { return init::remove_line(kernel(), line).code(); },
    .memory_bytes = [] { return kernel().cache_window->account().limit(); },
    .take_memory = [](uint64_t bytes) { return init::take_memory(kernel(), bytes).code(); },
    .give_memory = [](uint64_t bytes) { init::give_memory(kernel(), bytes); },
    .take_notice =
        [](char* into, uint64_t room, uint64_t* bytes) {
          size_t taken = 0;
          const bool was_there = kernel().user_notices.take({into, room}, taken);
          *bytes = taken;
          return was_there;
        },
    .exit_code = [] { return kernel().exit_code.load(); },
    .take_watchdog_order = init::take_watchdog_order,
    .note_watchdog_started = init::note_watchdog_started,
    .note_watchdog_stopped = init::note_watchdog_stopped,
};

}  // namespace umk::engine

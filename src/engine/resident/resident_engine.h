// ResidentEngine: guest::Engine where the kernel is mapped in every guest process.
#pragma once

#include "core/kernel/guest/engine.h"
#include "engine/resident/patching.h"
#include "engine/vessel/machine.h"

namespace umk::engine {

class ResidentEngine final : public guest::Engine {
 public:
  Result<KernelStackHead*> allocate_stack() override;
  void free_stack(KernelStackHead* stack) override;
  void* task_storage(KernelStackHead* stack) override;
  Registers& registers(Task& task) override;

  Result<void> start_forked(Task& child) override;
  Result<void> start_thread(Task& child) override;
  void run_borrowed(Task& child) override;
  Result<void> start_in_new_vessel(Task& task, void (*entry)(Task&)) override;
  Result<void> prepare_empty_address_space(Task& task) override;
  void enter_empty_address_space(Task& task) override;
  [[noreturn]] void exit_current(Task& task, void (*task_released)(Task&)) override;

  Result<void> map_anonymous(uint64_t address, uint64_t length, int protection, bool reserve) override;
  Result<void> map_cache(uint64_t address, uint64_t length, int protection, uint64_t cache_offset, bool shared) override;
  Result<void> map_host_file(uint64_t address, uint64_t length, int protection, int host_fd, uint64_t offset, bool shared) override;
  bool shows_shared_code() const override;
  Result<void> unmap(uint64_t address, uint64_t length) override;
  Result<void> protect(uint64_t address, uint64_t length, int protection) override;
  Result<void> advise(uint64_t address, uint64_t length, int advice) override;
  Result<void> move(uint64_t from, uint64_t length, uint64_t to) override;
  Result<void> residency(uint64_t address, uint64_t length, uint8_t* resident) override;
  size_t copy_memory(uint64_t address, std::byte* bytes, size_t length, bool to_guest) override;
  void carry(mm::AddressSpace& space) override;
  void drop_carrier(void* carrier) override;
  Result<void> run_in(mm::AddressSpace& space, void (*work)(void*), void* argument) override;

  guest::Vdso vdso() override;
  void finish_reading_programs() override { wait_for_patches(); }
  void kick(Task& task) override;
  uint64_t fs_base(Task& task) override;
  void set_fs_base(Task& task, uint64_t base) override;
  Result<void> set_gs_base(Task& task, uint64_t base) override;
  uint64_t gs_base(Task& task) override;
  size_t vector_image_bytes() override;
  uint64_t vector_feature_mask() override;
  Result<void> save_vectors(uint64_t user_address) override;
  Result<void> load_vectors(uint64_t user_address) override;
  guest::Usage usage(Task& task) override;
  Result<void> reschedule(Task& task) override;
};

}  // namespace umk::engine

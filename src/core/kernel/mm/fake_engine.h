// Engines for hosted tests of address spaces: one that only remembers what it was told, one that really maps in the test's own process.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/base/bits.h"
#include "core/kernel/guest/engine.h"

namespace umk::mm::fake {

/// What both leave out: tasks.
class TasklessEngine : public guest::Engine {
 public:
  virtual ~TasklessEngine() = default;
  Result<KernelStackHead*> allocate_stack() override { return error(ENOSYS); }
  void free_stack(KernelStackHead*) override {}
  void* task_storage(KernelStackHead*) override { return nullptr; }
  Registers& registers(Task&) override { panic("no tasks"); }
  Result<void> start_forked(Task&) override { return error(ENOSYS); }
  Result<void> start_thread(Task&) override { return error(ENOSYS); }
  void run_borrowed(Task&) override {}
  Result<void> start_in_new_vessel(Task&, void (*)(Task&)) override { return error(ENOSYS); }
  void enter_empty_address_space(Task&) override {}
  [[noreturn]] void exit_current(Task&, void (*)(Task&)) override { panic("no tasks"); }
  size_t copy_memory(uint64_t, std::byte*, size_t, bool) override { return 0; }
  /// Set to false: other address spaces cannot be reached.
  bool reaches_others = true;
  Result<void> run_in(AddressSpace&, void (*work)(void*), void* argument) override {
    if (!reaches_others) return error(ESRCH);
    work(argument);
    return {};
  }
  void kick(Task&) override {}
  uint64_t fs_base(Task&) override { return 0; }
  void set_fs_base(Task&, uint64_t) override {}
  Result<void> set_gs_base(Task&, uint64_t) override { return error(ENOSYS); }
  uint64_t gs_base(Task&) override { return 0; }
  size_t vector_image_bytes() override { return 0; }
  uint64_t vector_feature_mask() override { return 0; }
  Result<void> save_vectors(uint64_t) override { return error(ENOSYS); }
  Result<void> load_vectors(uint64_t) override { return error(ENOSYS); }
  guest::Usage usage(Task&) override { return {}; }
  Result<void> reschedule(Task&) override { return {}; }
};

/// Remembers for each page what it shows and how.
class RecordingEngine final : public TasklessEngine {
 public:
  struct Page {
    char kind;        // 'a' anonymous, 'c' cache, 'h' host file
    bool shared;
    int protection;
    uint64_t offset;  // in the cache or host file
    friend bool operator==(const Page&, const Page&) = default;
  };
  std::map<uint64_t, Page> pages;
  uint64_t calls = 0;
  /// Fails the n-th mapping call from now on with ENOMEM; 0 never.
  uint64_t fail_after = 0;

  Result<void> map_anonymous(uint64_t address, uint64_t length, int protection, bool) override { return put(address, length, {'a', false, protection, 0}); }
  Result<void> map_cache(uint64_t address, uint64_t length, int protection, uint64_t offset, bool shared) override {
    return put(address, length, {'c', shared, protection, offset});
  }
  Result<void> map_host_file(uint64_t address, uint64_t length, int protection, int, uint64_t offset, bool shared) override {
    CHECK((protection & 4) == 0, "host files are never executable");
    return put(address, length, {'h', shared, protection, offset});
  }
  Result<void> unmap(uint64_t address, uint64_t length) override {
    ++calls;
    pages.erase(pages.lower_bound(address), pages.lower_bound(address + length));
    return {};
  }
  Result<void> protect(uint64_t address, uint64_t length, int protection) override {
    ++calls;
    check(address, length, protection);
    for (uint64_t at = address; at < address + length; at += kPageSize) {
      auto page = pages.find(at);
      CHECK(page != pages.end(), "only what is mapped is protected");
      page->second.protection = protection;
    }
    return {};
  }
  Result<void> advise(uint64_t address, uint64_t length, int advice) override {
    ++calls;
    advices.push_back({address, length, advice});
    return {};
  }
  Result<void> move(uint64_t from, uint64_t length, uint64_t to) override {
    ++calls;
    for (uint64_t at = 0; at < length; at += kPageSize) {
      CHECK(pages.contains(from + at), "only what is mapped is moved");
      pages[to + at] = pages[from + at];
      pages.erase(from + at);
    }
    return {};
  }
  Result<void> residency(uint64_t, uint64_t length, uint8_t* resident) override {
    for (uint64_t i = 0; i < length / kPageSize; ++i) resident[i] = 1;
    return {};
  }

  struct Advice {
    uint64_t address, length;
    int advice;
  };
  std::vector<Advice> advices;

 private:
  static void check(uint64_t address, uint64_t length, int protection) {
    CHECK(address % kPageSize == 0 && length % kPageSize == 0 && length > 0, "whole pages are mapped");
    CHECK((protection & 6) != 6, "a page is never writable and executable");
  }
  Result<void> put(uint64_t address, uint64_t length, Page page) {
    ++calls;
    check(address, length, page.protection);
    if (fail_after > 0 && --fail_after == 0) return error(ENOMEM);
    for (uint64_t at = 0; at < length; at += kPageSize) {
      pages[address + at] = page;
      if (page.kind != 'a') page.offset += kPageSize;
    }
    return {};
  }
};

/// Maps for real, at the addresses that the address space chose: below the test's own mappings.
class MappingEngine final : public TasklessEngine {
 public:
  explicit MappingEngine(int cache_fd) : cache_fd_(cache_fd) {}
  Result<void> map_anonymous(uint64_t address, uint64_t length, int protection, bool reserve) override;
  Result<void> map_cache(uint64_t address, uint64_t length, int protection, uint64_t offset, bool shared) override;
  Result<void> map_host_file(uint64_t address, uint64_t length, int protection, int fd, uint64_t offset, bool shared) override;
  Result<void> unmap(uint64_t address, uint64_t length) override;
  Result<void> protect(uint64_t address, uint64_t length, int protection) override;
  Result<void> advise(uint64_t address, uint64_t length, int advice) override;
  Result<void> move(uint64_t from, uint64_t length, uint64_t to) override;
  Result<void> residency(uint64_t address, uint64_t length, uint8_t* resident) override;

 private:
  int cache_fd_;
};

}  // namespace umk::mm::fake

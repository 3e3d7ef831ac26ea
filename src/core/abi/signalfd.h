// What a read of a signalfd yields: struct signalfd_siginfo, signalfd(2).
#pragma once

#include <cstdint>

namespace umk {

struct KernelSignalFdInfo {
  uint32_t signal;
  int32_t error;
  int32_t code;
  uint32_t pid;
  uint32_t uid;
  int32_t fd;
  uint32_t timer_id;
  uint32_t band;
  uint32_t overrun;
  uint32_t trap_number;
  int32_t status;
  int32_t value_int;
  uint64_t value_pointer;
  uint64_t user_time;
  uint64_t system_time;
  uint64_t address;
  uint16_t address_lsb;
  uint16_t padding2;
  int32_t call_number;
  uint64_t call_address;
  uint32_t architecture;
  uint8_t padding[28];
};
static_assert(sizeof(KernelSignalFdInfo) == 128);

}  // namespace umk

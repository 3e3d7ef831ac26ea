// Which questions to `cpuid` have one answer for as long as the machine runs, on every processor of it.
//
// Left out are the leaves whose answer names the processor that executes them (1, 0xb, 0x1f, 0x8000001e), those that count or measure,
// and all on machines that mix kinds of cores. Left out, too, are leaves 0 and 1, which programs execute for another effect, that of
// waiting for all earlier instructions. Sources: Intel SDM volume 2, CPUID; AMD64 APM volume 3, appendix E.
#pragma once

#include <array>
#include <functional>
#include <vector>

#include "engine/patcher/identity_tail.h"

namespace umk::patcher {

/// eax, ebx, ecx and edx after a `cpuid` with this leaf and subleaf.
using AskProcessor = std::function<std::array<uint32_t, 4>(uint32_t leaf, uint32_t subleaf)>;

/// The answers, those most asked for first. None when the processor's answers cannot be relied on.
std::vector<IdentityAnswer> lasting_answers(const AskProcessor& ask);

}  // namespace umk::patcher

// /proc/cpuinfo: what the cpuid instruction tells, in Linux's words. Intel SDM volume 2A "CPUID", AMD APM volume 3 appendix E.
#include <algorithm>

#include "core/fs/proc/machine_files.h"
#include "core/fs/proc/proc.h"
#include "core/kernel/time/clocks.h"

namespace umk::proc {

namespace {

struct Leaf {
  uint32_t eax, ebx, ecx, edx;
};

Leaf cpuid(uint32_t number, uint32_t part = 0) {
  Leaf leaf;
  asm volatile("cpuid" : "=a"(leaf.eax), "=b"(leaf.ebx), "=c"(leaf.ecx), "=d"(leaf.edx) : "a"(number), "c"(part));
  return leaf;
}

uint64_t time_stamp() {
  uint32_t low, high;
  asm volatile("rdtsc" : "=a"(low), "=d"(high));
  return uint64_t{high} << 32 | low;
}

/// Names of the bits of one register, separated by spaces; "-" for a bit that has no name, or whose feature programs do not get here: protection keys and
/// the instructions for the segment bases (the kernel's own), virtual machines, and power management.
constexpr std::string_view kBasicEdx =
    "fpu vme de pse tsc msr pae mce cx8 apic - sep mtrr pge mca cmov pat pse36 pn clflush - dts acpi mmx fxsr sse sse2 ss ht tm ia64 pbe";
constexpr std::string_view kExtendedEdx = "- - - - - - - - - - - syscall - - - - - - - mp nx - mmxext - - fxsr_opt pdpe1gb rdtscp - lm 3dnowext 3dnow";
constexpr std::string_view kBasicEcx =
    "pni pclmulqdq dtes64 - ds_cpl - - - - ssse3 cid sdbg fma cx16 xtpr - - pcid dca sse4_1 sse4_2 x2apic movbe popcnt - aes xsave - avx f16c rdrand "
    "hypervisor";
constexpr std::string_view kExtendedEcx =
    "lahf_lm cmp_legacy - extapic cr8_legacy abm sse4a misalignsse 3dnowprefetch osvw ibs xop - - - lwp fma4 tce - nodeid_msr - tbm topoext - - - bpext - - "
    "mwaitx";
constexpr std::string_view kStructuredEbx =
    "- tsc_adjust - bmi1 hle avx2 - smep bmi2 erms invpcid rtm cqm - mpx rdt_a avx512f avx512dq rdseed adx smap avx512ifma - clflushopt clwb - avx512pf "
    "avx512er avx512cd sha_ni avx512bw avx512vl";
constexpr std::string_view kStructuredEcx =
    "- avx512vbmi umip - - waitpkg avx512_vbmi2 - gfni vaes vpclmulqdq avx512_vnni avx512_bitalg - avx512_vpopcntdq - la57 - - - - - rdpid - "
    "bus_lock_detect cldemote - movdiri movdir64b";
constexpr std::string_view kStructuredEdx =
    "- - avx512_4vnniw avx512_4fmaps fsrm - - - avx512_vp2intersect - md_clear - - - serialize - tsxldtrk - - - - - amx_bf16 avx512_fp16 amx_tile "
    "amx_int8 - - flush_l1d arch_capabilities";
constexpr std::string_view kStructured1Eax = "sha512 sm3 sm4 - avx_vnni avx512_bf16 - - - - - - - - - - - - - - - amx_fp16 - avx_ifma";
constexpr std::string_view kStateEax = "xsaveopt xsavec xgetbv1 xsaves";
constexpr std::string_view kSizesEbx = "clzero irperf xsaveerptr - rdpru - - - - wbnoinvd";

void put_flags(TextSink& sink, uint32_t bits, std::string_view names) {
  for (; !names.empty(); bits >>= 1) {
    const std::string_view name = split_first(names, ' ');
    if ((bits & 1) && name != "-") format(sink, "{} ", name);
  }
}

struct Processor {
  uint32_t highest = 0, highest_extended = 0;
  uint32_t family = 0, model = 0, stepping = 0;
  char vendor[13] = {};
  char name[49] = {};
  uint64_t clock_khz = 0;
  uint64_t cache_kib = 0;
};

void identify(Processor& processor) {
  const Leaf first = cpuid(0);
  processor.highest = first.eax;
  const uint32_t vendor[3] = {first.ebx, first.edx, first.ecx};
  __builtin_memcpy(processor.vendor, vendor, sizeof vendor);
  const Leaf basic = cpuid(1);
  processor.stepping = basic.eax & 15;
  processor.model = basic.eax >> 4 & 15;
  processor.family = basic.eax >> 8 & 15;
  if (processor.family == 6 || processor.family == 15) processor.model |= basic.eax >> 12 & 0xf0;
  if (processor.family == 15) processor.family += basic.eax >> 20 & 0xff;
  processor.highest_extended = cpuid(0x80000000).eax;
  if (processor.highest_extended >= 0x80000004) {
    for (uint32_t i = 0; i < 3; ++i) {
      const Leaf part = cpuid(0x80000002 + i);
      __builtin_memcpy(processor.name + 16 * i, &part, 16);
    }
  }
}

uint64_t clock_khz(const Processor& processor) {
  if (processor.highest >= 0x16)
    if (const uint32_t mhz = cpuid(0x16).eax & 0xffff) return uint64_t{mhz} * 1000;
  // Counted for a moment: the counter runs at the nominal frequency.
  constexpr uint64_t kMomentNs = 200'000;
  const uint64_t from_ns = time::monotonic_ns(), from = time_stamp();
  uint64_t to_ns;
  do to_ns = time::monotonic_ns();
  while (to_ns - from_ns < kMomentNs);
  return (time_stamp() - from) * 1'000'000 / (to_ns - from_ns);
}

/// The largest cache: its level comes last in the list.
uint64_t cache_kib(const Processor& processor) {
  const bool is_amd = std::string_view(processor.vendor) == "AuthenticAMD";
  const uint32_t leaf = is_amd ? 0x8000001d : 4;
  if (leaf > (is_amd ? processor.highest_extended : processor.highest)) return 0;
  uint64_t kib = 0;
  for (uint32_t part = 0; part < 16; ++part) {
    const Leaf cache = cpuid(leaf, part);
    if ((cache.eax & 31) == 0) break;
    const uint64_t bytes = uint64_t{(cache.ebx >> 22) + 1} * ((cache.ebx >> 12 & 0x3ff) + 1) * ((cache.ebx & 0xfff) + 1) * (uint64_t{cache.ecx} + 1);
    kib = bytes / 1024;
  }
  return kib;
}

void put_all_flags(TextSink& sink, const Processor& processor) {
  const Leaf basic = cpuid(1);
  const Leaf extended = processor.highest_extended >= 0x80000001 ? cpuid(0x80000001) : Leaf{};
  const Leaf structured = processor.highest >= 7 ? cpuid(7) : Leaf{};
  const Leaf structured1 = processor.highest >= 7 && structured.eax >= 1 ? cpuid(7, 1) : Leaf{};
  const Leaf state = processor.highest >= 13 ? cpuid(13, 1) : Leaf{};
  const Leaf sizes = processor.highest_extended >= 0x80000008 ? cpuid(0x80000008) : Leaf{};
  const bool has_steady_counter = processor.highest_extended >= 0x80000007 && (cpuid(0x80000007).edx & 1 << 8);
  put_flags(sink, basic.edx, kBasicEdx);
  put_flags(sink, extended.edx, kExtendedEdx);
  if (has_steady_counter) sink.put("constant_tsc ");
  sink.put("rep_good nopl ");
  if (has_steady_counter) sink.put("nonstop_tsc ");
  sink.put("cpuid ");
  put_flags(sink, basic.ecx, kBasicEcx);
  put_flags(sink, extended.ecx, kExtendedEcx);
  put_flags(sink, structured.ebx, kStructuredEbx);
  put_flags(sink, state.eax, kStateEax);
  put_flags(sink, structured1.eax, kStructured1Eax);
  put_flags(sink, sizes.ebx, kSizesEbx);
  put_flags(sink, structured.ecx, kStructuredEcx);
  put_flags(sink, structured.edx, kStructuredEdx);
}

}  // namespace

Result<void> show_processors(const Context& context, TextSink& sink) {
  Processor processor;
  identify(processor);
  const uint64_t khz = clock_khz(processor);
  const uint64_t cache = cache_kib(processor);
  const uint32_t line = (cpuid(1).ebx >> 8 & 0xff) * 8;
  const Leaf sizes = processor.highest_extended >= 0x80000008 ? cpuid(0x80000008) : Leaf{36 | 48 << 8, 0, 0, 0};
  StringSink flags;
  put_all_flags(flags, processor);
  const String flag_text = TRY(flags.take());
  const unsigned cpus = context.kernel.options.cpus;
  for (unsigned cpu = 0; cpu < cpus; ++cpu) {
    format(sink, "processor\t: {}\nvendor_id\t: {}\ncpu family\t: {}\nmodel\t\t: {}\nmodel name\t: {}\nstepping\t: {}\n", cpu, processor.vendor,
           processor.family, processor.model, processor.name[0] ? trim(processor.name) : "unknown", processor.stepping);
    format(sink, "cpu MHz\t\t: {}.{03}\n", khz / 1000, khz % 1000);
    if (cache != 0) format(sink, "cache size\t: {} KB\n", cache);
    format(sink, "physical id\t: 0\nsiblings\t: {}\ncore id\t\t: {}\ncpu cores\t: {}\napicid\t\t: {}\ninitial apicid\t: {}\n", cpus, cpu, cpus, cpu, cpu);
    format(sink, "fpu\t\t: yes\nfpu_exception\t: yes\ncpuid level\t: {}\nwp\t\t: yes\nflags\t\t: {}\nbugs\t\t:\n", processor.highest, trim(flag_text.view()));
    format(sink, "bogomips\t: {}.{02}\nclflush size\t: {}\ncache_alignment\t: {}\naddress sizes\t: {} bits physical, {} bits virtual\npower management:\n\n",
           khz / 500, khz / 5 % 100, line, line, sizes.eax & 0xff, sizes.eax >> 8 & 0xff);
  }
  return {};
}

}  // namespace umk::proc

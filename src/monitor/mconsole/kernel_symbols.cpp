#include "monitor/mconsole/kernel_symbols.h"

#include <cxxabi.h>
#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <span>

namespace umk::monitor {

namespace {

/// A demangled name as names of C are shown: without parameters, and without the places that have no name.
std::string plain_name(std::string name) {
  constexpr std::string_view kNowhere = "(anonymous namespace)::";
  for (size_t place; (place = name.find(kNowhere)) != std::string::npos;) name.erase(place, kNowhere.size());
  int depth = 0;
  for (size_t i = 0; i < name.size(); ++i) {
    if (name[i] == '<') ++depth;
    if (name[i] == '>') --depth;
    if (name[i] == '(' && depth == 0) return name.substr(0, i);
  }
  return name;
}

/// By these an object's class is known.
bool is_table_of_class(const Elf64_Sym& symbol, std::string_view name) {
  return ELF64_ST_TYPE(symbol.st_info) == STT_OBJECT && name.starts_with("_ZTV");
}

}  // namespace

void KernelSymbols::load() {
  if (is_loaded_) return;
  is_loaded_ = true;
  const auto& header = *reinterpret_cast<const Elf64_Ehdr*>(image_);
  const std::span sections(reinterpret_cast<const Elf64_Shdr*>(image_ + header.e_shoff), header.e_shnum);
  for (const Elf64_Shdr& section : sections) {
    if (section.sh_type != SHT_SYMTAB || section.sh_link >= sections.size()) continue;
    const auto* const names = reinterpret_cast<const char*>(image_ + sections[section.sh_link].sh_offset);
    for (const Elf64_Sym& symbol :
         std::span(reinterpret_cast<const Elf64_Sym*>(image_ + section.sh_offset), section.sh_size / sizeof(Elf64_Sym)))
      if (ELF64_ST_TYPE(symbol.st_info) == STT_FUNC || is_table_of_class(symbol, names + symbol.st_name))
        symbols_.push_back({symbol.st_value, symbol.st_size, names + symbol.st_name});
  }
  std::sort(symbols_.begin(), symbols_.end(), [](const Symbol& a, const Symbol& b) { return a.address < b.address; });
}

std::string KernelSymbols::describe(uint64_t address) const {
  // A return address may lie behind the last instruction of its function.
  const auto after = std::upper_bound(symbols_.begin(), symbols_.end(), address - 1,
                                      [](uint64_t place, const Symbol& symbol) { return place < symbol.address; });
  if (after == symbols_.begin()) return {};
  const Symbol& symbol = *std::prev(after);
  if (address - symbol.address > symbol.bytes) return {};
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> plain(abi::__cxa_demangle(symbol.name, nullptr, nullptr, &status), std::free);
  return fmt::format("{}+{:#x}/{:#x}", status == 0 ? plain_name(plain.get()) : symbol.name, address - symbol.address, symbol.bytes);
}

std::string KernelSymbols::annotate(std::string_view text) {
  load();
  std::string result;
  constexpr std::string_view kOpen = "[<", kClose = ">]";
  for (;;) {
    const size_t start = text.find(kOpen);
    const size_t end = start == std::string_view::npos ? start : text.find(kClose, start);
    if (end == std::string_view::npos) return result.append(text);
    uint64_t address = 0;
    std::from_chars(text.data() + start + kOpen.size(), text.data() + end, address, 16);
    result.append(text.substr(0, end + kClose.size()));
    if (const std::string name = describe(address); !name.empty()) result.append(" ").append(name);
    text.remove_prefix(end + kClose.size());
  }
}

}  // namespace umk::monitor

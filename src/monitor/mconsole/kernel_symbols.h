// KernelSymbols: the names of the kernel image's functions, from the symbol table that umk carries.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace umk::monitor {

class KernelSymbols {
 public:
  /// Reads the table of an ELF image on first use; nothing is found in one without.
  explicit KernelSymbols(const unsigned char* image) : image_(image) {}

  /// Puts "name+offset/size" behind each "[<address>]" of a text.
  std::string annotate(std::string_view text);

 private:
  struct Symbol {
    uint64_t address, bytes;
    const char* name;
  };
  void load();
  std::string describe(uint64_t address) const;

  const unsigned char* image_;
  bool is_loaded_ = false;
  std::vector<Symbol> symbols_;
};

}  // namespace umk::monitor

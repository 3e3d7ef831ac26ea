#include "core/lib/elf/initial_stack.h"

#include "core/base/bits.h"

namespace umk::elf {

namespace {

constexpr size_t kWord = sizeof(uint64_t);
constexpr std::string_view kNoArguments[] = {""};

/// Bytes of strings with their zeroes; E2BIG as soon as they pass `limit`.
Result<uint64_t> string_bytes(std::span<const std::string_view> strings, uint64_t limit) {
  uint64_t total = 0;
  for (const std::string_view string : strings) {
    if (string.size() >= kMaximumArgumentBytes) return error(E2BIG);
    total += string.size() + 1;
    if (total > limit) return error(E2BIG);
  }
  return total;
}

/// Writes the stack from its low end up. There is room for all that is written, as computed before.
class Writer {
 public:
  Writer(std::span<std::byte> bytes, uint64_t address) : bytes_(bytes), address_(address) {}

  uint64_t address() const { return address_ + used_; }
  void skip_to(uint64_t address) { used_ = address - address_; }
  void put(const void* data, size_t size) {
    CHECK(size <= bytes_.size() - used_, "the stack was measured before it was written");
    __builtin_memcpy(bytes_.data() + used_, data, size);
    used_ += size;
  }
  void put_word(uint64_t word) { put(&word, sizeof word); }
  void put_string(std::string_view string) {
    if (!string.empty()) put(string.data(), string.size());
    put("", 1);
  }
  void put_auxiliary(uint64_t type, uint64_t value) {
    put_word(type);
    put_word(value);
  }

 private:
  std::span<std::byte> bytes_;
  uint64_t address_;
  size_t used_ = 0;
};

void put_pointers(Writer& writer, std::span<const std::string_view> strings, uint64_t address) {
  for (const std::string_view string : strings) {
    writer.put_word(address);
    address += string.size() + 1;
  }
  writer.put_word(0);
}

}  // namespace

Result<InitialStack> build_initial_stack(const StackContents& contents, uint64_t stack_top, uint64_t limit) {
  CHECK(is_aligned(stack_top, 16), "the stack's top is the caller's choice");
  const std::span<const std::string_view> arguments = contents.arguments.empty() ? std::span(kNoArguments) : contents.arguments;
  const std::span<const std::string_view> environment = contents.environment;

  // The pointers count, so that many short strings do not pass.
  const size_t most = limit / kWord;
  if (arguments.size() > most || environment.size() > most - arguments.size()) return error(E2BIG);
  const uint64_t strings_limit = limit - (arguments.size() + environment.size()) * kWord;
  const uint64_t name_size = TRY(string_bytes(std::span(&contents.executable_name, 1), strings_limit));
  const uint64_t environment_size = TRY(string_bytes(environment, strings_limit - name_size));
  const uint64_t arguments_size = TRY(string_bytes(arguments, strings_limit - name_size - environment_size));

  // Small and not the guest's: neither is part of the limit.
  const uint64_t platform_size = contents.platform.size() + 1;
  const uint64_t auxiliary_size = (contents.auxiliary.size() + 4) * sizeof(AuxiliaryEntry);
  const uint64_t pointers_size = (1 + arguments.size() + 1 + environment.size() + 1) * kWord;
  const uint64_t upper_size =
      round_up(kWord + name_size + environment_size + arguments_size + platform_size + contents.random.size(), 16);
  const uint64_t size = upper_size + round_up(pointers_size + auxiliary_size, 16);
  if (size > stack_top) return error(E2BIG);

  InitialStack stack;
  TRY(stack.bytes.resize(size));
  stack.stack_pointer = stack_top - size;
  const uint64_t name = stack_top - kWord - name_size;
  const uint64_t environment_start = name - environment_size;
  const uint64_t arguments_start = environment_start - arguments_size;
  const uint64_t platform = arguments_start - platform_size;
  const uint64_t random = platform - contents.random.size();
  stack.environment_strings = {environment_start, name};
  stack.argument_strings = {arguments_start, environment_start};

  Writer writer(stack.bytes, stack.stack_pointer);
  writer.put_word(arguments.size());
  put_pointers(writer, arguments, arguments_start);
  put_pointers(writer, environment, environment_start);
  stack.auxiliary_vector.start = writer.address();
  for (const AuxiliaryEntry& entry : contents.auxiliary) writer.put_auxiliary(entry.type, entry.value);
  writer.put_auxiliary(kAuxRandom, random);
  writer.put_auxiliary(kAuxExecutableName, name);
  writer.put_auxiliary(kAuxPlatform, platform);
  writer.put_auxiliary(kAuxNull, 0);
  stack.auxiliary_vector.end = writer.address();

  writer.skip_to(random);
  writer.put(contents.random.data(), contents.random.size());
  writer.put_string(contents.platform);
  for (const std::string_view string : arguments) writer.put_string(string);
  for (const std::string_view string : environment) writer.put_string(string);
  writer.put_string(contents.executable_name);
  return stack;
}

}  // namespace umk::elf

// Makes archives for tests, good ones and others.
#pragma once

#include <cstdint>
#include <cstdio>
#include <span>
#include <string>

namespace umk::cpio {

struct FakeEntry {
  std::string name;
  std::string data = {};
  uint32_t mode = 0100644;
  uint32_t inode = 1;
  uint32_t link_count = 1;
  std::string magic = "070701";
  uint32_t checksum = 0;
  size_t name_padding = 0;  // more zeroes as part of the name

  std::string bytes() const {
    char header[111];
    std::snprintf(header, sizeof header, "%s%08X%08X%08X%08x%08X%08X%08zX%08X%08X%08X%08X%08zX%08X", magic.c_str(), inode, mode, 1000u,
                  0xabcu, link_count, 0x12345678u, data.size(), 8u, 1u, 4u, 64u, name.size() + 1 + name_padding, checksum);
    return padded(padded(header + name + std::string(1 + name_padding, '\0')) + data);
  }
  static std::string padded(std::string text) {
    text.resize((text.size() + 3) / 4 * 4);
    return text;
  }
};

inline std::string fake_trailer() { return FakeEntry{.name = "TRAILER!!!", .mode = 0}.bytes(); }

inline std::span<const std::byte> as_bytes(const std::string& text) { return std::as_bytes(std::span(text)); }

}  // namespace umk::cpio

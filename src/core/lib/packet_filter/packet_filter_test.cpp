#include "core/lib/packet_filter/packet_filter.h"

#include <gtest/gtest.h>
#include <linux/filter.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <initializer_list>
#include <random>
#include <string>
#include <vector>

namespace umk::packet_filter {
namespace {

using Program = std::vector<sock_filter>;

Result<PacketFilter> make(const Program& program) {
  Vector<Instruction> copied;
  for (const sock_filter& it : program) EXPECT_TRUE(copied.push_back({it.code, it.jt, it.jf, it.k}).ok());
  return PacketFilter::create(std::move(copied));
}

/// What the host says of the same program: its socket keeps so many bytes, or -1 that it takes no such program.
int on_host(const Program& program, const std::string& packet) {
  std::array<int, 2> pair;
  EXPECT_EQ(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, pair.data()), 0);
  const sock_fprog given{static_cast<unsigned short>(program.size()), const_cast<sock_filter*>(program.data())};
  int kept = -1;
  if (setsockopt(pair[1], SOL_SOCKET, SO_ATTACH_FILTER, &given, sizeof given) == 0) {
    std::array<char, 256> buffer;
    EXPECT_TRUE(send(pair[0], packet.data(), packet.size(), 0) >= 0 || errno == EPERM);
    const ssize_t size = recv(pair[1], buffer.data(), buffer.size(), 0);
    kept = size < 0 ? 0 : static_cast<int>(size);
  }
  close(pair[0]);
  close(pair[1]);
  return kept;
}

int here(const Program& program, const std::string& packet) {
  const Result<PacketFilter> filter = make(program);
  if (!filter.ok()) return -1;
  const uint32_t kept = filter.value().run(std::as_bytes(std::span(packet)));
  return static_cast<int>(std::min<size_t>(kept, packet.size()));
}

const std::string kPacket = "libudev\xfe\xed\xca\xfe\x01\x02\x03\x04\x80\xff\x45";

TEST(PacketFilter, EveryInstructionDoesWhatItDoesOnTheHost) {
  // Each calculates something; the result, which may be large, is brought down to a length.
  const Program returns_a = {BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 15), BPF_STMT(BPF_RET | BPF_A, 0)};
  std::vector<Program> all;
  for (const unsigned size : {BPF_W, BPF_H, BPF_B})
    for (const unsigned offset : {0u, 7u, 15u, 16u, 17u, 18u, 0x7fffffffu}) {
      all.push_back({BPF_STMT(static_cast<uint16_t>(BPF_LD | size | BPF_ABS), offset)});
      all.push_back({BPF_STMT(BPF_LDX | BPF_IMM, 2), BPF_STMT(static_cast<uint16_t>(BPF_LD | size | BPF_IND), offset)});
    }
  all.push_back({BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 17), BPF_STMT(BPF_MISC | BPF_TXA, 0)});
  all.push_back({BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0)});
  all.push_back({BPF_STMT(BPF_LDX | BPF_W | BPF_LEN, 0), BPF_STMT(BPF_MISC | BPF_TXA, 0)});
  all.push_back({BPF_STMT(BPF_LD | BPF_IMM, 9), BPF_STMT(BPF_ST, 3), BPF_STMT(BPF_LD | BPF_IMM, 1), BPF_STMT(BPF_LD | BPF_MEM, 3)});
  all.push_back({BPF_STMT(BPF_LDX | BPF_IMM, 9), BPF_STMT(BPF_STX, 15), BPF_STMT(BPF_LDX | BPF_MEM, 15), BPF_STMT(BPF_MISC | BPF_TXA, 0)});
  all.push_back({BPF_STMT(BPF_LD | BPF_IMM, 9), BPF_STMT(BPF_MISC | BPF_TAX, 0), BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0)});
  for (const unsigned operation : {BPF_ADD, BPF_SUB, BPF_MUL, BPF_DIV, BPF_MOD, BPF_AND, BPF_OR, BPF_XOR, BPF_LSH, BPF_RSH})
    for (const unsigned operand : {0u, 1u, 3u, 31u, 32u, 0xffffffffu}) {
      all.push_back({BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 7), BPF_STMT(static_cast<uint16_t>(BPF_ALU | operation | BPF_K), operand)});
      if (operand < 32 || (operation != BPF_LSH && operation != BPF_RSH))
        all.push_back({BPF_STMT(BPF_LDX | BPF_IMM, operand), BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 7),
                       BPF_STMT(static_cast<uint16_t>(BPF_ALU | operation | BPF_X), 0)});
    }
  all.push_back({BPF_STMT(BPF_LD | BPF_IMM, 5), BPF_STMT(BPF_ALU | BPF_NEG, 0)});
  for (const unsigned operation : {BPF_JEQ, BPF_JGT, BPF_JGE, BPF_JSET})
    for (const unsigned operand : {4u, 5u, 6u, 0x80000005u}) {
      all.push_back({BPF_STMT(BPF_LD | BPF_IMM, 5), BPF_JUMP(static_cast<uint16_t>(BPF_JMP | operation | BPF_K), operand, 1, 0),
                     BPF_STMT(BPF_LD | BPF_IMM, 1)});
      all.push_back({BPF_STMT(BPF_LD | BPF_IMM, 5), BPF_STMT(BPF_LDX | BPF_IMM, operand),
                     BPF_JUMP(static_cast<uint16_t>(BPF_JMP | operation | BPF_X), 0, 0, 1), BPF_STMT(BPF_LD | BPF_IMM, 1)});
    }
  all.push_back({BPF_STMT(BPF_LD | BPF_IMM, 5), BPF_STMT(BPF_JMP | BPF_JA, 1), BPF_STMT(BPF_LD | BPF_IMM, 1)});
  for (Program& program : all) {
    program.insert(program.end(), returns_a.begin(), returns_a.end());
    EXPECT_EQ(here(program, kPacket), on_host(program, kPacket))
        << "first code " << program[0].code << ", second " << program[1].code << " " << program[1].k;
  }
}

TEST(PacketFilter, RefusesWhatTheHostRefuses) {
  const sock_filter done = BPF_STMT(BPF_RET | BPF_K, 100);
  const std::vector<Program> all = {
      {BPF_STMT(BPF_LD | BPF_IMM, 1)},
      {BPF_STMT(BPF_JMP | BPF_JA, 0), done},
      {BPF_STMT(BPF_JMP | BPF_JA, 1), done},
      {BPF_STMT(BPF_JMP | BPF_JA, 0xffffffff), done},
      {BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), done},
      {BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 1, 0), done},
      {BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), done, done},
      {BPF_STMT(BPF_ST, 16), done},
      {BPF_STMT(BPF_LD | BPF_MEM, 0), done},
      {BPF_STMT(BPF_ST, 0), BPF_STMT(BPF_LD | BPF_MEM, 0), done},
      {BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1), BPF_STMT(BPF_ST, 0), BPF_STMT(BPF_LD | BPF_MEM, 0), done},
      {BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 2), BPF_STMT(BPF_ST, 0), BPF_STMT(BPF_JMP | BPF_JA, 1), BPF_STMT(BPF_STX, 0),
       BPF_STMT(BPF_LD | BPF_MEM, 0), done},
      {done},
      Program(4096, done),
  };
  for (const Program& program : all)
    EXPECT_EQ(here(program, kPacket), on_host(program, kPacket)) << program.size() << " instructions, " << program[0].code;
  EXPECT_FALSE(make({}).ok());
  EXPECT_FALSE(make(Program(4097, done)).ok());
  // Every code there can be, with an operand that suits each.
  for (unsigned code = 0; code < 0x200; ++code) {
    const Program program = {BPF_STMT(BPF_ST, 1), BPF_JUMP(static_cast<uint16_t>(code), 1, 0, 0), done, done};
    EXPECT_EQ(here(program, kPacket), on_host(program, kPacket)) << code;
  }
  // Linux's own loads are not there.
  EXPECT_FALSE(make({BPF_STMT(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(SKF_AD_OFF + SKF_AD_PROTOCOL)), done}).ok());
}

TEST(PacketFilter, RandomProgramsEndAsOnTheHost) {
  std::mt19937 chance(1);
  const auto pick = [&](unsigned count) { return static_cast<uint32_t>(chance() % count); };
  int accepted = 0;
  for (int round = 0; round < 3000; ++round) {
    Program program;
    for (uint32_t count = 1 + pick(8); count > 0; --count)
      program.push_back(BPF_JUMP(static_cast<uint16_t>(pick(0x100)), pick(4) == 0 ? pick(1 << 30) : pick(20), static_cast<uint8_t>(pick(4)),
                                 static_cast<uint8_t>(pick(4))));
    program.push_back(BPF_STMT(pick(2) ? BPF_RET | BPF_K : BPF_RET | BPF_A, pick(32)));
    // How far a shift goes that is wider than a word is nobody's promise.
    bool shifts = false;
    for (const sock_filter& it : program)
      shifts |= BPF_CLASS(it.code) == BPF_ALU && BPF_SRC(it.code) == BPF_X && (BPF_OP(it.code) == BPF_LSH || BPF_OP(it.code) == BPF_RSH);
    if (shifts) continue;
    const int kept = here(program, kPacket);
    accepted += kept >= 0;
    EXPECT_EQ(kept, on_host(program, kPacket)) << "round " << round;
  }
  EXPECT_GT(accepted, 20);
}

}  // namespace
}  // namespace umk::packet_filter

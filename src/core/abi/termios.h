// Terminal settings as system calls carry them: TCGETS and its kin, ioctl_tty(2), termios(3).
//
// The kernel's structures differ from those of libc, which keeps 32 control characters and converts. The names are our own
// since the usual ones are macros of <termios.h>.
#pragma once

#include <cstddef>
#include <cstdint>

namespace umk {

inline constexpr size_t kControlCharacterCount = 19;

/// What TCGETS and TCSETS copy.
struct KernelTermios {
  uint32_t input_flags;
  uint32_t output_flags;
  uint32_t control_flags;
  uint32_t local_flags;
  uint8_t line;
  uint8_t control_characters[kControlCharacterCount];
};
static_assert(sizeof(KernelTermios) == 36);

/// What TCGETS2 and TCSETS2 copy: with free choice of speed (termios::kBother).
struct KernelTermios2 {
  uint32_t input_flags;
  uint32_t output_flags;
  uint32_t control_flags;
  uint32_t local_flags;
  uint8_t line;
  uint8_t control_characters[kControlCharacterCount];
  uint32_t input_speed;
  uint32_t output_speed;
};
static_assert(sizeof(KernelTermios2) == 44);

/// What the obsolete TCGETA and TCSETA copy.
struct KernelTermio {
  uint16_t input_flags;
  uint16_t output_flags;
  uint16_t control_flags;
  uint16_t local_flags;
  uint8_t line;
  uint8_t control_characters[8];
  uint8_t padding;
};
static_assert(sizeof(KernelTermio) == 18);

/// What TIOCGWINSZ and TIOCSWINSZ copy.
struct WindowSize {
  uint16_t rows;
  uint16_t columns;
  uint16_t width_pixels;
  uint16_t height_pixels;
};
static_assert(sizeof(WindowSize) == 8);

namespace termios {

// Indices of control_characters.
inline constexpr size_t kVintr = 0;
inline constexpr size_t kVquit = 1;
inline constexpr size_t kVerase = 2;
inline constexpr size_t kVkill = 3;
inline constexpr size_t kVeof = 4;
inline constexpr size_t kVtime = 5;
inline constexpr size_t kVmin = 6;
inline constexpr size_t kVswtc = 7;
inline constexpr size_t kVstart = 8;
inline constexpr size_t kVstop = 9;
inline constexpr size_t kVsusp = 10;
inline constexpr size_t kVeol = 11;
inline constexpr size_t kVreprint = 12;
inline constexpr size_t kVdiscard = 13;
inline constexpr size_t kVwerase = 14;
inline constexpr size_t kVlnext = 15;
inline constexpr size_t kVeol2 = 16;

/// A control character of this value is switched off.
inline constexpr uint8_t kDisabledCharacter = 0;

// input_flags
inline constexpr uint32_t kIgnbrk = 0x0001;
inline constexpr uint32_t kBrkint = 0x0002;
inline constexpr uint32_t kIgnpar = 0x0004;
inline constexpr uint32_t kParmrk = 0x0008;
inline constexpr uint32_t kInpck = 0x0010;
inline constexpr uint32_t kIstrip = 0x0020;
inline constexpr uint32_t kInlcr = 0x0040;
inline constexpr uint32_t kIgncr = 0x0080;
inline constexpr uint32_t kIcrnl = 0x0100;
inline constexpr uint32_t kIuclc = 0x0200;
inline constexpr uint32_t kIxon = 0x0400;
inline constexpr uint32_t kIxany = 0x0800;
inline constexpr uint32_t kIxoff = 0x1000;
inline constexpr uint32_t kImaxbel = 0x2000;
inline constexpr uint32_t kIutf8 = 0x4000;

// output_flags
inline constexpr uint32_t kOpost = 0x0001;
inline constexpr uint32_t kOlcuc = 0x0002;
inline constexpr uint32_t kOnlcr = 0x0004;
inline constexpr uint32_t kOcrnl = 0x0008;
inline constexpr uint32_t kOnocr = 0x0010;
inline constexpr uint32_t kOnlret = 0x0020;
inline constexpr uint32_t kOfill = 0x0040;
inline constexpr uint32_t kOfdel = 0x0080;
inline constexpr uint32_t kTabDelayMask = 0x1800;
inline constexpr uint32_t kXtabs = 0x1800;

// control_flags
inline constexpr uint32_t kBaudMask = 0x100f;
inline constexpr uint32_t kB0 = 0x0000;
inline constexpr uint32_t kB9600 = 0x000d;
inline constexpr uint32_t kB38400 = 0x000f;
inline constexpr uint32_t kB115200 = 0x1002;
inline constexpr uint32_t kBother = 0x1000;
inline constexpr uint32_t kCharacterSizeMask = 0x0030;
inline constexpr uint32_t kCs8 = 0x0030;
inline constexpr uint32_t kCstopb = 0x0040;
inline constexpr uint32_t kCread = 0x0080;
inline constexpr uint32_t kParenb = 0x0100;
inline constexpr uint32_t kParodd = 0x0200;
inline constexpr uint32_t kHupcl = 0x0400;
inline constexpr uint32_t kClocal = 0x0800;
inline constexpr uint32_t kCrtscts = 0x80000000;

// local_flags
inline constexpr uint32_t kIsig = 0x00001;
inline constexpr uint32_t kIcanon = 0x00002;
inline constexpr uint32_t kXcase = 0x00004;
inline constexpr uint32_t kEcho = 0x00008;
inline constexpr uint32_t kEchoe = 0x00010;
inline constexpr uint32_t kEchok = 0x00020;
inline constexpr uint32_t kEchonl = 0x00040;
inline constexpr uint32_t kNoflsh = 0x00080;
inline constexpr uint32_t kTostop = 0x00100;
inline constexpr uint32_t kEchoctl = 0x00200;
inline constexpr uint32_t kEchoprt = 0x00400;
inline constexpr uint32_t kEchoke = 0x00800;
inline constexpr uint32_t kFlusho = 0x01000;
inline constexpr uint32_t kPendin = 0x04000;
inline constexpr uint32_t kIexten = 0x08000;
inline constexpr uint32_t kExtproc = 0x10000;

// Requests of ioctl(2).
inline constexpr uint32_t kTcgets = 0x5401;
inline constexpr uint32_t kTcsets = 0x5402;
inline constexpr uint32_t kTcsetsw = 0x5403;
inline constexpr uint32_t kTcsetsf = 0x5404;
inline constexpr uint32_t kTcgeta = 0x5405;
inline constexpr uint32_t kTcseta = 0x5406;
inline constexpr uint32_t kTcsetaw = 0x5407;
inline constexpr uint32_t kTcsetaf = 0x5408;
inline constexpr uint32_t kTcsbrk = 0x5409;
inline constexpr uint32_t kTcxonc = 0x540a;
inline constexpr uint32_t kTcflsh = 0x540b;
inline constexpr uint32_t kTiocexcl = 0x540c;
inline constexpr uint32_t kTiocnxcl = 0x540d;
inline constexpr uint32_t kTiocsctty = 0x540e;
inline constexpr uint32_t kTiocgpgrp = 0x540f;
inline constexpr uint32_t kTiocspgrp = 0x5410;
inline constexpr uint32_t kTiocoutq = 0x5411;
inline constexpr uint32_t kTiocsti = 0x5412;
inline constexpr uint32_t kTiocgwinsz = 0x5413;
inline constexpr uint32_t kTiocswinsz = 0x5414;
inline constexpr uint32_t kTiocgsoftcar = 0x5419;
inline constexpr uint32_t kTiocssoftcar = 0x541a;
inline constexpr uint32_t kFionread = 0x541b;
inline constexpr uint32_t kTioccons = 0x541d;
inline constexpr uint32_t kTiocpkt = 0x5420;
inline constexpr uint32_t kFionbio = 0x5421;
inline constexpr uint32_t kTiocnotty = 0x5422;
inline constexpr uint32_t kTiocsetd = 0x5423;
inline constexpr uint32_t kTiocgetd = 0x5424;
inline constexpr uint32_t kTcsbrkp = 0x5425;
inline constexpr uint32_t kTiocsbrk = 0x5427;
inline constexpr uint32_t kTioccbrk = 0x5428;
inline constexpr uint32_t kTiocgsid = 0x5429;
inline constexpr uint32_t kTcgets2 = 0x802c542a;
inline constexpr uint32_t kTcsets2 = 0x402c542b;
inline constexpr uint32_t kTcsetsw2 = 0x402c542c;
inline constexpr uint32_t kTcsetsf2 = 0x402c542d;
inline constexpr uint32_t kTiocgptn = 0x80045430;
inline constexpr uint32_t kTiocsptlck = 0x40045431;
inline constexpr uint32_t kTiocgdev = 0x80045432;
inline constexpr uint32_t kTiocsig = 0x40045436;
inline constexpr uint32_t kTiocvhangup = 0x5437;
inline constexpr uint32_t kTiocgpkt = 0x80045438;
inline constexpr uint32_t kTiocgptlck = 0x80045439;
inline constexpr uint32_t kTiocgexcl = 0x80045440;
inline constexpr uint32_t kTiocglcktrmios = 0x5456;
inline constexpr uint32_t kTiocslcktrmios = 0x5457;
inline constexpr uint32_t kTiocgptpeer = 0x5441;

// Arguments of TCFLSH and of TCXONC.
inline constexpr int kTciflush = 0;
inline constexpr int kTcoflush = 1;
inline constexpr int kTcioflush = 2;
inline constexpr int kTcooff = 0;
inline constexpr int kTcoon = 1;
inline constexpr int kTcioff = 2;
inline constexpr int kTcion = 3;

// What a pseudo-terminal's master reads first in packet mode, TIOCPKT in ioctl_tty(2).
inline constexpr uint8_t kPacketData = 0x00;
inline constexpr uint8_t kPacketFlushRead = 0x01;
inline constexpr uint8_t kPacketFlushWrite = 0x02;
inline constexpr uint8_t kPacketStop = 0x04;
inline constexpr uint8_t kPacketStart = 0x08;
inline constexpr uint8_t kPacketNoStop = 0x10;
inline constexpr uint8_t kPacketDoStop = 0x20;
inline constexpr uint8_t kPacketIoctl = 0x40;

/// The settings that a new terminal starts with: canonical, echoing, with signals.
inline constexpr KernelTermios kDefaults = {
    .input_flags = kIcrnl | kIxon,
    .output_flags = kOpost | kOnlcr,
    .control_flags = kB38400 | kCs8 | kCread | kHupcl,
    .local_flags = kIsig | kIcanon | kEcho | kEchoe | kEchok | kEchoctl | kEchoke | kIexten,
    .line = 0,
    // ^C ^\ DEL ^U ^D time min swtc ^Q ^S ^Z eol ^R ^O ^W ^V eol2
    .control_characters = {3, 28, 127, 21, 4, 0, 1, 0, 17, 19, 26, 0, 18, 15, 23, 22, 0, 0, 0},
};

}  // namespace termios
}  // namespace umk

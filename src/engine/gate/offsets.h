// Numbers that assembly and C++ share. Each is checked against the C++ layout in bundle.h.
#pragma once

// A bundle: 64 KiB aligned, the kernel stack at its end.
#define UMK_BUNDLE_BYTES 65536
// KernelStackHead
#define UMK_HEAD_SELECTOR 8
#define UMK_HEAD_INTERRUPTS 20
// Bundle, after the head
#define UMK_BUNDLE_GUEST_GS 128
#define UMK_BUNDLE_GUEST_GS_FLAG 136
// The guest's registers end 8 bytes below the end of the bundle, so that the block is 16-byte aligned.
#define UMK_REGISTERS_BYTES 168
#define UMK_REGISTERS_OFFSET (UMK_BUNDLE_BYTES - 8 - UMK_REGISTERS_BYTES)

// struct Registers
#define UMK_R15 0
#define UMK_R14 8
#define UMK_R13 16
#define UMK_R12 24
#define UMK_RBP 32
#define UMK_RBX 40
#define UMK_R11 48
#define UMK_R10 56
#define UMK_R9 64
#define UMK_R8 72
#define UMK_RAX 80
#define UMK_RCX 88
#define UMK_RDX 96
#define UMK_RSI 104
#define UMK_RDI 112
#define UMK_ORIG_RAX 120
#define UMK_RIP 128
#define UMK_CS 136
#define UMK_EFLAGS 144
#define UMK_RSP 152
#define UMK_SS 160

// A slot: the register save area of one thread, found through the GS base.
#define UMK_SLOT_BYTES 256
#define UMK_SLOT_KERNEL_RSP 0
#define UMK_SLOT_USER_RSP 8

// Selectors of Linux's 64-bit user mode.
#define UMK_USER_CS 0x33
#define UMK_USER_SS 0x2b

#define UMK_EFLAGS_TF 0x100
#define UMK_EFLAGS_DF 0x400
#define UMK_EFLAGS_NT 0x4000
#define UMK_EFLAGS_AC 0x40000
// What kernel code must not run with, and what the fast exit does not restore: single-stepping, direction, nested task (iretq refuses it), alignment checks.
#define UMK_EFLAGS_SPECIAL (UMK_EFLAGS_TF | UMK_EFLAGS_DF | UMK_EFLAGS_NT | UMK_EFLAGS_AC)

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
// With the shield: the guest's registers that opening and closing the kernel's memory need, a mark that they are new, and the frame of an iretq.
#define UMK_SLOT_RAX 16
#define UMK_SLOT_RCX 24
#define UMK_SLOT_RDX 32
#define UMK_SLOT_ARRIVED 40
#define UMK_SLOT_FRAME 64

// A selector line, what the gate knows of one host thread: the selector byte, whether the thread is in the kernel, whether a signal handler
// sent it to the interrupt entry, the stack to enter on, its slot, and where a signal frame of the host lies on its alternate stack.
#define UMK_LINE_SELECTOR 0
#define UMK_LINE_IN_KERNEL 1
#define UMK_LINE_REDIRECTED 2
#define UMK_LINE_KERNEL_RSP 8
#define UMK_LINE_SLOT 16
#define UMK_LINE_SIGNAL_FRAME 24

// The vessel page: the line of the only thread, else 0; then the lines of threads by their identity, which counts from 1.
#define UMK_VESSEL_ONLY_LINE 0
#define UMK_IDENTITY_MAXIMUM 2048
// The thread's own entry in the processor's descriptor table whose limit is its identity: number 12, the first of three that Linux has for programs.
#define UMK_IDENTITY_ENTRY 12
#define UMK_IDENTITY_SELECTOR 0x63

// Protection keys: the kernel's memory, and the selector lines, which guests may read. PKRU has two bits a key, 1 no access, 2 no writing; keys
// that nobody uses stay closed.
#define UMK_KERNEL_KEY 1
#define UMK_SELECTOR_KEY 2
#define UMK_PKRU_KERNEL 0x55555540
#define UMK_PKRU_GUEST 0x55555564

// struct ucontext of the host's signal frame: its bytes, after which the siginfo lies.
#define UMK_HOST_UCONTEXT_BYTES 304

// Selectors of Linux's 64-bit user mode.
#define UMK_USER_CS 0x33
#define UMK_USER_SS 0x2b

#define UMK_EFLAGS_TF 0x100
#define UMK_EFLAGS_DF 0x400
#define UMK_EFLAGS_NT 0x4000
#define UMK_EFLAGS_AC 0x40000
// What kernel code must not run with, and what the fast exit does not restore: single-stepping, direction, nested task (iretq refuses it), alignment checks.
#define UMK_EFLAGS_SPECIAL (UMK_EFLAGS_TF | UMK_EFLAGS_DF | UMK_EFLAGS_NT | UMK_EFLAGS_AC)

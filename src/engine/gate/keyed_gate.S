// The gate behind the shield: as gate.S, with the kernel's memory opened at each entry and closed at each exit.
//
// A guest can jump to any byte of this with any register, flag and GS base, and can run it with the kernel's memory closed. So
//   - each WRPKRU is followed by a test that it loaded what it was meant to;
//   - who the thread is comes from its identity (vessel/identity.h), and everything else from its line and its bundle, never from the slot;
//   - in the slot are only the guest's own registers, read with no more meaning than that;
//   - `in_kernel` says where a thread is. It is set as soon as the memory is open and the line known, and cleared before the memory is closed.
//     What goes wrong with it clear is the guest's doing: the signal handler ends the guest's process (host_signals.cpp);
//   - from where an entry begins to open the memory to where `in_kernel` is set it can be begun again, at any instruction. A signal that lands there does
//     that, because a guest that jumped between the two would else go on with the memory closed and its host calls let through.
#include "engine/gate/offsets.h"
#include "engine/gate/unwind.inc"

        .cfi_sections .debug_frame

// Opens the kernel's memory: eax, ecx, edx and the flags are lost.
        .macro  open_kernel
        xorl    %ecx, %ecx
        xorl    %edx, %edx
        movl    $UMK_PKRU_KERNEL, %eax
        wrpkru
        cmpl    $UMK_PKRU_KERNEL, %eax
        jne     umk_keyed_gate_refused
        .endm

// rcx = this thread's line; rdx and the flags are lost. An empty descriptor leaves the zero flag clear.
        .macro  find_line
        movq    umk_vessel_page + UMK_VESSEL_ONLY_LINE(%rip), %rcx
        testq   %rcx, %rcx
        jnz     .Lfound\@
        movl    $UMK_IDENTITY_SELECTOR, %ecx
        lsll    %ecx, %ecx
        jnz     umk_keyed_gate_refused
        cmpl    $UMK_IDENTITY_MAXIMUM, %ecx
        ja      umk_keyed_gate_refused
        leaq    umk_vessel_page(%rip), %rdx
        movq    (%rdx,%rcx,8), %rcx
.Lfound\@:
        .endm

// rcx = line: from here on the thread is in the kernel, once, and its host calls are not let through.
        .macro  enter_kernel
        movb    $1, %al
        xchgb   %al, UMK_LINE_IN_KERNEL(%rcx)
        testb   %al, %al
        jnz     umk_keyed_gate_refused
        movb    $1, UMK_LINE_SELECTOR(%rcx)
        .endm

        .section .umk.gate, "ax", @progbits
        .balign 64
        .globl  umk_keyed_gate_start
        .hidden umk_keyed_gate_start
umk_keyed_gate_start:

// A system call: rcx is the address after the syscall instruction, r11 is free, all else is the guest's.
        .globl  umk_keyed_gate_entry
        .hidden umk_keyed_gate_entry
        .type   umk_keyed_gate_entry, @function
umk_keyed_gate_entry:
        movq    %rax, %gs:UMK_SLOT_RAX
        .globl  umk_keyed_gate_entered
        .hidden umk_keyed_gate_entered
umk_keyed_gate_entered:
        lahf                            // what follows loses the arithmetic flags, and the guest's stack is no place to push to
        seto    %al
        movzwl  %ax, %r11d
        movq    %rcx, %gs:UMK_SLOT_RCX
        movq    %rdx, %gs:UMK_SLOT_RDX
        movq    %rsp, %gs:UMK_SLOT_USER_RSP
        movq    $1, %gs:UMK_SLOT_ARRIVED
        .globl  umk_keyed_gate_opens
        .hidden umk_keyed_gate_opens
umk_keyed_gate_opens:
        open_kernel
        find_line
        enter_kernel
        .globl  umk_keyed_gate_opened
        .hidden umk_keyed_gate_opened
umk_keyed_gate_opened:
        movq    UMK_LINE_SLOT(%rcx), %rdx
        btrq    $0, UMK_SLOT_ARRIVED(%rdx)
        jnc     umk_keyed_gate_astray   // a GS base that is not ours: the registers were saved elsewhere
        movq    UMK_LINE_KERNEL_RSP(%rcx), %rsp
        pushq   $UMK_USER_SS
        pushq   UMK_SLOT_USER_RSP(%rdx)
        pushfq
        pushq   $UMK_USER_CS
        movq    UMK_SLOT_RCX(%rdx), %rcx
        pushq   %rcx                    // rip
        pushq   UMK_SLOT_RAX(%rdx)      // orig_rax
        pushq   %rdi
        pushq   %rsi
        pushq   UMK_SLOT_RDX(%rdx)
        pushq   %rcx
        pushq   $-38                    // rax: ENOSYS until the call answers
        pushq   %r8
        pushq   %r9
        pushq   %r10
        // The guest's flags: carry, parity, adjust, zero and sign from ah, overflow from al, the rest as they still are.
        movzbl  %r11b, %eax
        shll    $11, %eax
        shrl    $8, %r11d
        andl    $0xd5, %r11d
        orl     %r11d, %eax
        movl    UMK_EFLAGS - UMK_R10(%rsp), %r11d
        andl    $~0x8d5, %r11d
        orl     %eax, %r11d
        movl    %r11d, UMK_EFLAGS - UMK_R10(%rsp)
        pushq   %r11
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        testl   $UMK_EFLAGS_SPECIAL, %r11d
        jnz     umk_keyed_gate_clean_flags
umk_keyed_gate_call:
        movq    %rsp, %rdi
        xorl    %ebp, %ebp              // the backtrace ends here
        UMK_CALL_WITH_REGISTERS umk_enter_system_call
        testb   %al, %al
        jnz     umk_keyed_gate_exit_full

// The fast exit. Once the memory is closed the rest of the guest's registers come from the slot.
        movq    %rsp, %rbx
        andq    $-UMK_BUNDLE_BYTES, %rbx
        movq    UMK_HEAD_SELECTOR(%rbx), %rdx
        .globl  umk_keyed_gate_exit_begin
        .hidden umk_keyed_gate_exit_begin
umk_keyed_gate_exit_begin:
        movb    $0, UMK_LINE_IN_KERNEL(%rdx)
        // From here on a kick begins the exit again. Host calls are closed only now: a kick before returns with them let through.
        movb    $1, UMK_LINE_SELECTOR(%rdx)
        cmpl    $0, UMK_HEAD_INTERRUPTS(%rbx)
        jne     umk_keyed_gate_exit_again
        movq    UMK_LINE_SLOT(%rdx), %rcx
        movq    UMK_RAX(%rsp), %rax
        movq    %rax, UMK_SLOT_RAX(%rcx)
        movq    UMK_RDX(%rsp), %rdx
        movq    %rdx, UMK_SLOT_RDX(%rcx)
        movq    UMK_RIP(%rsp), %rax
        movq    %rax, UMK_SLOT_RCX(%rcx)
        movq    UMK_RSP(%rsp), %rdx
        movq    %rdx, UMK_SLOT_USER_RSP(%rcx)
        movq    UMK_RBP(%rsp), %rbp
        movq    UMK_RBX(%rsp), %rbx
        movq    UMK_R10(%rsp), %r10
        movq    UMK_R9(%rsp), %r9
        movq    UMK_R8(%rsp), %r8
        movq    UMK_RSI(%rsp), %rsi
        movq    UMK_RDI(%rsp), %rdi
        movq    UMK_EFLAGS(%rsp), %r11
        movl    %r11d, %edx
        movl    %r11d, %eax
        shrl    $11, %eax               // overflow flag
        andl    $1, %eax
        movb    %dl, %ah                // sign, zero, adjust, parity, carry
        addb    $0x7f, %al              // 1 overflows
        sahf                            // leaves overflow alone; nothing below touches the flags
        movq    %rcx, %rsp
        movl    $0, %ecx
        movl    $0, %edx
        movl    $UMK_PKRU_GUEST, %eax
        wrpkru
        leaq    -UMK_PKRU_GUEST(%rax), %rcx
        jrcxz   1f
        ud2
1:      movq    UMK_SLOT_RAX(%rsp), %rax
        movq    UMK_SLOT_RDX(%rsp), %rdx
        movq    UMK_SLOT_RCX(%rsp), %rcx
        movq    UMK_SLOT_USER_RSP(%rsp), %rsp
        jmp     *%rcx

// The full exit: every register, by an iretq whose frame lies in the slot.
umk_keyed_gate_exit_full:
        movq    %rsp, %rbx
        andq    $-UMK_BUNDLE_BYTES, %rbx
        movq    UMK_HEAD_SELECTOR(%rbx), %rdx
        movb    $0, UMK_LINE_IN_KERNEL(%rdx)
        movb    $1, UMK_LINE_SELECTOR(%rdx)
        cmpl    $0, UMK_HEAD_INTERRUPTS(%rbx)
        jne     umk_keyed_gate_exit_again
        movq    UMK_LINE_SLOT(%rdx), %rdx
        // A guest that uses the GS base gets its own back; the slot is found again by the trap handler.
        cmpb    $0, UMK_BUNDLE_GUEST_GS_FLAG(%rbx)
        je      1f
        movq    UMK_BUNDLE_GUEST_GS(%rbx), %rcx
        wrgsbase %rcx
1:      movq    UMK_RAX(%rsp), %rax
        movq    %rax, UMK_SLOT_RAX(%rdx)
        movq    UMK_RCX(%rsp), %rax
        movq    %rax, UMK_SLOT_RCX(%rdx)
        movq    UMK_RDX(%rsp), %rax
        movq    %rax, UMK_SLOT_RDX(%rdx)
        movq    UMK_RIP(%rsp), %rax
        movq    %rax, UMK_SLOT_FRAME(%rdx)
        movq    $UMK_USER_CS, UMK_SLOT_FRAME + 8(%rdx)
        movq    UMK_EFLAGS(%rsp), %rax
        movq    %rax, UMK_SLOT_FRAME + 16(%rdx)
        movq    UMK_RSP(%rsp), %rax
        movq    %rax, UMK_SLOT_FRAME + 24(%rdx)
        movq    $UMK_USER_SS, UMK_SLOT_FRAME + 32(%rdx)
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        popq    %r11
        popq    %r10
        popq    %r9
        popq    %r8
        addq    $(UMK_RSI - UMK_RAX), %rsp
        popq    %rsi
        popq    %rdi
        movq    %rdx, %rsp
        xorl    %ecx, %ecx
        xorl    %edx, %edx
        movl    $UMK_PKRU_GUEST, %eax
        wrpkru
        cmpl    $UMK_PKRU_GUEST, %eax
        jne     umk_keyed_gate_refused
        movq    UMK_SLOT_RAX(%rsp), %rax
        movq    UMK_SLOT_RCX(%rsp), %rcx
        movq    UMK_SLOT_RDX(%rsp), %rdx
        addq    $UMK_SLOT_FRAME, %rsp
        iretq

// Work is pending: rsp is the register block, rdx the line.
umk_keyed_gate_exit_again:
        movb    $1, UMK_LINE_IN_KERNEL(%rdx)
        .globl  umk_keyed_gate_exit_end
        .hidden umk_keyed_gate_exit_end
umk_keyed_gate_exit_end:
        movq    %rsp, %rdi
        xorl    %ebp, %ebp
        UMK_CALL_WITH_REGISTERS umk_handle_pending
        jmp     umk_keyed_gate_exit_full

umk_keyed_gate_clean_flags:
        pushq   $2
        popfq
        jmp     umk_keyed_gate_call

// void umk_keyed_leave_to_guest(Registers*)
        .globl  umk_keyed_leave_to_guest
        .hidden umk_keyed_leave_to_guest
umk_keyed_leave_to_guest:
        movq    %rdi, %rsp
        jmp     umk_keyed_gate_exit_full

// A fault or a kick in guest code, whose registers the handler put into the register block. The handler's mark is taken: without it nobody was sent here.
        .globl  umk_keyed_gate_interrupt
        .hidden umk_keyed_gate_interrupt
umk_keyed_gate_interrupt:
        open_kernel
        find_line
        enter_kernel
        .globl  umk_keyed_gate_interrupted
        .hidden umk_keyed_gate_interrupted
umk_keyed_gate_interrupted:
        xorl    %eax, %eax
        xchgb   %al, UMK_LINE_REDIRECTED(%rcx)
        testb   %al, %al
        jz      umk_keyed_gate_expelled
        movq    UMK_LINE_KERNEL_RSP(%rcx), %rsp
        subq    $UMK_REGISTERS_BYTES, %rsp
        pushq   $2                      // the host's sigreturn has left NT as the guest had it
        popfq
        movq    %rsp, %rdi
        xorl    %ebp, %ebp
        UMK_CALL_WITH_REGISTERS umk_enter_interrupt
        jmp     umk_keyed_gate_exit_full

// The host's signal handler. The host delivers with the kernel's memory closed, on the alternate stack that lies in it. Only a frame at the one place
// of this thread, whose return address the host wrote and nobody has taken yet, is one: what it says is read from it, not from the registers.
        .globl  umk_keyed_signal_entry
        .hidden umk_keyed_signal_entry
umk_keyed_signal_entry:
        open_kernel
        find_line
        cmpq    %rsp, UMK_LINE_SIGNAL_FRAME(%rcx)
        jne     umk_keyed_gate_refused
        xorl    %eax, %eax
        xchgq   %rax, (%rsp)
        leaq    umk_signal_restorer(%rip), %rdx
        cmpq    %rdx, %rax
        jne     umk_keyed_gate_refused
        leaq    8(%rsp), %rdx
        leaq    8 + UMK_HOST_UCONTEXT_BYTES(%rsp), %rsi
        movl    (%rsi), %edi
        jmp     umk_signal_entry

// Who set the GS base by an instruction: the signal handler finds the registers where that leads, and the call begins again.
umk_keyed_gate_astray:
        movb    $0, UMK_LINE_IN_KERNEL(%rcx)
        .globl  umk_keyed_gate_lost
        .hidden umk_keyed_gate_lost
umk_keyed_gate_lost:
        ud2

umk_keyed_gate_expelled:
        movb    $0, UMK_LINE_IN_KERNEL(%rcx)
umk_keyed_gate_refused:
        ud2

        .globl  umk_keyed_gate_end
        .hidden umk_keyed_gate_end
umk_keyed_gate_end:

        .section .note.GNU-stack, "", @progbits

// The gate: how guest code enters the kernel by a jump, and how the kernel leaves to guest code.
//
// All of this lies between umk_gate_start and umk_gate_end. A host signal that lands here is a matter of its own (gate rules in
// host_signals.cpp): during entry nothing is lost by doing nothing, since the exit looks for pending work; between the last look and
// the jump to the guest the exit is begun again from the register block, which stays intact on the kernel stack.
#include "engine/gate/offsets.h"
#include "engine/gate/unwind.inc"

        .cfi_sections .debug_frame

        .section .umk.gate, "ax", @progbits
        .balign 64
        .globl  umk_gate_start
        .hidden umk_gate_start
umk_gate_start:

// A system call. Trampolines of patched call sites jump here, and the SIGSYS handler redirects trapped calls here.
//   rcx      the address after the syscall instruction, as the processor leaves it
//   r11      anything (the processor would leave the flags there)
//   others   the guest's; vector registers too, all through the kernel
        .globl  umk_gate_entry
        .hidden umk_gate_entry
        .type   umk_gate_entry, @function
umk_gate_entry:
        movq    %rsp, %gs:UMK_SLOT_USER_RSP
        movq    %gs:UMK_SLOT_KERNEL_RSP, %rsp
        pushq   $UMK_USER_SS
        .globl  umk_gate_entered
        .hidden umk_gate_entered
umk_gate_entered:
        pushq   %gs:UMK_SLOT_USER_RSP
        pushfq
        pushq   $UMK_USER_CS
        pushq   %rcx
        pushq   %rax                    // orig_rax
        pushq   %rdi
        pushq   %rsi
        pushq   %rdx
        pushq   %rcx
        pushq   $-38                    // rax: ENOSYS until the call answers
        pushq   %r8
        pushq   %r9
        pushq   %r10
        movq    UMK_EFLAGS - UMK_R10(%rsp), %r11
        pushq   %r11
        pushq   %rbx
        pushq   %rbp
        pushq   %r12
        pushq   %r13
        pushq   %r14
        pushq   %r15
        testl   $UMK_EFLAGS_SPECIAL, %r11d
        jnz     umk_gate_clean_flags
umk_gate_call:
        movq    %rsp, %rdi
        xorl    %ebp, %ebp              // the backtrace ends here
        UMK_CALL_WITH_REGISTERS umk_enter_system_call
        testb   %al, %al
        jnz     umk_gate_exit_full

// The fast exit: as sysret, rcx and r11 are lost; the callee-saved registers are still the guest's, by the C++ ABI. Of the flags only those
// of arithmetic can have changed, as a guest with any of UMK_EFLAGS_SPECIAL leaves by the full exit; popfq would cost more than all the rest.
        .globl  umk_gate_exit_fast
        .hidden umk_gate_exit_fast
umk_gate_exit_fast:
        movq    %rsp, %rbx
        andq    $-UMK_BUNDLE_BYTES, %rbx
        movq    UMK_HEAD_SELECTOR(%rbx), %rdx
        movb    $1, (%rdx)              // block
        // From here on a kick restarts the exit (host_signals.cpp).
        .globl  umk_gate_exit_begin
        .hidden umk_gate_exit_begin
umk_gate_exit_begin:
        cmpl    $0, UMK_HEAD_INTERRUPTS(%rbx)
        jne     umk_gate_exit_again
        movl    UMK_EFLAGS(%rsp), %ecx
        movl    %ecx, %eax
        shrl    $11, %eax               // overflow flag
        andl    $1, %eax
        movb    %cl, %ah                // sign, zero, adjust, parity, carry
        addb    $0x7f, %al              // 1 overflows
        sahf                            // leaves overflow alone
        movq    UMK_RBP(%rsp), %rbp
        movq    UMK_RBX(%rsp), %rbx
        movq    UMK_R10(%rsp), %r10
        movq    UMK_R9(%rsp), %r9
        movq    UMK_R8(%rsp), %r8
        movq    UMK_RAX(%rsp), %rax
        movq    UMK_RDX(%rsp), %rdx
        movq    UMK_RSI(%rsp), %rsi
        movq    UMK_RDI(%rsp), %rdi
        movq    UMK_RIP(%rsp), %rcx
        movq    UMK_EFLAGS(%rsp), %r11
        movq    UMK_RSP(%rsp), %rsp
        jmp     *%rcx

// The full exit: every register is restored, whatever the guest's state is; GS is not needed. Single-stepping starts right after iretq.
        .globl  umk_gate_exit_full
        .hidden umk_gate_exit_full
umk_gate_exit_full:
        movq    %rsp, %rbx
        andq    $-UMK_BUNDLE_BYTES, %rbx
        movq    UMK_HEAD_SELECTOR(%rbx), %rdx
        movb    $1, (%rdx)
umk_gate_exit_full_begin:
        cmpl    $0, UMK_HEAD_INTERRUPTS(%rbx)
        jne     umk_gate_exit_again
        // A guest that uses the GS base gets its own back; the slot is found again by the trap handler.
        cmpb    $0, UMK_BUNDLE_GUEST_GS_FLAG(%rbx)
        je      1f
        movq    UMK_BUNDLE_GUEST_GS(%rbx), %rdx
        wrgsbase %rdx
1:      popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbp
        popq    %rbx
        popq    %r11
        popq    %r10
        popq    %r9
        popq    %r8
        popq    %rax
        popq    %rcx
        popq    %rdx
        popq    %rsi
        popq    %rdi
        addq    $8, %rsp
        iretq
        .globl  umk_gate_exit_end
        .hidden umk_gate_exit_end
umk_gate_exit_end:

// Work is pending: rsp is the register block. Handles it and leaves by the full exit.
umk_gate_exit_again:
        movq    %rsp, %rdi
        xorl    %ebp, %ebp
        UMK_CALL_WITH_REGISTERS umk_handle_pending
        jmp     umk_gate_exit_full

umk_gate_clean_flags:
        pushq   $2
        popfq
        jmp     umk_gate_call

// Leaves to a guest whose registers were made by the kernel: void umk_leave_to_guest(Registers*).
        .globl  umk_leave_to_guest
        .hidden umk_leave_to_guest
umk_leave_to_guest:
        movq    %rdi, %rsp
        jmp     umk_gate_exit_full

// A fault or a kick in guest code: the handler has filled the register block and set rsp to it, rdi too.
        .globl  umk_gate_interrupt
        .hidden umk_gate_interrupt
umk_gate_interrupt:
        pushq   $2                      // the host's sigreturn has left NT as the guest had it
        popfq
        xorl    %ebp, %ebp
        UMK_CALL_WITH_REGISTERS umk_enter_interrupt
        jmp     umk_gate_exit_full

        .globl  umk_gate_end
        .hidden umk_gate_end
umk_gate_end:

        .text
// void umk_switch_stack(uint64_t* save_rsp, uint64_t load_rsp): leaves this kernel context and continues the one whose saved
// stack pointer is given. Callee-saved registers live on the stack meanwhile.
        .globl  umk_switch_stack
        .hidden umk_switch_stack
        .type   umk_switch_stack, @function
umk_switch_stack:
        .cfi_startproc
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbp, 0
        pushq   %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %rbx, 0
        pushq   %r12
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r12, 0
        pushq   %r13
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r13, 0
        pushq   %r14
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r14, 0
        pushq   %r15
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset %r15, 0
        movq    %rsp, (%rdi)
        movq    %rsi, %rsp
        movq    $-4096, %rax            // what a host call returns that is continued here: lost (core/host/image/raw_call.cpp)
        popq    %r15
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r15
        popq    %r14
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r14
        popq    %r13
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r13
        popq    %r12
        .cfi_adjust_cfa_offset -8
        .cfi_restore %r12
        popq    %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbx
        popq    %rbp
        .cfi_adjust_cfa_offset -8
        .cfi_restore %rbp
        ret
        .cfi_endproc

// First return of a context made by make_context(): r12 holds the function, r13 its argument.
        .globl  umk_context_start
        .hidden umk_context_start
umk_context_start:
        .cfi_startproc
        .cfi_undefined %rip             // the outermost frame
        movq    %r13, %rdi
        xorl    %ebp, %ebp
        call    *%r12
        ud2
        .cfi_endproc

// int64_t umk_clone(flags, child_rsp, parent_tid, child_tid, tls): the child continues at the context whose saved stack
// pointer is child_rsp (as umk_switch_stack would), with its selector not yet dispatched.
        .globl  umk_clone
        .hidden umk_clone
        .type   umk_clone, @function
umk_clone:
        pushq   %rbp
        movq    %rsp, %rbp
        pushq   %rbx
        movq    %rsp, %rbx
        andq    $-UMK_BUNDLE_BYTES, %rbx
        movq    UMK_HEAD_SELECTOR(%rbx), %rbx
        movq    %rcx, %r10
        movl    $56, %eax
        movb    $0, (%rbx)
        .globl  umk_clone_instruction
        .hidden umk_clone_instruction
umk_clone_instruction:
        syscall
        testq   %rax, %rax
        jz      1f
        movb    $1, (%rbx)
        popq    %rbx
        popq    %rbp
        ret
        // The child's first touch of its kernel stack is a read: a read fault on a shared page brings its neighbours too.
1:      movq    (%rsp), %r15
        popq    %r15
        popq    %r14
        popq    %r13
        popq    %r12
        popq    %rbx
        popq    %rbp
        ret

// void umk_exit_thread(uint8_t* selector, int status): ends the host thread without touching any stack.
        .globl  umk_exit_thread
        .hidden umk_exit_thread
umk_exit_thread:
        movb    $0, (%rdi)
        movl    %esi, %edi
        movl    $60, %eax
        .globl  umk_exit_thread_instruction
        .hidden umk_exit_thread_instruction
umk_exit_thread_instruction:
        syscall
        ud2

// The host's signal handler: runs on the alternate stack of this host thread, which lies in the thread's own bundle.
        .globl  umk_signal_entry
        .hidden umk_signal_entry
umk_signal_entry:
        pushfq                          // the host keeps the guest's AC flag for handlers
        andl    $~(UMK_EFLAGS_AC | UMK_EFLAGS_DF | UMK_EFLAGS_TF), (%rsp)
        popfq                           // NT and ID stay: sigreturn does not bring them back
        movq    %rsp, %rbx              // the frame begins with the restorer's address
        movq    %rdx, %r12              // ucontext
        subq    $8, %rsp
        xorl    %ebp, %ebp
        call    umk_host_signal
        // rt_sigreturn by ourselves: the selector is opened for it; whatever runs next in the kernel closes it before the guest runs.
        leaq    8(%rbx), %rsp
        andq    $-UMK_BUNDLE_BYTES, %rbx
        movq    UMK_HEAD_SELECTOR(%rbx), %rbx
        movb    $0, (%rbx)
        movl    $15, %eax
        .globl  umk_signal_return_instruction
        .hidden umk_signal_return_instruction
umk_signal_return_instruction:
        syscall
        ud2
        .globl  umk_signal_restorer
        .hidden umk_signal_restorer
umk_signal_restorer:
        ud2

// struct CopyResult { uint64_t remaining, fault; } of user copies: remaining bytes, and rdx = faulting address (or 0).
// A fault between the labels of a fixup continues at its landing with rdx = address, rsi = error code of the fault.
        .macro  fixup from, to, landing
        .pushsection .umk.fixups, "a", @progbits
        .quad   \from, \to, \landing
        .popsection
        .endm

        .globl  umk_user_copy
        .hidden umk_user_copy
umk_user_copy:                          // (to, from, size) -> remaining, fault address
        movq    %rdx, %rcx
1:      rep movsb
2:      xorl    %edx, %edx
umk_user_copy_faulted:
        movq    %rcx, %rax
        ret
        fixup   1b, 2b, umk_user_copy_faulted

        .globl  umk_user_zero
        .hidden umk_user_zero
umk_user_zero:                          // (to, size) -> remaining, fault address
        movq    %rsi, %rcx
        xorl    %eax, %eax
1:      rep stosb
2:      xorl    %edx, %edx
umk_user_zero_faulted:
        movq    %rcx, %rax
        ret
        fixup   1b, 2b, umk_user_zero_faulted

        .globl  umk_user_load_word
        .hidden umk_user_load_word
umk_user_load_word:                     // (address) -> word, fault address
1:      movl    (%rdi), %eax
2:      xorl    %edx, %edx
umk_user_load_word_faulted:
        ret
        fixup   1b, 2b, umk_user_load_word_faulted

        .globl  umk_user_exchange_word
        .hidden umk_user_exchange_word
umk_user_exchange_word:                 // (address, expected, desired) -> held, fault address
        movl    %esi, %eax
1:      lock cmpxchgl %edx, (%rdi)
2:      xorl    %edx, %edx
umk_user_exchange_word_faulted:
        ret
        fixup   1b, 2b, umk_user_exchange_word_faulted

        .globl  umk_user_string
        .hidden umk_user_string
umk_user_string:                        // (to, from, size) -> bytes left of size after the NUL (-1: no NUL), fault address
        movq    %rdx, %rcx
1:      testq   %rcx, %rcx
        jz      4f
2:      movb    (%rsi), %al
3:      movb    %al, (%rdi)
        incq    %rsi
        incq    %rdi
        decq    %rcx
        testb   %al, %al
        jnz     1b
        movq    %rcx, %rax
        xorl    %edx, %edx
        ret
4:      movq    $-1, %rax
        xorl    %edx, %edx
        ret
umk_user_string_faulted:
        movq    %rcx, %rax
        ret
        fixup   2b, 3b, umk_user_string_faulted

// void umk_vectors_save(void* image, uint64_t mask), umk_vectors_load: XSAVE and XRSTOR of the guest's vector registers.
        .globl  umk_vectors_save
        .hidden umk_vectors_save
umk_vectors_save:
        movq    %rsi, %rdx
        movl    %esi, %eax
        shrq    $32, %rdx
        xsave64 (%rdi)
        ret
        .globl  umk_vectors_load
        .hidden umk_vectors_load
umk_vectors_load:
        movq    %rsi, %rdx
        movl    %esi, %eax
        shrq    $32, %rdx
        xrstor64 (%rdi)
        testl   $0x200, %eax            // a jump straight to the instruction must not load PKRU
        jnz     3f
        ret
3:      ud2
// The same on guest memory: 0, or the fault address.
        .globl  umk_user_vectors_save
        .hidden umk_user_vectors_save
umk_user_vectors_save:
        movq    %rsi, %rdx
        movl    %esi, %eax
        shrq    $32, %rdx
1:      xsave64 (%rdi)
2:      xorl    %edx, %edx
umk_user_vectors_save_faulted:
        movq    %rdx, %rax
        ret
        fixup   1b, 2b, umk_user_vectors_save_faulted

        .section .note.GNU-stack, "", @progbits

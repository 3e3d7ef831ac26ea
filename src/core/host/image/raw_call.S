// The one place from which the kernel calls the host.
//
// Syscall User Dispatch lets a call of this thread through only while its selector byte is 0 (allow). It is 0 just here,
// between the two stores; the byte is found through the head of the kernel stack (KernelStackHead::selector, offset 8).

// The .cfi directives are for debuggers alone, which find the frames below by them: most kernel code that is looked at sleeps here.
        .cfi_sections .debug_frame
        .text
        .globl  umk_raw_call
        .hidden umk_raw_call
        .type   umk_raw_call, @function
        // int64_t umk_raw_call(number, a, b, c, d, e, f)
umk_raw_call:
        .cfi_startproc
        // As umk_switch_stack leaves a context: if the host process dies in the call, another goes on behind it (engine/vessel/lost_vessel.h).
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
        movq    %rsp, %r12
        andq    $-65536, %r12
        movq    %rsp, 48(%r12)
        movq    8(%r12), %rbx
        movq    %rdi, %rax
        movq    %rsi, %rdi
        movq    %rdx, %rsi
        movq    %rcx, %rdx
        movq    %r8, %r10
        movq    %r9, %r8
        movq    56(%rsp), %r9
        movb    $0, (%rbx)
        .globl  umk_host_call_instruction
        .hidden umk_host_call_instruction
umk_host_call_instruction:
        syscall
        movb    $1, (%rbx)
        movq    $0, 48(%r12)
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
        .size   umk_raw_call, . - umk_raw_call

        // int64_t umk_compat_call(number, a): a call by the 32-bit interface, for what the other does not have. Pointers lie below 4 GiB.
        .globl  umk_compat_call
        .hidden umk_compat_call
        .type   umk_compat_call, @function
umk_compat_call:
        pushq   %rbp
        movq    %rsp, %rbp
        pushq   %rbx
        pushq   %r12
        movq    %rsp, %r12
        andq    $-65536, %r12
        movq    8(%r12), %r12
        movl    %edi, %eax
        movl    %esi, %ebx
        movb    $0, (%r12)
        int     $0x80
        movb    $1, (%r12)
        cltq
        popq    %r12
        popq    %rbx
        popq    %rbp
        ret
        .size   umk_compat_call, . - umk_compat_call
        .section .note.GNU-stack, "", @progbits

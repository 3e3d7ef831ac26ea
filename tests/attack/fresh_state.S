// A program without a library that looks at the state in which it starts. Exit codes:
//   1  a general register other than rsp is not zero     2  FS base       3  a vector register       4  MXCSR or x87 control
//   5  the slots of threads hold something               6  flags
// The slots are looked at only where there is a slot: natively GS is 0.
        .text
        .globl  _start
_start:
        orq     %rbx, %rax
        orq     %rcx, %rax
        orq     %rdx, %rax
        orq     %rsi, %rax
        orq     %rdi, %rax
        orq     %rbp, %rax
        orq     %r8, %rax
        orq     %r9, %rax
        orq     %r10, %rax
        orq     %r11, %rax
        orq     %r12, %rax
        orq     %r13, %rax
        orq     %r14, %rax
        orq     %r15, %rax
        movl    $1, %edi
        testq   %rax, %rax
        jnz     done
        pushfq
        popq    %rax
        movl    $6, %edi
        testl   $0x44500, %eax          // AC, NT, DF, TF
        jnz     done
        rdfsbase %rax
        movl    $2, %edi
        testq   %rax, %rax
        jnz     done
        movl    $3, %edi
        .irp    register, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
        por     %xmm\register, %xmm0
        .endr
        movq    %xmm0, %rax
        psrldq  $8, %xmm0
        movq    %xmm0, %rbx
        orq     %rbx, %rax
        jnz     done
        movl    $4, %edi
        subq    $64, %rsp
        stmxcsr (%rsp)
        cmpl    $0x1f80, (%rsp)
        jne     done
        fnstenv (%rsp)
        cmpw    $0x37f, (%rsp)
        jne     done
        cmpw    $0xffff, 8(%rsp)        // tags: all empty
        jne     done
        movl    $5, %edi
        rdgsbase %rbx
        testq   %rbx, %rbx
        jz      well
        // The own slot is in use, and the first of them, as this is the only thread.
        leaq    256(%rbx), %rsi
        addq    $0x80000, %rbx
next:   cmpq    $0, (%rsi)
        jne     done
        addq    $8, %rsi
        cmpq    %rbx, %rsi
        jb      next
well:   xorl    %edi, %edi
done:   movl    $231, %eax
        syscall
        .section .note.GNU-stack, "", @progbits

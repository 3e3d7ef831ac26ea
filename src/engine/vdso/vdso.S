// The guest's vDSO: clocks without a system call, and the restorer of signal frames. vdso(7).
//
// A shared object of one page that the kernel maps into every program. The clock functions continue in the host's own vDSO, which every process
// keeps at a fixed place; the kernel fills the addresses in at boot. Where the host has none they make the call.

        .macro  function name, slot, number
        .globl  \name
        .type   \name, @function
\name:
        .cfi_startproc
        cmpq    $0, \slot(%rip)
        je      1f
        jmp     *\slot(%rip)
1:      movl    $\number, %eax
        syscall
        ret
        .cfi_endproc
        .size   \name, . - \name
        .endm

        .text
        function __vdso_clock_gettime, clock_gettime_slot, 228
        function __vdso_gettimeofday, gettimeofday_slot, 96
        function __vdso_time, time_slot, 201
        function __vdso_getcpu, getcpu_slot, 309

        .globl  clock_gettime, gettimeofday, time, getcpu
        .weak   clock_gettime, gettimeofday, time, getcpu
        .set    clock_gettime, __vdso_clock_gettime
        .set    gettimeofday, __vdso_gettimeofday
        .set    time, __vdso_time
        .set    getcpu, __vdso_getcpu

        .globl  __vdso_clock_getres
        .type   __vdso_clock_getres, @function
__vdso_clock_getres:
        .cfi_startproc
        movl    $229, %eax
        syscall
        ret
        .cfi_endproc
        .globl  clock_getres
        .weak   clock_getres
        .set    clock_getres, __vdso_clock_getres

// Where a signal handler returns to: rt_sigreturn by a jump to the gate. The unwind information says where the frame keeps each register
// (offsets in ucontext_t from rsp), so that debuggers and exceptions pass through. The unwinder looks at the byte before, hence the nop.
        .section .restorer, "ax", @progbits
        .macro  saved register, offset
        .cfi_escape 0x10, \register, 3, 0x77, (\offset & 0x7f) | 0x80, (\offset >> 7)
        .endm
        .cfi_startproc simple
        .cfi_signal_frame
        .cfi_escape 0x0f, 4, 0x77, (160 & 0x7f) | 0x80, 160 >> 7, 0x06
        saved   8, 40
        saved   9, 48
        saved   10, 56
        saved   11, 64
        saved   12, 72
        saved   13, 80
        saved   14, 88
        saved   15, 96
        saved   5, 104
        saved   4, 112
        saved   6, 120
        saved   3, 128
        saved   1, 136
        saved   0, 144
        saved   2, 152
        saved   7, 160
        saved   16, 168
        nop
        .globl  __umk_restore_rt
        .type   __umk_restore_rt, @function
__umk_restore_rt:
        movl    $15, %eax
        leaq    1f(%rip), %rcx
        jmp     *gate_slot(%rip)
1:      ud2
        .cfi_endproc
        .size   __umk_restore_rt, . - __umk_restore_rt

// Filled in by the kernel in its copy of this page (vdso.h: VdsoSlots).
        .section .slots, "a", @progbits
        .balign 8
        .globl  __umk_slots
        .hidden __umk_slots
__umk_slots:
clock_gettime_slot:  .quad 0
gettimeofday_slot:   .quad 0
time_slot:           .quad 0
getcpu_slot:         .quad 0
gate_slot:           .quad 0
        .section .note.GNU-stack, "", @progbits

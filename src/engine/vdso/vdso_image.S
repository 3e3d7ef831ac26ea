// The kernel's copy of the vDSO, in its data since the slots are filled at boot.
        .data
        .balign 4096
        .globl  umk_vdso_begin, umk_vdso_end
        .hidden umk_vdso_begin, umk_vdso_end
umk_vdso_begin:
        .incbin "vdso.so", 0, 4096
umk_vdso_end:
        .section .note.GNU-stack, "", @progbits

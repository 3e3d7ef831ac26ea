"""Watches the first thread of a host process at its calls to the host: ptrace(2), by ctypes."""

import ctypes
import os
import signal
import time

SEIZE, INTERRUPT, SYSCALL, GET_REGISTERS, DETACH = 0x4206, 0x4207, 24, 12, 17
MARK_CALLS = 1
WAIT_ALL = 0x40000000
STOP_OF_CALL = signal.SIGTRAP | 0x80

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.restype = ctypes.c_long
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


class Registers(ctypes.Structure):
    _fields_ = [(name, ctypes.c_ulonglong) for name in (
        "r15 r14 r13 r12 rbp rbx r11 r10 r9 r8 rax rcx rdx rsi rdi orig_rax rip cs eflags rsp ss fs_base gs_base ds es fs gs").split()]


def ptrace(request, pid, address=None, data=None):
    if libc.ptrace(request, pid, address, data) == -1:
        raise OSError(ctypes.get_errno(), f"ptrace {request:#x}")


def trace(pid, is_over, choose):
    """Stops `pid` at the beginning and at the end of each call, and asks choose(registers, is_beginning); where that says so it is killed, and a call that has
    only begun is not made. Lets go of it when is_over() says so. True when it was killed."""
    ptrace(SEIZE, pid, None, MARK_CALLS)
    ptrace(INTERRUPT, pid)
    is_inside = False
    wants_stop = False
    while True:
        reported, status = os.waitpid(pid, WAIT_ALL | os.WNOHANG)
        if reported == 0:
            if is_over() and not wants_stop:
                wants_stop = True
                ptrace(INTERRUPT, pid)
            time.sleep(0.0003)
            continue
        if not os.WIFSTOPPED(status):
            return os.WIFSIGNALED(status)
        what, deliver = os.WSTOPSIG(status), 0
        if what == STOP_OF_CALL:
            is_inside = not is_inside
            registers = Registers()
            ptrace(GET_REGISTERS, pid, None, ctypes.addressof(registers))
            if choose(registers, is_inside):
                os.kill(pid, signal.SIGKILL)
                continue
        elif status >> 16 == 0:
            deliver = what
        if wants_stop:
            ptrace(DETACH, pid, None, deliver)
            return False
        ptrace(SYSCALL, pid, None, deliver)

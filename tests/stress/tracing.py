"""Watches a host process at its calls to the host: ptrace(2), by ctypes."""

import ctypes
import os
import signal
import time

SEIZE, INTERRUPT, SYSCALL, GET_REGISTERS, GET_EVENT_MESSAGE, DETACH = 0x4206, 0x4207, 24, 12, 0x4201, 17
MARK_CALLS, FOLLOW_THREADS, EVENT_CLONE = 1, 8, 3
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


def new_thread(tid):
    number = ctypes.c_ulong()
    ptrace(GET_EVENT_MESSAGE, tid, None, ctypes.addressof(number))
    return number.value


def stops_of(threads):
    """One (thread, status) of each that has something to tell; those that have ended go out of the list."""
    for tid in list(threads):
        try:
            reported, status = os.waitpid(tid, WAIT_ALL | os.WNOHANG)
        except ChildProcessError:
            threads.discard(tid)
            continue
        if reported != 0:
            yield tid, status


def trace(pid, is_over, choose):
    """Stops the threads of `pid` at the beginning and at the end of each call, and asks choose(registers, is_beginning, calls in which the other threads are); where that
    says so the process is killed, and a call that has only begun is not made. Lets go of it when is_over() says so. True when it was killed."""
    ptrace(SEIZE, pid, None, MARK_CALLS | FOLLOW_THREADS)
    ptrace(INTERRUPT, pid)
    threads, inside = {pid}, {}
    wants_stop = False
    while True:
        has_stopped = False
        for tid, status in stops_of(threads):
            has_stopped = True
            if not os.WIFSTOPPED(status):
                if tid == pid:
                    return os.WIFSIGNALED(status)
                threads.discard(tid)
                continue
            what, event, deliver = os.WSTOPSIG(status), status >> 16, 0
            try:
                if what == STOP_OF_CALL:
                    registers = Registers()
                    ptrace(GET_REGISTERS, tid, None, ctypes.addressof(registers))
                    if inside.pop(tid, None) is None:
                        inside[tid] = registers.orig_rax
                    if choose(registers, tid in inside, [inside.get(other) for other in threads - {tid}]):
                        os.kill(pid, signal.SIGKILL)
                        continue
                elif event == EVENT_CLONE:
                    threads.add(new_thread(tid))
                elif event == 0:
                    deliver = what
                if wants_stop and tid == pid:
                    ptrace(DETACH, tid, None, deliver)
                    return False
                ptrace(SYSCALL, tid, None, deliver)
            except ProcessLookupError:
                pass  # killed meanwhile: its end is told next
        if not has_stopped:
            if is_over() and not wants_stop:
                wants_stop = True
                ptrace(INTERRUPT, pid)
            time.sleep(0.0003)

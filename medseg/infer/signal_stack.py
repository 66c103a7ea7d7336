"""The stack on which a thread's signal handlers run, kept against libraries that exchange it (Linux)."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class SignalStack(ctypes.Structure):
    """The system's `stack_t`; an address of None stands for the thread's ordinary stack."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def kept_signal_stack() -> Iterator[None]:
    """Give the thread the stack for its signal handlers back that it had before the block.

    OpenVINO sets one for each network that it compiles; it frees it with the network, and sets the one again
    that it had met. Of several networks that end in the order of their beginning, the last one sets one that
    is freed, and Ctrl-C or SIGTERM kills the process without a word. So each must meet the thread's own.
    Where the system refuses a stack (too small for the processor's registers), the new one stays.
    """
    if sys.platform != "linux":
        yield
        return
    system, before = ctypes.CDLL(None), SignalStack()
    system.sigaltstack(None, ctypes.byref(before))
    try:
        yield
    finally:
        system.sigaltstack(ctypes.byref(before), None)

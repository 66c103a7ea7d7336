"""The stack of a thread's signal handlers is the thread's own again after a block that sets another."""

from __future__ import annotations

import ctypes
import sys

import pytest

from medseg.infer import signal_stack
from medseg.infer.signal_stack import SignalStack, kept_signal_stack

_BYTES = 2**16


def current() -> tuple[int | None, int, int]:
    stack = SignalStack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(stack)) == 0
    return stack.address, stack.flags, stack.size


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such stack")
@pytest.mark.parametrize("fails", [False, True])
def test_the_stack_of_before_is_there_again(fails: bool) -> None:
    before, memory = current(), ctypes.create_string_buffer(_BYTES)
    other = SignalStack(ctypes.addressof(memory), 0, _BYTES)
    try:
        with kept_signal_stack():
            assert ctypes.CDLL(None).sigaltstack(ctypes.byref(other), None) == 0
            assert current()[0] == ctypes.addressof(memory)
            if fails:
                raise ValueError("as a runtime does that refuses a graph")
    except ValueError:
        assert fails
    assert current() == before


def test_other_systems_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal_stack.sys, "platform", "darwin")
    monkeypatch.setattr(signal_stack.ctypes, "CDLL", lambda _: pytest.fail("the system was asked"))
    with kept_signal_stack():
        pass

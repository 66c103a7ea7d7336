"""A helper process: this Python started anew, which answers requests in turn.

Requests and answers go through its standard input and output, so that neither shared memory (`/dev/shm`) nor
semaphores are needed. It imports nothing of the program that started it but what a request names, and ends
when that program does.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from typing import Any, BinaryIO

Answer = tuple[bool, Any]
"""True and a result, or False and an exception."""

Message = list[memoryview]

DIED = (EOFError, OSError, ValueError, pickle.UnpicklingError)
"""What is raised where a helper that has died is read from or written to."""

IS_HELPER = False
"""Whether this process is a helper, whose end costs the program one answer."""

_PIPE_BYTES = 2**20
_PROGRAM = "import sys; sys.path[:] = {!r}; from medseg.helper_process import serve; serve()"


class HelperProcess:
    """A process that answers requests in their order, with one thread of OpenMP.

    ``owed`` counts the answers to come that nobody waits for.
    """

    def __init__(self) -> None:
        command = [sys.executable, "-W", "ignore", "-c", _PROGRAM.format(sys.path)]
        one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        own = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        # In a session of its own: Ctrl-C reaches this process alone, whose end closes the pipes.
        self.process = subprocess.Popen(command, env=one_thread, bufsize=0, start_new_session=True, **own)  # type: ignore[call-overload]
        self.replies: BinaryIO = self.process.stdout
        self.requests: BinaryIO = self.process.stdin
        self.owed = 0
        with contextlib.suppress(ImportError, AttributeError, OSError):  # on Linux, room for several frames
            import fcntl

            fcntl.fcntl(self.replies, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)

    def begin(self, example: Message) -> None:
        """Send a request whose answer nobody needs; after it all is imported that others like it need."""
        while self.owed:
            self.receive()
            self.owed -= 1
        self.send(example)
        self.owed = 1

    def send(self, request: Message) -> None:
        """Send a request; waits where its bytes do not fit into the pipe."""
        _send(self.requests, request)

    def receive(self) -> Answer:
        """Wait for the next answer. Raises EOFError, OSError, ValueError or UnpicklingError after death."""
        answer: Answer = _receive(self.replies)
        return answer

    def end(self) -> None:
        """Kill the process and wait for its end."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.replies, self.requests):
            with contextlib.suppress(OSError):
                pipe.close()


def answer(function: Callable[[Any], Any], item: Any) -> Answer:
    """Call ``function`` on an item; give what it returns, or the exception that it raises."""
    try:
        return True, function(item)
    except Exception as error:  # raised again where the result is asked for
        return False, error


def packed(message: Any) -> Message:
    """A message as it passes through a pipe; arrays in it as they lie in memory."""
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    sizes = [len(body), *(view.nbytes for view in views)]
    return [memoryview(struct.pack(f"<Q{len(sizes)}Q", len(sizes), *sizes) + body), *views]


def _send(pipe: BinaryIO, message: Message) -> None:
    for part in message:
        rest = part
        while rest:
            rest = rest[pipe.write(rest) :]


def _receive(pipe: BinaryIO) -> Any:
    (count,) = struct.unpack("<Q", _exactly(pipe, 8))
    body, *buffers = (_exactly(pipe, size) for size in struct.unpack(f"<{count}Q", _exactly(pipe, 8 * count)))
    return pickle.loads(body, buffers=buffers)  # noqa: S301 - the bytes are our own process's


def _exactly(pipe: BinaryIO, size: int) -> bytearray:
    content = bytearray(size)
    rest = memoryview(content)
    while rest:
        if not (count := pipe.readinto(rest)):  # type: ignore[attr-defined]
            raise EOFError
        rest = rest[count:]
    return content


def serve() -> None:
    """Answer requests from standard input until it ends: the main loop of a helper."""
    global IS_HELPER
    IS_HELPER = True
    requests, replies = os.fdopen(os.dup(0), "rb", 0), os.fdopen(os.dup(1), "wb", 0)
    os.dup2(2, 1)  # what a codec prints is no answer
    while True:
        try:
            function, item = _receive(requests)
        except (EOFError, OSError):
            return
        _send(replies, packed(answer(function, item)))

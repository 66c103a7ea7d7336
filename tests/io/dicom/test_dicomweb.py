"""Requests to a DICOMweb service that cannot be made with a well-behaved server."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from medseg.errors import Code, MedsegError
from medseg.io.dicom import addresses, dicomweb
from medseg.io.dicom.addresses import WebServer
from medseg.io.dicom.outgoing import Instance, read_instance

BIG = 64 * 2**20
"""Bytes of a file that no buffer of a connection holds."""


@contextmanager
def saying(answer: bytes, *, linger_s: float = 0.3) -> Iterator[WebServer]:
    """A server that reads a little of a request, says ``answer``, and goes away."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)
                time.sleep(linger_s)

        thread = threading.Thread(target=serve)
        thread.start()
        yield WebServer("127.0.0.1", listener.getsockname()[1], False, "")
        thread.join()


@pytest.fixture
def big(tmp_path: Path) -> Instance:
    path = tmp_path / "a.seg.dcm"
    with path.open("wb") as file:
        file.truncate(BIG)
    return Instance(path, "1.2", "1.2.3", "1.2.840.10008.1.2.1")


def test_a_refusal_before_all_was_sent_is_understood(big: Instance) -> None:
    answer = b"HTTP/1.1 401 no\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with saying(answer) as server, pytest.raises(MedsegError) as caught:
        dicomweb.store(big, server, None, "--to")
    assert caught.value.code is Code.SERVER_REFUSED and "HTTP 401" in str(caught.value)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200])
def test_an_answer_that_is_no_http_is_invalid(tmp_path: Path, answer: bytes) -> None:
    with saying(answer) as server:
        study = addresses.Study(server, "1.2")
        with pytest.raises(MedsegError) as caught:
            dicomweb.fetch(study, tmp_path, None, "IN 1", lambda *_: None)
    assert caught.value.code is Code.ANSWER_INVALID and not [*tmp_path.iterdir()]


def test_chunks_that_break_off_are_invalid(tmp_path: Path) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: multipart/related; boundary=b\r\n"
    body = b"Transfer-Encoding: chunked\r\n\r\n40\r\n--b\r\n\r\nabc"
    with saying(head + body) as server, pytest.raises(MedsegError) as caught:
        dicomweb.fetch(addresses.Study(server, "1.2"), tmp_path, None, "IN 1", lambda *_: None)
    assert caught.value.code is Code.ANSWER_INVALID


def test_a_file_that_is_no_dicom_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"x" * 200)
    with pytest.raises(MedsegError) as caught:
        read_instance(tmp_path / "a.dcm")
    assert caught.value.code is Code.DICOM_DAMAGED

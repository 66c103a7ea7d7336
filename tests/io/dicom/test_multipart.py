"""Multipart answers, read in blocks of any size; malformed ones are refused with a code."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.errors import Code, MedsegError
from medseg.io.dicom import multipart

HEAD = b"--b\r\nContent-Type: application/dicom\r\n\r\n"
CONTENT = st.lists(st.sampled_from([b"\r", b"\n", b"-", b"b", b"\0"]), max_size=40).map(b"".join)
FILES = CONTENT.filter(lambda content: b"\r\n--b" not in content)


class Dripping:
    """A stream that gives at most ``size`` bytes at once."""

    def __init__(self, content: bytes, size: int) -> None:
        self._stream, self._size = io.BytesIO(content), size

    def read(self, size: int, /) -> bytes:
        return self._stream.read(min(size, self._size))


def contents(body: bytes, size: int = 2**20) -> list[tuple[str, bytes]]:
    stream = Dripping(body, size)
    return [(kind, b"".join(blocks)) for kind, blocks in multipart.parts(stream, b"b", "IN 1")]


@given(st.lists(FILES, max_size=4), st.integers(1, 50))
def test_parts_come_back_whatever_the_blocks(files: list[bytes], size: int) -> None:
    body = b"".join(HEAD + content + b"\r\n" for content in files) + b"--b--"
    assert contents(body, size) == [("application/dicom", content) for content in files]


def test_a_preamble_an_epilogue_and_missing_headers_are_allowed() -> None:
    assert contents(b"remark\r\n--b \r\n\r\nxyz\r\n--b--\r\nend") == [("", b"xyz")]


def test_a_part_that_is_not_taken_is_skipped() -> None:
    body = HEAD + b"one\r\n" + HEAD + b"two\r\n--b--"
    assert [kind for kind, _ in multipart.parts(io.BytesIO(body), b"b", "IN 1")] == ["application/dicom"] * 2


@pytest.mark.parametrize(
    ("body", "details"),
    [
        (b"", "last boundary"),
        (HEAD + b"one", "last boundary"),
        (HEAD + b"one\r\n--b", "last boundary"),
        (HEAD + b"one\r\n--b\r\nContent-Type: app", "last boundary"),
        (HEAD + b"one\r\n--bc\r\n\r\n--b--", "malformed"),
        (b"--b\r\n" + b"A: b\r\n" * 9000, "headers"),
        (b"x" * 40_000, "does not begin"),
    ],
)
def test_a_malformed_body_is_refused(body: bytes, details: str) -> None:
    with pytest.raises(MedsegError) as caught:
        contents(body, 1000)
    assert caught.value.code is Code.ANSWER_INVALID and details in caught.value.finding.details


def test_the_boundary_is_in_the_content_type() -> None:
    named = 'Multipart/Related; type="application/dicom"; boundary="a=b/c"'
    assert multipart.boundary_of(named, "IN 1") == b"a=b/c"
    assert multipart.boundary_of("multipart/related; boundary=x", "IN 1") == b"x"


@pytest.mark.parametrize(
    "kind",
    [
        "",
        "text/html",
        "application/dicom",
        "multipart/related",
        "multipart/related; boundary=",
        'multipart/related; boundary="a\u00e9"',
        f"multipart/related; boundary={'x' * 71}",
        'multipart/related; type="application/octet-stream"; boundary=x',
    ],
)
def test_another_content_type_is_refused(kind: str) -> None:
    with pytest.raises(MedsegError) as caught:
        multipart.boundary_of(kind, "IN 1")
    assert caught.value.code is Code.ANSWER_INVALID

"""Parts of a `multipart/related` answer, read as they come, so that a study never lies in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.message import Message
from typing import Protocol

from medseg.errors import Code, MedsegError

_BLOCK = 2**20
_LONGEST_HEADERS = 16 * 1024
_BOUNDARY = re.compile(r"[A-Za-z0-9'()+_,./:=? -]{0,69}[A-Za-z0-9'()+_,./:=?-]")
_TRY_AGAIN = "run the command again; if that does not help, ask who runs the server"


class Stream(Protocol):
    """An answer's body."""

    def read(self, size: int, /) -> bytes:
        """Give up to ``size`` bytes, none at the end."""


def boundary_of(content_type: str, where: str) -> bytes:
    """The boundary that a header `Content-Type: multipart/related` names; ANSWER_INVALID for another type."""
    message = Message()
    message["Content-Type"] = content_type
    boundary = message.get_boundary("")
    kind = message.get_param("type", "application/dicom")
    if message.get_content_type() != "multipart/related" or not _BOUNDARY.fullmatch(boundary):
        details = "the answer's content type is not multipart/related with a boundary"
        raise MedsegError(Code.ANSWER_INVALID, where, details, "check that the address is a DICOMweb service")
    if kind != "application/dicom":
        raise MedsegError(Code.ANSWER_INVALID, where, "the answer holds no DICOM files", _TRY_AGAIN)
    return boundary.encode("ascii")


def parts(stream: Stream, boundary: bytes, where: str) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield the content type of each part, and its bytes in blocks; what is not taken is skipped.

    Raises ANSWER_INVALID for a body that ends before its closing boundary, or whose parts are malformed.
    """
    body = _Body(stream, b"\r\n--" + boundary, where)
    body.skip_preamble()
    while not body.at_close():
        content_type, blocks = body.content_type(), body.until_delimiter()
        yield content_type, blocks
        for _ in blocks:
            pass


class _Body:
    """A multipart body between its delimiters, of which at most two blocks are in memory."""

    def __init__(self, stream: Stream, delimiter: bytes, where: str) -> None:
        self._stream, self._delimiter, self._where = stream, delimiter, where
        self._ahead = bytearray(b"\r\n")  # the first delimiter may open the body, without a line before it

    def skip_preamble(self) -> None:
        """Go past the first delimiter; before it stands at most a remark."""
        size = 0
        for block in self.until_delimiter():
            size += len(block)
            if size > _LONGEST_HEADERS:
                raise self._invalid("the answer does not begin with its boundary")

    def until_delimiter(self) -> Iterator[bytes]:
        """Yield what comes before the next delimiter, and go past that."""
        keep = len(self._delimiter) - 1  # a delimiter may begin at the end of a block
        while (at := self._ahead.find(self._delimiter)) < 0:
            if len(self._ahead) > keep:
                block = bytes(self._ahead[:-keep])
                del self._ahead[:-keep]
                yield block
            self._fill()
        block = bytes(self._ahead[:at])
        del self._ahead[: at + len(self._delimiter)]
        if block:
            yield block

    def at_close(self) -> bool:
        """Read the end of a delimiter's line: True if it closes the body."""
        while len(self._ahead) < 2:
            self._fill()
        if self._ahead.startswith(b"--"):
            return True
        if self._line(b"\r\n").strip(b" \t"):
            raise self._invalid("a boundary is malformed")
        return False

    def content_type(self) -> str:
        """Read the part's headers and give its content type in small letters, without parameters."""
        if self._ahead.startswith(b"\r\n"):
            del self._ahead[:2]
            return ""
        for line in self._line(b"\r\n\r\n").split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.strip().lower() == b"content-type":
                return value.partition(b";")[0].strip().lower().decode("latin-1")
        return ""

    def _line(self, end: bytes) -> bytes:
        while (at := self._ahead.find(end)) < 0:
            if len(self._ahead) > _LONGEST_HEADERS:
                raise self._invalid(f"the headers of a part exceed {_LONGEST_HEADERS} bytes")
            self._fill()
        line = bytes(self._ahead[:at])
        del self._ahead[: at + len(end)]
        return line

    def _fill(self) -> None:
        block = self._stream.read(_BLOCK)
        if not block:
            raise self._invalid("the answer ends before its last boundary")
        self._ahead += block

    def _invalid(self, details: str) -> MedsegError:
        return MedsegError(Code.ANSWER_INVALID, self._where, details, _TRY_AGAIN)

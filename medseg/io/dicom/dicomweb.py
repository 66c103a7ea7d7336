"""DICOMweb: studies fetched by WADO-RS, results stored by STOW-RS; files pass through block by block.

dicomweb-client would hold a whole request in memory, decode and encode each file, and set no limits. What is
needed of the protocol is one GET and one POST request, which Python's own HTTP client does.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from medseg.errors import Code, MedsegError
from medseg.io.dicom import web_request
from medseg.io.dicom.addresses import Study, WebServer
from medseg.io.dicom.credentials import Credentials
from medseg.io.dicom.multipart import boundary_of, parts
from medseg.io.dicom.outgoing import PROCESSING_FAILURE, Ending, Instance, ending_of, is_warning
from medseg.limits import MAX_ENTRIES, MAX_FILE_BYTES
from medseg.resources import coded_disk_full

MAX_STUDY_BYTES = 64 * 2**30
"""Size above which a study is refused."""

_MOST_ANSWER_BYTES = 16 * 2**20
_BLOCK = 2**20
_AS_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'

_ANSWERED = (200, 202, 409)
"""Statuses of an answer that lists stored and failed files."""

_NOT_THIS_FILE = (400, 413, 415, 500, 507)
"""Statuses that may be due to the one file that was sent."""

_FAILED, _REFERENCED, _REASON, _INSTANCE = "00081198", "00081199", "00081197", "00081155"
"""Tags of FailedSOPSequence, ReferencedSOPSequence, FailureReason and ReferencedSOPInstanceUID."""


def fetch(
    study: Study,
    folder: Path,
    credentials: Credentials | None,
    where: str,
    progress: Callable[[int, int], None],
) -> int:
    """Fetch every instance of a study or series into ``folder``, and give their number.

    Files are as the server stores them, named by their sha256, readable by their owner alone.
    ``progress(files, bytes)`` is called after each. Raises as :func:`web_request.answer` does; TOO_LARGE;
    ANSWER_INVALID for an answer that is no multipart of DICOM files, ends early, or holds another study.
    """
    count = size = 0
    with web_request.answer(study.server, study.path, {"Accept": _AS_STORED}, credentials, where) as response:
        boundary = boundary_of(response.getheader("Content-Type", ""), where)
        for content_type, blocks in parts(response, boundary, where):
            if content_type not in ("application/dicom", ""):
                raise _invalid(where, "a part of the answer is no DICOM file")
            if count == MAX_ENTRIES:
                raise _too_large(where, f"more than {MAX_ENTRIES} files")
            path, written = _save(_limited(blocks, MAX_STUDY_BYTES - size, where), folder)
            _require_study(path, study, where)
            count, size = count + 1, size + written
            progress(count, size)
    if not count:
        raise _invalid(where, "the study has no files")
    return count


def _limited(blocks: Iterator[bytes], most: int, where: str) -> Iterator[bytes]:
    size = 0
    for block in blocks:
        size += len(block)
        if size > min(most, MAX_FILE_BYTES):
            limits = f"{MAX_FILE_BYTES / 2**30:g} GiB a file, {MAX_STUDY_BYTES / 2**30:g} GiB a study"
            raise _too_large(where, f"more bytes than the limits allow ({limits})")
        yield block


def _save(blocks: Iterator[bytes], folder: Path) -> tuple[Path, int]:
    """Write a file that is named by its content, so that its path is the same at every run."""
    content, size = hashlib.sha256(), 0
    part = folder / "unfinished"
    part.touch(mode=0o600)
    with coded_disk_full(folder), part.open("wb") as file:
        for block in blocks:
            content.update(block)
            size += file.write(block)
    return part.replace(folder / f"{content.hexdigest()[:32]}.dcm"), size


def _require_study(path: Path, study: Study, where: str) -> None:
    """Refuse a file of another study or series; one that cannot be read is left to the reader of exports."""
    import pydicom

    tags = ["StudyInstanceUID", "SeriesInstanceUID"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=tags, force=True)
            own = str(header.get(tags[0], study.study_uid)), str(header.get(tags[1], study.series_uid))
        except Exception:  # whatever a damaged file makes pydicom raise
            return
    if own[0] != study.study_uid or (study.series_uid and own[1] != study.series_uid):
        raise _invalid(where, "the answer holds a file of another study or series")


def store(instance: Instance, server: WebServer, credentials: Credentials | None, where: str) -> Ending:
    """Store one file by STOW-RS.

    Raises as :func:`web_request.answer` does, and NOT_STORED where the server lists the file as failed, or
    does not list it although it lists others.
    """
    boundary = secrets.token_hex(16)
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    headers = {
        "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
        "Content-Length": str(len(head) + instance.path.stat().st_size + len(tail)),
        "Accept": "application/dicom+json",
    }
    body, path = _blocks(head, instance.path, tail), f"{server.root}/studies"
    with web_request.answer(
        server, path, headers, credentials, where, body=body, accepted=_ANSWERED + _NOT_THIS_FILE
    ) as response:
        content = response.read(_MOST_ANSWER_BYTES)
        if response.length:  # bytes that were announced and did not come, or are too many
            raise _invalid(where, "the answer breaks off or is too long")
    return _ending(response.status, content, instance)


def _blocks(head: bytes, path: Path, tail: bytes) -> Iterator[bytes]:
    yield head
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block
    yield tail


def _ending(status: int, content: bytes, instance: Instance) -> Ending:
    """The end of a file by the server's lists of stored and failed instances, else by the HTTP status."""
    try:
        tree = json.loads(content)
    except ValueError:
        tree = {}
    tree = tree[0] if isinstance(tree, list) and tree else tree
    lists = tree if isinstance(tree, dict) else {}
    for item in _items(lists, _FAILED):
        if _value(item, _INSTANCE) in (instance.instance_uid, None):
            reason = _value(item, _REASON)
            known = isinstance(reason, int) and reason and not is_warning(reason)
            return ending_of(reason if known else PROCESSING_FAILURE, instance.path.name)
    stored = [_value(item, _INSTANCE) for item in _items(lists, _REFERENCED)]
    if instance.instance_uid in stored or (status == 200 and not stored):
        return "sent"
    details = f"HTTP {status}: the server does not say that it has stored the file"
    raise MedsegError(Code.NOT_STORED, instance.path.name, details, "look into the server's log")


def _items(tree: Mapping[str, Any], tag: str) -> list[Mapping[str, Any]]:
    element = tree.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return [item for item in values if isinstance(item, dict)] if isinstance(values, list) else []


def _value(item: Mapping[str, Any], tag: str) -> Any:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return values[0] if isinstance(values, list) and values else None


def _invalid(where: str, details: str) -> MedsegError:
    return MedsegError(Code.ANSWER_INVALID, where, details, "ask who runs the server")


def _too_large(where: str, details: str) -> MedsegError:
    return MedsegError(Code.TOO_LARGE, where, details, "fetch the series of the study one by one")

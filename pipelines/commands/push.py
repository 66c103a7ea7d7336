"""`medseg push`: the DICOM results of a folder that `medseg segment` wrote, sent to a server.

Every file ends as sent, already there or failed with a code. A file is sent only if it is whole by the sha256
in its case's JSON. `private/pushed.json` records which content went to which server.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, Finding, MedsegError
from medseg.infer import batch, dicom_results, results
from medseg.ingest import privacy
from medseg.io.dicom import addresses, credentials, dicomweb, store
from medseg.io.dicom.addresses import Node, WebServer
from medseg.io.dicom.credentials import Credentials
from medseg.io.dicom.outgoing import Instance, read_instance

COLUMNS = ("file", "status", "code", "details", "how_to_fix")
"""Columns of `push.csv`."""

_TO = "--to"
_ALL_FAIL = (Code.SERVER_UNREACHABLE, Code.SERVER_REFUSED)
"""Codes after which no other file is tried."""


@dataclass(frozen=True)
class Outcome:
    """The end of one file: sent, already there, or failed with a finding."""

    file: str
    status: str
    finding: Finding | None = None


@dataclass(frozen=True)
class _Access:
    """Credentials for a DICOMweb service, and the title of this side for C-STORE."""

    credentials: Credentials | None
    calling_title: str


def run(
    out: Path, address: str, credentials_file: Path | None, calling_title: str, say: Reporter
) -> ExitCode:
    """Send each DICOM result of ``out`` that was not sent before; write `push.csv`."""
    target = addresses.parse_target(address, _TO)
    addresses.check_title(calling_title, "--calling-aet")
    access = _Access(None, calling_title)
    if isinstance(target, WebServer):
        access = _Access(credentials.load(credentials_file, os.environ), calling_title)
    elif credentials_file is not None:
        details = "C-STORE knows no user name"
        raise MedsegError(Code.USAGE, "--credentials", details, "leave it out, or send to https://…")
    if not out.is_dir():
        raise MedsegError(Code.PATH_MISSING, out, "no such folder", "name the OUT of `medseg segment`")
    with batch.lock(out):
        whole, changed = _results(out)
        if not whole and not changed:
            details = "no DICOM results in it"
            raise MedsegError(Code.NOTHING_USABLE, out, details, "segment a DICOM export into it first")
        if target.is_exposed:
            say.line("the connection is not encrypted; https:// is")
        outcomes = [*changed]
        for outcome in changed:
            _say(outcome, say)
        outcomes += _send_all(out, whole, target, access, say)
        return _conclude(outcomes, out, say)


def _results(out: Path) -> tuple[dict[Path, str], list[Outcome]]:
    """Paths and sha256 of the DICOM files that are as their JSON says, and the outcomes of the others."""
    known: dict[Path, str] = {}
    for path in results.metadata_files(out):
        if path.parent == out:
            hashes = dicom_results.hashes_in(path)
            known |= {path.with_name(name): sha256 for name, sha256 in hashes.items()}
    whole = {path: known[path] for path in sorted(known) if _is_whole(path, known[path])}
    there = {path for path in out.glob("*.dcm") if not files.is_part(path)}
    others = sorted((known.keys() | there) - whole.keys())
    return whole, [_changed(path, is_known=path in known) for path in others]


def _is_whole(path: Path, sha256: str) -> bool:
    return path.is_file() and files.sha256(path) == sha256


def _changed(path: Path, *, is_known: bool) -> Outcome:
    name = path.name
    if not path.exists():
        code, details = Code.FILE_MISSING, "the case's JSON names it, but it is not there"
    elif is_known:
        code, details = Code.RESULT_CHANGED, "its sha256 is not the one in the case's JSON"
    else:
        code, details = Code.RESULT_CHANGED, "no case's JSON names it"
    how_to_fix = "run medseg segment again" if is_known else "move it elsewhere"
    return Outcome(name, "failed", Finding(code, name, details, how_to_fix))


def _send_all(
    out: Path, whole: Mapping[Path, str], target: WebServer | Node, access: _Access, say: Reporter
) -> Iterator[Outcome]:
    """Yield each file's outcome, recorded before the next is sent."""
    record = _Record(out, target)
    there = [path for path, sha256 in whole.items() if record.has(sha256)]
    left = [path for path in whole if path not in there]
    ended = [(path, Outcome(path.name, "already there")) for path in there]
    with say.progress("sending", len(whole)) as bar:
        for done, (path, outcome) in enumerate(chain(ended, _send(left, target, access)), 1):
            if outcome.finding is None and path not in there:
                record.add(whole[path])
            _say(outcome, say)
            yield outcome
            bar.to(done, outcome.file)


def _send(paths: Sequence[Path], target: WebServer | Node, access: _Access) -> Iterator[tuple[Path, Outcome]]:
    """Send files one by one; once the server refuses or is silent, the others fail for the same reason."""
    instances: dict[Path, Instance] = {}
    for path in paths:
        try:
            instances[path] = read_instance(path)
        except MedsegError as error:
            yield path, _failed(path, error)
    left = dict(instances)
    try:
        with _sender(target, access, [*instances.values()]) as send:
            for path, instance in instances.items():
                outcome = _send_one(send, instance)
                del left[path]
                yield path, outcome
    except MedsegError as error:
        if error.code not in _ALL_FAIL:
            raise
        for path in left:
            yield path, _failed(path, error)


def _send_one(send: Callable[[Instance], str], instance: Instance) -> Outcome:
    try:
        return Outcome(instance.path.name, send(instance))
    except MedsegError as error:
        if error.code in _ALL_FAIL:
            raise
        return _failed(instance.path, error)


def _failed(path: Path, error: MedsegError) -> Outcome:
    return Outcome(path.name, "failed", replace(error.finding, where=path.name))


@contextmanager
def _sender(
    target: WebServer | Node, access: _Access, instances: Sequence[Instance]
) -> Iterator[Callable[[Instance], str]]:
    if isinstance(target, WebServer):
        yield lambda instance: dicomweb.store(instance, target, access.credentials, _TO)
    elif instances:
        with store.association(target, access.calling_title, instances, _TO) as send:
            yield send
    else:  # no association for nothing
        yield lambda _: ""


class _Record:
    """`private/pushed.json`: for each server the sha256 of the files that it has."""

    def __init__(self, out: Path, target: WebServer | Node) -> None:
        self._path, self._server = out / privacy.FOLDER / "pushed.json", target.address
        try:
            content: Any = files.read_json(self._path)
            self._sent = {str(server): [str(x) for x in hashes] for server, hashes in content.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            self._sent = {}

    def has(self, sha256: str) -> bool:
        """True if the server has a file of this content."""
        return sha256 in self._sent.get(self._server, ())

    def add(self, sha256: str) -> None:
        """Record that the server has a file of this content."""
        self._sent.setdefault(self._server, []).append(sha256)
        privacy.write_private(self._path, json.dumps(self._sent, indent=1).encode())


def _say(outcome: Outcome, say: Reporter) -> None:
    if outcome.finding is None:
        say.detail(f"  {outcome.status}: {outcome.file}")
    else:
        say.line(f"  failed: {outcome.finding}")


def _conclude(outcomes: Sequence[Outcome], out: Path, say: Reporter) -> ExitCode:
    rows = []
    for outcome in sorted(outcomes, key=lambda outcome: outcome.file):
        row = {"file": outcome.file, "status": outcome.status}
        if (finding := outcome.finding) is not None:
            row |= {"code": finding.code, "details": finding.details, "how_to_fix": finding.how_to_fix}
        rows.append(row)
    files.write_csv(out / "push.csv", COLUMNS, rows)
    counts = Counter(outcome.status for outcome in outcomes)
    words = ", ".join(f"{n} {status}" for status, n in sorted(counts.items()))
    say.result(f"{len(outcomes)} files: {words}. Table: {out / 'push.csv'}")
    if counts["failed"] == len(outcomes):
        return ExitCode.NOTHING_USABLE
    return ExitCode.SOME_EXCLUDED if counts["failed"] else ExitCode.DONE

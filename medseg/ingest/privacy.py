"""Pseudonyms for DICOM series: keyed hashes that stand for identities everywhere outside `private/`."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg import files
from medseg.errors import Code, MedsegError
from medseg.io.dicom.files import DicomFile
from medseg.io.dicom.series import SeriesVolume

FOLDER = "private"
"""The only folder of an output that tells identities; its files have mode 0600."""

INDEX_COLUMNS = (
    "case", "patient_id", "patient_name", "study_date", "accession_number", "study_uid", "series_uid",
    "series_number", "series_description", "volume", "files", "first_file",
)  # fmt: skip
"""Columns of `private/index.csv`."""

_KEY_BYTES = 32
_SHORTEST_KEY = 16
_NAME_DIGITS = 12


@dataclass(frozen=True)
class Pseudonyms:
    """Names made from a secret key: the same identity and key always give the same name."""

    key: bytes

    def digest(self, *identity: str) -> str:
        """A keyed hash of an identity's parts, in hexadecimal."""
        return hmac.new(
            self.key, "\x1f".join(identity).encode("utf-8", "surrogatepass"), hashlib.sha256
        ).hexdigest()

    def of_volume(self, volume: SeriesVolume) -> str:
        """The case name of a series's volume: its modality and twelve digits of the keyed hash."""
        header = volume.header
        identity = header.series_uid or str(header.file)
        kind = "".join(c for c in header.modality.lower()[:16] if c.isalnum() and c.isascii()) or "dicom"
        return f"{kind}-{self.digest(identity, volume.label)[:_NAME_DIGITS]}"

    def of_file(self, file: DicomFile) -> str:
        """The case name of a file that is part of no volume."""
        return f"file-{self.digest(str(file))[:_NAME_DIGITS]}"


def load_key(out: Path, key_file: Path | None) -> Pseudonyms:
    """Read the key from ``key_file``, else from `private/key` below ``out``, made where there is none.

    Raises PATH_MISSING for a key file that is not there, USAGE for one of less than 16 bytes.
    """
    path = key_file or out / FOLDER / "key"
    if key_file is None and not path.exists():
        write_private(path, secrets.token_hex(_KEY_BYTES).encode())
    try:
        key = path.read_bytes().strip()
    except FileNotFoundError:
        raise MedsegError(Code.PATH_MISSING, "--key-file", "no such file", "name a file with a key") from None
    if len(key) < _SHORTEST_KEY:
        details = f"a key of {len(key)} bytes"
        raise MedsegError(Code.USAGE, "--key-file", details, f"use {_SHORTEST_KEY} bytes or more")
    return Pseudonyms(key)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that its owner alone can read, in a folder that its owner alone can enter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    with files.written_aside(path) as part:
        part.chmod(0o600)
        part.write_bytes(content)
    path.chmod(0o600)


def write_index(out: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write `private/index.csv`: which pseudonym stands for whom."""
    before = os.umask(0o077)
    try:
        path = out / FOLDER / "index.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        files.write_csv(path, INDEX_COLUMNS, rows)
    finally:
        os.umask(before)


def index_row(case: str, volume: SeriesVolume) -> dict[str, object]:
    """A row of the index: the identity that a case name stands for."""
    header = volume.header
    identity = _identity(header.file)
    return {
        "case": case,
        **identity,
        "study_uid": header.study_uid,
        "series_uid": header.series_uid,
        "series_number": header.series_number,
        "series_description": header.description,
        "volume": volume.label,
        "files": len(volume.files),
        "first_file": str(header.file),
    }


def _identity(file: DicomFile) -> dict[str, object]:
    import pydicom

    keywords = {
        "patient_id": "PatientID",
        "patient_name": "PatientName",
        "study_date": "StudyDate",
        "accession_number": "AccessionNumber",
    }
    with file.open() as stream:
        dataset = pydicom.dcmread(
            stream, stop_before_pixels=True, force=True, specific_tags=list(keywords.values())
        )
    return {column: str(dataset.get(keyword, "")) for column, keyword in keywords.items()}

"""Pseudonyms of DICOM series and of files: keyed hashes, explained by an index in `private/` alone."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import stat
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg import files
from medseg.errors import Code, MedsegError
from medseg.io.dicom import terms
from medseg.io.dicom.elements import read_plain
from medseg.io.dicom.files import DicomFile
from medseg.io.dicom.series import SeriesVolume
from medseg.io.dicom.values import tag_of, value_of

FOLDER = "private"
"""The only folder of an output that tells identities."""

_FOLDER_MODE, _FILE_MODE = 0o700, 0o600

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
        kind = header.modality.lower() if header.modality in terms.MODALITIES else "dicom"
        return f"{kind}-{self.digest(identity, volume.label)[:_NAME_DIGITS]}"

    def of_file(self, file: DicomFile) -> str:
        """The case name of a file that is part of no volume."""
        return f"file-{self.digest(str(file))[:_NAME_DIGITS]}"

    def of_case(self, name: str, kind: str) -> str:
        """The pseudonym of a case whose name comes from its path; ``kind`` is `scan` or `image`."""
        return f"{kind}-{self.digest(kind, name)[:_NAME_DIGITS]}"


def load_key(out: Path, key_file: Path | None) -> Pseudonyms:
    """Read the key from ``key_file``, else from `private/key` below ``out``, made where there is none.

    Raises PATH_MISSING for a key file that is not there, USAGE for one of less than 16 bytes, and for a
    `private` or a key in it that is a symbolic link.
    """
    path = key_file or out / FOLDER / "key"
    if key_file is None:
        _require_own(path.parent)
        _require_own(path)
        if path.exists():
            path.chmod(_FILE_MODE)
        else:
            write_private(path, secrets.token_hex(_KEY_BYTES).encode())
    where = "--key-file" if key_file else f"{FOLDER}/key"
    try:
        key = path.read_bytes().strip()
    except FileNotFoundError:
        raise MedsegError(Code.PATH_MISSING, where, "no such file", "name a file with a key") from None
    except OSError as error:
        details = f"the key cannot be read ({error.strerror or type(error).__name__})"
        raise MedsegError(Code.USAGE, where, details, "name a readable file with a key") from None
    if len(key) < _SHORTEST_KEY:
        details = f"a key of {len(key)} bytes"
        raise MedsegError(Code.USAGE, where, details, f"use {_SHORTEST_KEY} bytes or more")
    return Pseudonyms(key)


def key_warning(key_file: Path | None) -> str:
    """A warning if every user of the machine can read the key; empty otherwise."""
    if key_file is None or not key_file.stat().st_mode & stat.S_IROTH:
        return ""
    return "--key-file: every user of this machine can read the key, and find out whom a case name stands for"


def write_private(path: Path, content: bytes) -> None:
    """Write a file that its owner alone can read, in a folder that its owner alone can enter.

    Raises USAGE where the folder or the file is a symbolic link, which may lead anywhere.
    """
    _require_own(path.parent)
    _require_own(path)
    path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    path.parent.chmod(_FOLDER_MODE)
    with files.written_aside(path, mode=_FILE_MODE) as part:
        part.write_bytes(content)


def _require_own(path: Path) -> None:
    if path.is_symlink():
        where = "/".join(path.parts[path.parts.index(FOLDER) :]) if FOLDER in path.parts else FOLDER
        raise MedsegError(Code.USAGE, where, "a symbolic link, which may lead anywhere", "remove it")


def write_index(out: Path, rows: Sequence[Mapping[str, object]]) -> None:
    """Write `private/index.csv`: whom each pseudonym stands for; rows of earlier runs' other cases stay."""
    path = out / FOLDER / "index.csv"
    new = {row["case"] for row in rows}
    _require_own(path)
    earlier: Sequence[Mapping[str, object]] = files.read_csv(path) if path.is_file() else ()
    kept = [
        {column: row.get(column) for column in INDEX_COLUMNS} for row in earlier if row["case"] not in new
    ]
    write_private(path, files.csv_text(INDEX_COLUMNS, [*kept, *rows]).encode(errors="backslashreplace"))


def file_row(case: str, file: object) -> dict[str, object]:
    """A row of the index for a case that is known by its file alone."""
    return {**dict.fromkeys(INDEX_COLUMNS, ""), "case": case, "first_file": str(file)}


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
    keywords = {
        "patient_id": "PatientID",
        "patient_name": "PatientName",
        "study_date": "StudyDate",
        "accession_number": "AccessionNumber",
    }
    with file.open() as stream, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        tags = {column: tag_of(keyword) for column, keyword in keywords.items()}
        dataset: Any = read_plain(stream, frozenset(tags.values()))
        if dataset is None:
            import pydicom

            stream.seek(0)
            dataset = pydicom.dcmread(
                stream, stop_before_pixels=True, force=True, specific_tags=list(tags.values())
            )
        return {column: str(value_of(dataset, keyword, "")) for column, keyword in keywords.items()}

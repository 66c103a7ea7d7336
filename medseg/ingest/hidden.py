"""Inputs whose names may name a patient: the one place that turns a path into words fit for screen and log.

Inside :func:`hidden_inputs` an input is `input 1`, `input 2`, … and the output folder `OUT`, in every line,
refusal and traceback; libraries neither warn nor log, as they quote values of headers.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from medseg.console import Reporter
from medseg.errors import MEANING, Code, Finding, HiddenError, MedsegError, WorkerFaultError
from medseg.resources import is_disk_full, is_out_of_memory

_QUOTING = frozenset(
    {
        *(Code.NAME_INVALID, Code.DUPLICATE_CASE, Code.DATA_FILE_OUTSIDE, Code.FILE_MISSING),
        *(Code.NOT_AN_IMAGE, Code.FORMAT_NOT_READ, Code.UNITS_UNKNOWN),
    }
)
"""Codes whose details quote names or texts of a file: their meaning stands instead."""

_OF_PATHS = (PermissionError, FileExistsError, NotADirectoryError, IsADirectoryError)
"""Errors that another path mends, so that it must be said which of the inputs it is."""

_EXAMPLE = ", for example"
"""Begins the part of a remedy that names the file."""

_ENDS_PATH = r"(?=[\s/'\"`:;,!?)\]}>|]|$)"


@dataclass(frozen=True)
class HiddenPaths:
    """The paths to hide, as one pattern, and by each the words that stand for it."""

    pattern: re.Pattern[str]
    words: dict[str, str]

    @classmethod
    def of(cls, inputs: Sequence[Path], out: Path | None) -> HiddenPaths:
        """Hide the inputs with all that lies below them, and the folders that the output lies in."""
        words = {} if out is None else dict.fromkeys(_spellings(out), "OUT")
        for number, path in enumerate(inputs, 1):
            words |= {spelling: f"input {number}" for spelling in _spellings(path) if spelling not in words}
        longest_first = sorted(words, key=len, reverse=True)
        return cls(re.compile(f"({'|'.join(map(re.escape, longest_first))}){_ENDS_PATH}(/.*)?"), words)

    def text(self, text: str) -> str:
        """The text with words for paths; below an input all is left out to the end of the line."""
        return self.pattern.sub(self._shown, text)

    def _shown(self, match: re.Match[str]) -> str:
        word, below = self.words[match[1]], match[2] or ""
        if not below or below == "/":
            return word + below
        return word + (self.text(below) if word == "OUT" else "/…")

    def refusal(self, error: MedsegError) -> MedsegError:
        """The refusal in the same words, but for paths."""
        finding = error.finding
        details, how_to_fix = self.text(finding.details), self.text(finding.how_to_fix)
        return MedsegError(finding.code, self.text(finding.where), details, how_to_fix)

    def fault(self, error: Exception, out: Path | None) -> Exception:
        """An error of the system or a library without its words, which may quote anything."""
        if is_disk_full(error, out or Path.cwd()):
            how_to_fix = "free some and run the same command again"
            return MedsegError(Code.DISK_FULL, "OUT", "no space is left", how_to_fix)
        if isinstance(error, WorkerFaultError):
            hidden = HiddenError(error.kind).with_traceback(error.__traceback__)
            hidden.add_note(f"In the worker process:\n{error.frames}")
            return hidden
        if not isinstance(error, OSError) or error.errno is None:
            return HiddenError(type(error).__name__).with_traceback(error.__traceback__)
        name, words = error.filename2 or error.filename, os.strerror(error.errno)
        of_path = isinstance(error, _OF_PATHS) or error.errno == errno.EROFS
        if isinstance(name, str | bytes) and of_path:
            return OSError(error.errno, words, self.text(os.fsdecode(name)))
        return HiddenError(f"{type(error).__name__}, {words}").with_traceback(error.__traceback__)


def _spellings(path: Path) -> set[str]:
    """A path as it is written in texts: through links or not, escaped as Python and as addresses do."""
    paths = {str(path.absolute()), str(path.resolve())}
    return {form for text in paths for form in (text, ascii(text)[1:-1], quote(text, errors="replace"))}


@contextmanager
def hidden_inputs(inputs: Sequence[Path], out: Path | None, say: Reporter) -> Iterator[None]:
    """Keep the names of inputs and of the folders of ``out`` out of all that is printed, logged and raised.

    Inside, all of them must be used as absolute paths: relative ones are no paths that a text shows.

    Raises MedsegError without paths; instead of any other error HiddenError, or OSError without paths.
    """
    paths, before, logged = HiddenPaths.of(inputs, out), say.redact, logging.root.manager.disable
    say.redact = lambda text: paths.text(before(text))
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except MedsegError as error:
        raise paths.refusal(error) from None
    except BrokenPipeError:
        raise
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise paths.fault(error, out) from None
    finally:
        say.redact = before
        logging.disable(logged)


def without_names(finding: Finding, case: str, files: Sequence[Path]) -> Finding:
    """A finding about a case under a pseudonym, without the names of its files."""
    details = MEANING[finding.code] if finding.code in _QUOTING else finding.details
    how_to_fix = finding.how_to_fix.partition(_EXAMPLE)[0]
    names = {name for file in files for name in (str(file), file.name)}
    for name in sorted(names, key=len, reverse=True):
        details, how_to_fix = details.replace(name, case), how_to_fix.replace(name, case)
    return replace(finding, where=case, details=details, how_to_fix=how_to_fix)

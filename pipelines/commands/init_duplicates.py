"""`medseg init`: cases that several files claim, as `t1.nii` beside `t1.nii.gz`."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from medseg.errors import Code
from medseg.ingest import layouts
from medseg.ingest.layouts import PATTERNED, Guess
from medseg.ingest.patterns import FolderContents
from medseg.ingest.tree import without_suffix
from pipelines.commands import init_reading


def settled(data: Path, guess: Guess) -> Guess:
    """The guess with one suffix where files lie there in two formats, and a remark on what stays double."""
    contents = init_reading.find(data, guess)
    strays = [stray for stray in contents.strays if stray.code is Code.DUPLICATE_CASE]
    if not strays:
        return guess
    if guess.layout in PATTERNED and (narrow := _of_one_suffix(data, guess, contents)):
        return narrow
    counted = "1 case is" if len(strays) == 1 else f"{len(strays)} cases are"
    remark = f"{counted} left out, DUPLICATE_CASE: {strays[0].details}"
    return replace(guess, remarks=(*guess.remarks, remark))


def _of_one_suffix(data: Path, guess: Guess, contents: FolderContents) -> Guess | None:
    """The guess with a suffix in patterns that have none, if more cases are labelled with it.

    Tried are the two most frequent suffixes, for channels, for label maps, and for both; of equals the first.
    """
    counts = Counter(path.name[len(without_suffix(path.name)) :] for path in contents.files())
    best: Guess | None = None
    for suffix, _ in counts.most_common(2):
        channels = {name: _with_suffix(text, suffix) for name, text in guess.channels.items()}
        label = guess.label and _with_suffix(guess.label, suffix)
        remark = f"some files lie there in two formats, of which {suffix} is taken"
        for written in (
            {"channels": channels},
            {"label": label},
            {"channels": channels, "label": label},
        ):
            narrow = _counted(data, replace(guess, **written, remarks=(*guess.remarks, remark)))
            if narrow.n_labelled > (best or guess).n_labelled:
                best = narrow
    return best


def _counted(data: Path, guess: Guess) -> Guess:
    """The guess with the numbers of what its patterns find."""
    contents = init_reading.find(data, guess)
    labelled = sum(bool(case.label_paths) for case in contents.cases)
    return replace(guess, n_cases=len(contents.cases), n_labelled=labelled, n_other=layouts.n_other(contents))


def _with_suffix(pattern: str, suffix: str) -> str:
    return pattern if without_suffix(pattern) != pattern else pattern + suffix

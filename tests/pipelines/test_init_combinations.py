"""`medseg init` on folders put together from habits of naming: nothing is lost, subjects are right."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from medseg.config import load
from medseg.ingest import layouts
from pipelines.commands import init
from tests.helpers.everyday_folders import label, scan

PATIENTS: tuple[Callable[[int], str], ...] = (
    lambda i: f"P{i:02}",
    lambda i: f"sub-{i:02}",
    lambda i: f"patient_{i}",
    lambda i: f"{i:03}",
    lambda i: ("anna", "bert", "carl", "dora", "emil")[i],
    lambda i: f"IBSR_{i:02}",
    lambda i: f"Subject {i}",
    lambda i: f"AB{i * 37 + 5:04}X",
)
SESSIONS = (
    *((None,), (None,), ("visit1", "visit2"), ("baseline", "followup"), ("ses-1", "ses-2"), ("1", "2")),
    *(("2020-01-02", "2021-03-04"), ("20200102", "20210304"), ("Visit 1", "Visit 2"), ("month00", "month12")),
)
SITES = ((None,), (None,), ("Oslo", "Bergen"), ("site1", "site2"), ("A", "B"))
CONTRASTS = (("t1",), ("T1", "FLAIR"), ("T1w", "T2w", "FLAIR"), ("flair", "t1", "t1ce"), ("0000", "0001"))
LABELS = ("manual", "seg", "final", "lesions", "gt", "tumor_mask", "roi", "xy", "final_v2", "expert1", "WMH")

Styles = dict[str, Callable[[str, str, str, str], str]]
"""Style → the path of a file from the folders of its case, its site, the case's name and the file's word."""

STYLES: Styles = {
    "folders": lambda folders, _site, _name, word: f"{folders}/{word}",
    "folders and names": lambda folders, _site, name, word: f"{folders}/{name}_{word}",
    "names alone": lambda _folders, site, name, word: f"{site}{name}_{word}",
    "a folder a word": lambda _folders, site, name, word: f"{site}d{word}/{name}",
    "deeper": lambda folders, _site, _name, word: (
        f"{folders}/{'anat' if word[0] in 'tTfF0' else 'rois'}/{word}"
    ),
}


@pytest.mark.parametrize("seed", range(40))
def test_cases_labels_channels_and_subjects_are_found(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    patient, sessions, sites = rng.choice(PATIENTS), rng.choice(SESSIONS), rng.choice(SITES)
    contrasts, drawn, style = rng.choice(CONTRASTS), rng.choice(LABELS), rng.choice([*STYLES])
    root, subjects, cases = tmp_path / "data", set(), 0
    for number, site in enumerate(sites):
        for i in range(5):
            for session in sessions:
                name = "_".join(filter(None, (patient(i), session)))
                folders = "/".join(filter(None, (site, patient(i), session)))
                subjects.add((site, i))
                cases += 1
                for word in (*contrasts, drawn):
                    path = STYLES[style](folders, f"{site}/" if site else "", name, word)
                    write, values = (label, (1, 2)) if word == drawn else (scan, ())
                    write(root / f"{path}.nii", *values, place=100.0 * number + i)
    guess = init.run(root, out := tmp_path / "made.yaml", force=False)
    data = load.load(str(out)).data
    contents = layouts.find(
        root, data.layout, data.channels, data.label, masks=data.masks, subject=data.subject
    )
    assert (guess.n_cases, guess.n_labelled, len(contents.cases)) == (cases, cases, cases), guess
    assert len(data.channels) == len(contrasts), guess
    assert len({case.subject for case in contents.cases}) == len(subjects), guess

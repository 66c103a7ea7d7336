"""`segment --private` on plain files, and the folder `private/` that explains the pseudonyms."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medseg import files
from medseg.errors import Code, ExitCode, MedsegError
from medseg.ingest import privacy
from tests.helpers.leaks import Words, leaks
from tests.privacy.conftest import Command

AFFINE = np.diag([1.0, 1.5, 2.0, 1.0])
WORDS = Words.of(["ZZMEIER", "CANARYSTUDY", "ZZREPORT", "ZZHUBER"], ["ZZ[A-Z]{2,}", "(?i)canary"])


@pytest.fixture
def research(tmp_path: Path, brain: Any) -> Path:
    """NIfTI files of a study, good and bad, with names of patients in their paths."""
    root = tmp_path / "CANARYSTUDY"
    for folder in ("ZZMEIER", "ZZHUBER"):
        (root / folder).mkdir(parents=True)
        nib.save(nib.Nifti1Image(brain, AFFINE), root / folder / f"{folder}_T1.nii.gz")
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4), np.int16), AFFINE), root / "ZZMEIER constant.nii")
    nib.save(nib.Nifti1Image(np.zeros((4, 4, 4, 3), np.int16), AFFINE), root / "ZZMEIER 4D.nii")
    nib.save(nib.Nifti1Image(brain, AFFINE), root / "ZZMEIER_seg.nii.gz")
    whole = (root / "ZZMEIER/ZZMEIER_T1.nii.gz").read_bytes()
    (root / "ZZMEIER cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    (root / "ZZMEIER no.nii").write_bytes(b"ZZREPORT " * 99)
    (root / f"ZZMEIER{'x' * 230}.nii").write_bytes(b"")
    (root / "ZZMEIER\tTAB.nii").write_bytes(b"")
    (root / "ZZMEIER gone.nii").symlink_to(root / "ZZREPORT.nii")
    header = "ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementType = MET_SHORT\n"
    (root / "ZZMEIER.mha").write_text(header + "ElementDataFile = /ZZREPORT/ZZREPORT.raw\n")
    (root / "ZZREPORT.pdf").write_bytes(b"ZZREPORT")
    (root / "ZZREPORT.zip").write_bytes(b"")
    return root


def test_nothing_names_a_file(research: Path, tmp_path: Path, command: Command, model: Path) -> None:
    words = ("segment", research, research / "ZZREPORT.pdf", out := tmp_path / "out", "--model", model)
    code, screen = command(*words, "--accept-domain", "--private", "--verbose")
    assert code == ExitCode.SOME_EXCLUDED, screen
    assert leaks(out, WORDS, screen) == {}
    rows = files.read_csv(out / "summary.csv")
    assert [row["status"] for row in rows].count("done with note") == 2, rows
    codes = {row["code"] for row in rows}
    assert codes >= {"CONSTANT", "FOUR_D", "TRUNCATED", "NAME_INVALID", "FILE_UNREADABLE", "NOT_AN_IMAGE"}
    index = files.read_csv(out / "private/index.csv")
    assert {row["case"] for row in rows} == {row["case"] for row in index}
    place = {row["first_file"]: row["case"] for row in index}
    label = out / f"{place[str(research / 'ZZMEIER/ZZMEIER_T1.nii.gz')]}.nii.gz"
    assert nib.load(label).shape == (20, 24, 8)
    assert files.read_json(out / "run.json")["left_out"] == 3


def test_names_stay_without_it(research: Path, tmp_path: Path, command: Command, model: Path) -> None:
    code, screen = command("segment", research, out := tmp_path / "out", "--model", model, "--accept-domain")
    assert code == ExitCode.SOME_EXCLUDED and "ZZMEIER" in screen
    assert (out / "ZZMEIER__ZZMEIER_T1.nii.gz").is_file() and not (out / "private").exists()


def test_the_same_key_gives_the_same_names_elsewhere(
    research: Path, tmp_path: Path, command: Command, model: Path
) -> None:
    (key := tmp_path / "key").write_bytes(b"0123456789abcdef")
    key.chmod(0o600)
    moved = tmp_path / "elsewhere"
    options = ("--model", model, "--accept-domain", "--private")
    command("segment", research, tmp_path / "a", *options, "--key-file", key)
    research.rename(moved)
    command("segment", moved, tmp_path / "b", *options, "--key-file", key, "--no-index")
    command("segment", moved, tmp_path / "c", *options)
    a, b, c = ({path.name for path in (tmp_path / out).glob("scan-*")} for out in "abc")
    assert a == b and a and not a & c
    assert not (tmp_path / "b/private").exists() and (tmp_path / "c/private/index.csv").is_file()


def test_a_second_run_skips_what_is_done(
    research: Path, tmp_path: Path, command: Command, model: Path
) -> None:
    words = ("segment", research, tmp_path / "out", "--model", model, "--accept-domain", "--private")
    command(*words)
    _, screen = command(*words)
    assert screen.count("skipped: scan-") == 2


# The folder `private/`


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_owner_alone_can_read(umask: None, tmp_path: Path) -> None:
    privacy.load_key(tmp_path, None)
    privacy.write_index(tmp_path, [privacy.file_row("a", "b")])
    folder = tmp_path / "private"
    assert (mode(folder), mode(folder / "key"), mode(folder / "index.csv")) == (0o700, 0o600, 0o600)


def test_modes_that_were_loosened_are_tightened(tmp_path: Path) -> None:
    first = privacy.load_key(tmp_path, None)
    (tmp_path / "private").chmod(0o755)
    (tmp_path / "private/key").chmod(0o644)
    assert privacy.load_key(tmp_path, None) == first
    privacy.write_index(tmp_path, [])
    assert (mode(tmp_path / "private"), mode(tmp_path / "private/key")) == (0o700, 0o600)


@pytest.mark.parametrize("name", ["private", "private/key", "private/index.csv"])
def test_a_link_is_not_followed(name: str, tmp_path: Path) -> None:
    (out := tmp_path / "out").mkdir()
    (elsewhere := tmp_path / "elsewhere").mkdir()
    (elsewhere / "key").write_bytes(b"0123456789abcdef")
    if name != "private":
        (out / "private").mkdir()
    (out / name).symlink_to(elsewhere if name == "private" else elsewhere / "key")
    with pytest.raises(MedsegError) as caught:
        privacy.load_key(out, None)
        privacy.write_index(out, [privacy.file_row("a", "b")])
    assert caught.value.code is Code.USAGE and caught.value.finding.where == name
    assert (elsewhere / "key").read_bytes() == b"0123456789abcdef" and len([*elsewhere.iterdir()]) == 1


@pytest.mark.parametrize("content", [b"", b" \n", b"0123456789abcde", b"0123456789abcde\n  "])
def test_a_short_key_is_refused(content: bytes, tmp_path: Path) -> None:
    (key := tmp_path / "key").write_bytes(content)
    with pytest.raises(MedsegError) as caught:
        privacy.load_key(tmp_path / "out", key)
    assert caught.value.code is Code.USAGE and not (tmp_path / "out").exists()


def test_a_key_that_is_no_file_is_refused(tmp_path: Path) -> None:
    for path, code in ((tmp_path, Code.USAGE), (tmp_path / "no", Code.PATH_MISSING)):
        with pytest.raises(MedsegError) as caught:
            privacy.load_key(tmp_path / "out", path)
        assert caught.value.code is code and caught.value.finding.where == "--key-file"


def test_a_key_that_everybody_can_read_is_warned_of(
    research: Path, tmp_path: Path, command: Command, model: Path
) -> None:
    (key := tmp_path / "key").write_bytes(b"0123456789abcdef")
    for bits, warned in ((0o644, True), (0o640, False), (0o600, False)):
        key.chmod(bits)
        _, screen = command(
            "segment", research, tmp_path / "out", "--model", model, "--private", "--key-file", key
        )
        assert ("every user of this machine can read the key" in screen) == warned


def test_the_index_keeps_the_cases_of_earlier_runs(tmp_path: Path) -> None:
    privacy.write_index(tmp_path, [privacy.file_row("a", "1"), privacy.file_row("b", "2")])
    privacy.write_index(tmp_path, [privacy.file_row("b", "3"), privacy.file_row("c", "=4")])
    rows = files.read_csv(tmp_path / "private/index.csv")
    assert [(row["case"], row["first_file"]) for row in rows] == [("a", "1"), ("b", "3"), ("c", "=4")]

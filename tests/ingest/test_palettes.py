"""Palette masks whose colours stand at other indices than in the rest of the set."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medseg.classes import ClassList
from medseg.errors import Code
from medseg.ingest.palettes import faults_by_case, palette_faults
from medseg.ingest.patterns import CaseFiles
from tests.helpers.images import save, stripes

BLACK, RED, GREEN, GREY = (0, 0, 0), (128, 0, 0), (0, 128, 0), (1, 1, 1)
CLASSES = ClassList.from_names({0: "other", 1: "road"})
USUAL = [BLACK, RED, GREEN]


def test_one_file_with_exchanged_colours_is_named(tmp_path: Path) -> None:
    usual = [save(tmp_path / f"{i}.png", stripes([0, 1]), USUAL) for i in range(3)]
    odd = save(tmp_path / "odd.png", stripes([1, 0]), [RED, BLACK, GREEN])
    faults = palette_faults([*usual, odd], CLASSES)
    assert list(faults) == [odd]
    assert faults[odd].code is Code.PALETTE_DIFFERS
    assert "label_form: colours" in faults[odd].how_to_fix and "0.png" in faults[odd].details


def test_of_two_files_the_class_lists_background_decides(tmp_path: Path) -> None:
    usual = save(tmp_path / "z.png", stripes([0, 1]), [BLACK, RED])
    odd = save(tmp_path / "a.png", stripes([0, 1]), [RED, BLACK])
    assert list(palette_faults([odd, usual], CLASSES)) == [odd]
    assert set(palette_faults([odd, usual])) == {odd, usual}


def test_the_class_lists_own_colours_outweigh_the_number_of_files(tmp_path: Path) -> None:
    listed = ClassList.from_names({0: "other", 1: "road", 2: "car"}, {1: RED, 2: GREEN})
    right = save(tmp_path / "right.png", stripes([0, 1, 2]), USUAL)
    wrong = [save(tmp_path / f"{i}.png", stripes([0, 1, 2]), [BLACK, GREEN, RED]) for i in range(3)]
    assert set(palette_faults([right, *wrong], listed)) == set(wrong)
    assert list(palette_faults([right, *wrong])) == [right]


def test_only_indices_that_a_file_uses_count(tmp_path: Path) -> None:
    usual = [save(tmp_path / f"{i}.png", stripes([0, 1]), USUAL) for i in range(2)]
    shorter = save(tmp_path / "short.png", stripes([0, 1]), [BLACK, RED])
    unused = save(tmp_path / "unused.png", stripes([0, 1]), [BLACK, RED, RED, BLACK])
    assert palette_faults([*usual, shorter, unused], CLASSES) == {}


@pytest.mark.parametrize("palette", [[BLACK, GREY, (2, 2, 2)], [(9, 9, 9)] * 256, []])
def test_palettes_that_say_nothing_are_left_to_their_indices(
    tmp_path: Path, palette: list[tuple[int, int, int]]
) -> None:
    usual = [save(tmp_path / f"{i}.png", stripes([0, 1]), USUAL) for i in range(2)]
    other = save(tmp_path / "other.png", stripes([0, 1]), palette)
    (tmp_path / "bad.png").write_bytes(b"bad")
    paths = [*usual, other, tmp_path / "bad.png", tmp_path / "scan.nii.gz", tmp_path / "absent.png"]
    assert palette_faults(paths, CLASSES) == {}


def test_masks_read_by_their_colours_need_no_order(tmp_path: Path) -> None:
    paths = [
        save(tmp_path / "a.png", stripes([0, 1]), [BLACK, RED]),
        save(tmp_path / "b.png", stripes([0, 1]), [RED, BLACK]),
    ]
    listed = ClassList.from_names({0: "other", 1: "road"}, {1: RED})
    assert palette_faults(paths, replace(listed, label_form="colours")) == {}
    assert len(palette_faults(paths, listed)) == 1


def test_a_grey_image_has_no_palette(tmp_path: Path) -> None:
    assert palette_faults([save(tmp_path / f"{i}.png", np.eye(12, dtype=np.uint8)) for i in range(2)]) == {}


def test_the_case_of_an_exchanged_palette_is_named(tmp_path: Path) -> None:
    for name, palette in (("p", [BLACK, RED]), ("q", [RED, BLACK])):
        save(tmp_path / f"{name}/mask.png", stripes([0, 1]), palette)
    cases = [CaseFiles(n, n, {}, tmp_path / n / "mask.png") for n in "pq"]
    assert list(faults_by_case([*cases, CaseFiles("r", "r", {}, None)], CLASSES)) == ["q"]
    folders = [CaseFiles(n, n, {}, tmp_path / n) for n in "pq"]
    assert list(faults_by_case(folders, CLASSES)) == ["q"]

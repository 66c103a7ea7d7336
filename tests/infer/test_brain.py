"""Brains are cut out by a mask made elsewhere or by extraction, and a mask that cannot be one is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.errors import Code, MedsegError
from medseg.grid import Grid
from medseg.infer.brain import BrainMask
from medseg.io import scans
from medseg.io.dicom.series import read_export
from medseg.preprocess import brain_extraction
from medseg.volume import Volume
from tests.helpers.dicom_files import write_series
from tests.helpers.scan_files import save

AFFINE = np.diag([8.0, 8.0, 8.0, 1.0])


@pytest.fixture
def scan(tmp_path: Path) -> Volume:
    array = np.random.default_rng(0).integers(10, 90, (12, 13, 14)).astype(np.int16)
    save(tmp_path / "scan.nii.gz", array, AFFINE)
    return scans.read(tmp_path / "scan.nii.gz")


@pytest.fixture
def mask(tmp_path: Path) -> Any:
    array = np.zeros((12, 13, 14), np.uint8)
    array[3:9, 2:10, 4:12] = 1
    save(tmp_path / "mask.nii.gz", array, AFFINE)
    return array


def refused(brain: BrainMask, scan: Volume, source: Any = Path("scan"), accept: bool = False) -> Code:
    with pytest.raises(MedsegError) as caught:
        brain.apply(scan, source, accept_domain=accept)
    return caught.value.code


def test_nothing_is_left_outside_a_mask(scan: Volume, mask: Any, tmp_path: Path) -> None:
    left, notes = BrainMask(tmp_path / "mask.nii.gz").apply(scan, Path("scan"), accept_domain=False)
    np.testing.assert_array_equal(left.array[0], np.where(mask, scan.array[0], 0))
    assert left.grid == scan.grid and left.array.dtype == scan.array.dtype and notes == []


def test_a_mask_in_another_order_of_axes_lies_at_the_same_place(
    scan: Volume, mask: Any, tmp_path: Path
) -> None:
    turned = AFFINE.copy()
    turned[0] = [-8, 0, 0, 8 * 11]
    save(tmp_path / "turned.nii.gz", mask[::-1], turned)
    left, notes = BrainMask(tmp_path / "turned.nii.gz").apply(scan, Path("scan"), accept_domain=False)
    np.testing.assert_array_equal(left.array[0], np.where(mask, scan.array[0], 0))
    assert notes[-1].code == Code.REORIENTED


def test_outside_is_the_lowest_value_where_that_is_below_zero() -> None:
    array = np.array([[-5.0, 3.0], [2.0, 1.0]], np.float32).reshape(1, 2, 2, 1)
    volume = Volume(array, Grid((2, 2, 1), np.eye(4)))
    left = brain_extraction.apply(volume, np.array([[False, True], [True, False]])[..., None])
    assert left.array.ravel().tolist() == [-5, 3, 2, -5]


def test_masks_of_another_grid_and_of_nothing_are_refused(scan: Volume, mask: Any, tmp_path: Path) -> None:
    shifted = AFFINE.copy()
    shifted[0, 3] = 1
    save(tmp_path / "shifted.nii.gz", mask, shifted)
    assert refused(BrainMask(tmp_path / "shifted.nii.gz"), scan) == Code.GRID_MISMATCH
    save(tmp_path / "empty.nii.gz", np.zeros_like(mask), AFFINE)
    assert refused(BrainMask(tmp_path / "empty.nii.gz"), scan) == Code.CONSTANT


@pytest.fixture
def extracted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Have deepbet give a mask, or fail as it does."""
    deepbet = pytest.importorskip("deepbet")

    def give(answer: Any) -> None:
        class Extraction:
            def __init__(self, no_gpu: bool) -> None:
                assert no_gpu

            def run(self, image: Any) -> Any:
                if isinstance(answer, Exception):
                    raise answer
                return image, type(image)(answer, image.affine), 1.0

        monkeypatch.setattr(deepbet, "BrainExtraction", Extraction)

    return give


def test_extraction_leaves_the_brain_and_asks_for_review(scan: Volume, mask: Any, extracted: Any) -> None:
    extracted(mask)
    left, (note,) = BrainMask().apply(scan, Path("scan"), accept_domain=False)
    np.testing.assert_array_equal(left.array[0], np.where(mask, scan.array[0], 0))
    assert note.code == Code.BRAIN_EXTRACTED and "197 ml" in note.details and "deepbet 1" in note.details


@pytest.mark.parametrize("answer", [np.zeros((12, 13, 14), np.uint8), AssertionError("none"), ValueError()])
def test_a_mask_that_cannot_be_one_of_a_brain_is_refused(scan: Volume, extracted: Any, answer: Any) -> None:
    extracted(answer)
    assert refused(BrainMask(), scan) == Code.BRAIN_NOT_FOUND


def test_other_contrasts_than_t1_are_stripped_only_if_accepted(
    scan: Volume, mask: Any, extracted: Any, tmp_path: Path
) -> None:
    extracted(mask)
    tags = {"ScanningSequence": "SE", "EchoTime": 100, "RepetitionTime": 5000}
    write_series(tmp_path / "t2", np.full((4, 5, 6), 7, np.uint16), AFFINE, **tags)
    (series,) = read_export(tmp_path / "t2").volumes
    assert refused(BrainMask(), scan, series) == Code.OUT_OF_DOMAIN
    _, notes = BrainMask().apply(scan, series, accept_domain=True)
    assert {note.code for note in notes} == {Code.OUT_OF_DOMAIN, Code.BRAIN_EXTRACTED}


def test_weights_that_are_not_those_of_the_release_are_never_loaded(
    scan: Volume, mask: Any, extracted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    extracted(mask)
    monkeypatch.setitem(brain_extraction.WEIGHTS, "model.pt", "0" * 64)
    assert refused(BrainMask(), scan) == Code.MODEL_TAMPERED


def test_without_the_extra_one_line_says_what_to_install(
    scan: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(brain_extraction, "_PACKAGE", "no_such_package")
    assert refused(BrainMask(), scan) == Code.EXTRA_MISSING

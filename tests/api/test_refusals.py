"""Refusals of the Python interface: the code, and the argument as their place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import medseg
from medseg.errors import Code
from tests.api.conftest import MakeModel
from tests.helpers.scan_files import STEP, save


def refusal(call: Callable[[], object]) -> tuple[Code, str, str]:
    with pytest.raises(medseg.MedsegError) as caught:
        call()
    finding = caught.value.finding
    return finding.code, finding.where, finding.details


def with_nan(array: Any) -> Any:
    bad = array.astype(np.float32)
    bad[1, 2, 3] = np.nan
    return bad


@pytest.mark.parametrize(
    ("spoil", "affine", "code"),
    [
        (with_nan, STEP, Code.NAN_OR_INF),
        (np.zeros_like, STEP, Code.CONSTANT),
        (lambda a: a.astype(np.complex64), STEP, Code.NOT_SCALAR),
        (lambda a: np.array(["a", "b"]), STEP, Code.NOT_SCALAR),
        (lambda a: np.stack([a, a], axis=-1), STEP, Code.FOUR_D),
        (lambda a: a[:, 0, 0], STEP, Code.TOO_SMALL),
        (lambda a: a[:0], STEP, Code.NOT_AN_IMAGE),
        (lambda a: a, np.diag([1.0, 0, 2, 1]), Code.AFFINE_INVALID),
        (lambda a: a, np.diag([1.0, np.nan, 2, 1]), Code.AFFINE_INVALID),
        (lambda a: a, STEP + np.eye(4, k=1) * 0.2 * [[1], [1], [0], [0]], Code.SHEARED),
        (lambda a: a, np.diag([1e6, 1e6, 2e6, 1]), Code.UNITS_UNKNOWN),
        (lambda a: np.where(a > 100, 1e300, a), STEP, Code.VALUES_TOO_LARGE),
    ],
)
def test_an_array_is_refused_as_its_file_is(
    tmp_path: Path, brain: Any, model: medseg.Model, spoil: Any, affine: Any, code: Code
) -> None:
    array = spoil(brain)
    assert refusal(lambda: medseg.segment(array, model, affine=affine))[:2] == (code, "scan")
    if array.dtype.kind in "if" and array.ndim > 2 and array.size and code is not Code.AFFINE_INVALID:
        path = save(tmp_path / "a.nii", array, affine, qform=0)
        of_file = refusal(lambda: medseg.segment(path, model))
        assert of_file[:2] == (code, "scan")
        assert str(path) in of_file[2]


def test_an_image_whose_forms_disagree_is_refused(brain: Any, model: medseg.Model) -> None:
    image = nib.Nifti1Image(brain, STEP)
    image.set_sform(STEP, 1)
    image.set_qform(np.diag([1.0, 1.0, 3.0, 1.0]), 1)
    assert refusal(lambda: medseg.segment(image, model))[:2] == (Code.SFORM_QFORM_DISAGREE, "scan")
    image = nib.AnalyzeImage(brain, STEP)
    assert refusal(lambda: medseg.segment(image, model))[:2] == (Code.FORMAT_NOT_READ, "scan")


def test_wrong_arguments_of_segment_are_named(scan: Path, brain: Any, model: medseg.Model) -> None:
    segment: Any = medseg.segment
    cases: list[tuple[Callable[[], object], Code, str]] = [
        (lambda: segment(brain, model), Code.USAGE, "affine"),
        (lambda: segment(scan, model, affine=STEP), Code.USAGE, "affine"),
        (lambda: segment(nib.load(scan), model, affine=STEP), Code.USAGE, "affine"),
        (lambda: segment(brain, model, affine=np.eye(3)), Code.AFFINE_INVALID, "affine"),
        (lambda: segment(brain, model, affine="none"), Code.AFFINE_INVALID, "affine"),
        (lambda: segment(3, model), Code.USAGE, "scan"),
        (lambda: segment("", model), Code.USAGE, "scan"),
        (lambda: segment("scan_that_is_not_there.nii.gz", model), Code.FILE_MISSING, "scan"),
        (lambda: segment(scan, "model"), Code.USAGE, "model"),
        (lambda: segment(scan, model, mode="best"), Code.USAGE, "mode"),
        (lambda: segment(scan, model, mask="no.nii.gz"), Code.FILE_MISSING, "mask"),
        (lambda: segment(scan, model, mask=scan, strip=True), Code.USAGE, "strip"),
    ]
    for call, code, argument in cases:
        assert refusal(call)[:2] == (code, argument)


def test_wrong_arguments_of_load_model_are_named(tmp_path: Path, make_model: MakeModel) -> None:
    folder = make_model()
    assert medseg.load_model(tmp_path).sha256 == medseg.load_model(folder).sha256  # a work folder
    (tmp_path / "other").mkdir()
    assert refusal(lambda: medseg.load_model(tmp_path / "other"))[:2] == (Code.NOT_A_MODEL, "folder")
    assert refusal(lambda: medseg.load_model(folder, "tpu"))[:2] == (Code.USAGE, "device")
    assert refusal(lambda: medseg.load_model(None))[:2] == (Code.USAGE, "folder")  # type: ignore[arg-type]
    (folder / "fold0.safetensors").write_bytes(b"other")
    assert refusal(lambda: medseg.load_model(folder))[:2] == (Code.MODEL_TAMPERED, "folder")


def test_a_scan_unlike_those_of_training_is_refused_unless_accepted(
    brain: Any, make_model: MakeModel
) -> None:
    domain = {"cases": 3, "spacing_min_mm": [1, 1, 2], "spacing_max_mm": [1, 1, 2]}
    model = medseg.load_model(make_model(domain=domain))
    thick = np.diag([1.0, 1.0, 4.0, 1.0])
    with pytest.raises(medseg.MedsegError, match=r"OUT_OF_DOMAIN scan: .*accept_domain=True segments it"):
        medseg.segment(brain, model, affine=thick)
    result = medseg.segment(brain, model, affine=thick, accept_domain=True)
    assert [note.code for note in result.notes] == [Code.OUT_OF_DOMAIN]
    assert result.needs_review


def test_a_mask_leaves_nothing_but_the_brain(tmp_path: Path, brain: Any, model: medseg.Model) -> None:
    inside = np.zeros(brain.shape, np.uint8)
    inside[6:14, 7:17, 2:6] = 1
    result = medseg.segment(brain, model, affine=STEP, mask=save(tmp_path / "mask.nii.gz", inside))
    cut_out = medseg.segment(np.where(inside, brain, 0).astype(brain.dtype), model, affine=STEP)
    assert np.array_equal(result.labels.dataobj, cut_out.labels.dataobj)

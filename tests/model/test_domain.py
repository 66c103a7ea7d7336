"""The domain of a model: spacing along R, A, S and grey values; foreign scans are told from alike ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.errors import Code
from medseg.grid import Grid
from medseg.ingest import checks
from medseg.model import domain
from medseg.preprocess.geometry import GeometryPlan
from medseg.preprocess.prepare import PreparePlan, prepare
from medseg.synth import tissues
from medseg.synth.subject import make
from medseg.volume import Volume

AXIAL = np.diag([1.0, 1.0, 3.0, 1.0])
SAGITTAL = np.diag([3.0, 1.0, 1.0, 1.0])


def measured(array: Any, affine: Any, crop: bool = True) -> dict[str, Any]:
    scan = Volume(array[None], Grid(array.shape, affine))
    volume, record = prepare(scan, PreparePlan(GeometryPlan(crop=crop)))
    return domain.measure(volume, record, "auto")


def head(seed: int = 0, skew: float = 1.0) -> Any:
    """A noisy ball of 20 voxels across in air; `skew` bends its grey values."""
    at = np.indices((30, 32, 24)) - np.array([15, 16, 12]).reshape(3, 1, 1, 1)
    grey = np.random.default_rng(seed).uniform(0.1, 1, at.shape[1:]) ** skew
    return np.where((at**2).sum(0) < 100, 1000 * grey + 1, 0).astype(np.float32)


TRAINED = domain.of_cases([measured(head(seed), AXIAL) for seed in range(3)])


def problems(array: Any, affine: Any = AXIAL, trained: Any = TRAINED) -> str:
    findings = domain.check(measured(array, affine), trained, "a.nii.gz")
    assert all(finding.code == Code.OUT_OF_DOMAIN and finding.is_note for finding in findings)
    assert len(findings) <= 1
    return findings[0].details if findings else ""


def test_scans_like_those_of_training_are_inside_however_they_are_stored() -> None:
    array = head(seed=9)
    assert problems(array) == ""
    turned = np.array([[0, 0, -1.0, 0], [1.0, 0, 0, 0], [0, -3.0, 0, 0], [0, 0, 0, 1]])
    assert problems(array.transpose(1, 2, 0)[:, ::-1, ::-1], turned) == ""


def test_a_sagittal_stack_is_not_one_of_axial_slices() -> None:
    assert "3 × 1 × 1 mm along R, A, S; trained on 1 × 1 × 3 mm" in problems(head(9), SAGITTAL)
    sagittal = domain.of_cases([measured(head(0), SAGITTAL)])
    assert problems(head(9), SAGITTAL, sagittal) == ""
    assert "voxels of" in problems(head(9), AXIAL, sagittal)
    for edge, inside in ((1.99, False), (2.01, True), (4.49, True), (4.51, False)):
        text = problems(head(9), np.diag([1.0, 1.0, edge, 1.0]))
        assert ("voxels of" not in text) == inside


def test_grey_values_of_another_contrast_are_foreign() -> None:
    assert "grey values" in problems(head(9, skew=12))
    assert problems(head(9) * 7) == ""  # the scanner's scale means nothing
    assert "of its box is foreground" in problems(
        head(9) + 1 + np.random.default_rng(0).uniform(0, 1, (30, 32, 24))
    )


def test_a_much_larger_foreground_is_foreign() -> None:
    larger = np.kron(head(9), np.ones((2, 2, 2), np.float32))
    assert "foreground volume" in problems(larger)


def test_what_the_domain_does_not_hold_is_not_compared() -> None:
    assert problems(head(9), SAGITTAL, {}) == ""
    assert problems(head(9, skew=12), AXIAL, {"spacing_min_mm": [1, 1, 3], "spacing_max_mm": [1, 1, 3]}) == ""
    two_channels = {
        **TRAINED,
        "deciles_min": TRAINED["deciles_min"] * 2,
        "deciles_max": TRAINED["deciles_max"] * 2,
    }
    assert "grey values" not in problems(head(9, skew=12), AXIAL, two_channels)


def test_an_empty_scan_is_measured_too() -> None:
    figures = measured(np.zeros((4, 4, 4), np.float32), AXIAL)
    assert domain.of_cases([figures])["foreground_min_ml"] == [0.0]


def test_domains_of_members_are_merged_figure_by_figure() -> None:
    other = domain.of_cases([measured(head(5, skew=2), AXIAL)])
    both = domain.merged([TRAINED, other])
    assert both["cases"] == 3
    for low, high in (("deciles_min", "deciles_max"), ("foreground_min_ml", "foreground_max_ml")):
        np.testing.assert_array_equal(both[low], np.minimum(TRAINED[low], other[low]))
        np.testing.assert_array_equal(both[high], np.maximum(TRAINED[high], other[high]))


def test_images_are_described_by_their_size_alone() -> None:
    image = Volume(np.zeros((3, 6, 8, 1), np.uint8), Grid((6, 8, 1), np.eye(4), "px"))
    volume, record = prepare(image, PreparePlan(intensity="none"))
    figures = domain.measure(volume, record, "all")
    assert domain.of_cases([figures]) == {"cases": 1, "size_min_px": [6, 8], "size_max_px": [6, 8]}
    assert domain.check(figures, TRAINED, "a.png") == []


def test_synthetic_subjects_are_inside_the_domain_of_a_few_of_them() -> None:
    atlas = tissues.load(4.0)
    subjects = []
    for number in range(10):
        image, _ = make(atlas, seed=0, number=number)
        volume, record = prepare(image, PreparePlan(GeometryPlan(crop=True)))
        subjects.append(domain.measure(volume, record, "auto"))
    trained = domain.of_cases(subjects[:3])
    assert [domain.check(subject, trained, "") for subject in subjects] == [[]] * len(subjects)


@pytest.mark.data
def test_real_scans_of_one_study_are_inside_and_foreign_ones_are_not(data: Path) -> None:
    def figures(path: Path) -> dict[str, Any]:
        scan, _ = checks.read_image({"t1": path})
        assert scan is not None
        volume, record = prepare(scan, PreparePlan(GeometryPlan(crop=True)))
        return domain.measure(volume, record, "auto")

    study = [figures(path) for path in sorted(data.glob("ibsr18/IBSR_*/IBSR_??.nii.gz"))]
    assert len(study) > 10
    trained = domain.of_cases(study[:5])
    assert [domain.check(scan, trained, "") for scan in study] == [[]] * len(study)
    foreign = [
        "bids_spine/sub-unf01/anat/sub-unf01_T1w.nii.gz",
        "bids_spine/sub-unf01/anat/sub-unf01_T2w.nii.gz",
        "hippocampus/imagesTr/hippocampus_001.nii.gz",
        "whole_head/pumi_sub-001_T1w.nii.gz",
    ]
    for name in foreign:
        assert len(domain.check(figures(data / name), trained, name)) == 1


def brain(fill: float = 0.0) -> Any:
    """A ball of 1,150 ml at 4 mm; `fill` is the value of the air around it, noise if negative."""
    at = np.indices((48, 48, 48)) - 24
    inside = (at**2).sum(0) < 16.25**2
    air = np.random.default_rng(1).uniform(1, 9, inside.shape) if fill < 0 else np.full(inside.shape, fill)
    return np.where(inside, np.random.default_rng(0).uniform(100, 900, inside.shape), air).astype(np.float32)


def test_a_whole_head_is_foreign_to_a_model_of_skull_stripped_brains_by_name_of_the_rule() -> None:
    spacing = np.diag([4.0, 4.0, 4.0, 1.0])
    stripped = domain.of_cases([measured(brain(), spacing)])
    assert stripped["skull_stripped"] is True and stripped["zero_share_min"] == pytest.approx(0.838, abs=0.01)
    for whole in (brain(fill=-1), np.kron(brain(), np.ones((2, 1, 1), np.float32))):
        rule = "skull-stripping: a whole head or more; trained on skull-stripped brains"
        assert rule in problems(whole, spacing, stripped)
    assert "skull-stripping" not in problems(brain(), spacing, stripped)
    heads = domain.of_cases([measured(brain(fill=-1), spacing)])
    assert heads["skull_stripped"] is False
    assert "a skull-stripped brain; trained on whole heads" in problems(brain(), spacing, heads)
    assert domain.merged([stripped, stripped])["skull_stripped"] is True
    assert "skull_stripped" not in domain.merged([stripped, {"cases": 1}])
    crop = domain.of_cases([measured(head(), AXIAL)])
    assert "skull_stripped" not in crop  # 12 ml are less than a brain: nobody can tell

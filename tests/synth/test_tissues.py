"""The anatomy made from the packaged templates."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from medseg.errors import Code, MedsegError
from medseg.synth import tissues


def test_maps_are_shares_on_one_grid(anatomy: tissues.Tissues) -> None:
    maps = (anatomy.csf, anatomy.gm, anatomy.wm)
    for m in (*maps, anatomy.texture):
        assert m.shape == anatomy.shape
        assert m.dtype == np.float32
    assert min(m.min() for m in maps) >= 0
    assert sum(maps).max() <= 1 + 1e-5
    assert np.abs(anatomy.texture).max() < 0.5


def test_volumes_are_a_human_brain_s(anatomy: tissues.Tissues) -> None:
    csf, gm, wm = (m.sum() * 4**3 / 1000 for m in (anatomy.csf, anatomy.gm, anatomy.wm))
    assert 80 < csf < 250  # ml
    assert 900 < gm < 1300
    assert 500 < wm < 750


def test_the_grid_is_cubic_ras_and_keeps_the_anatomy_in_place(anatomy: tissues.Tissues) -> None:
    np.testing.assert_allclose(anatomy.affine[:3, :3], 4 * np.eye(3))
    assert anatomy.spacing_mm == 4
    # The template is symmetric about x = 0 of its space: so is the resampled white matter.
    x = anatomy.affine[0, 3] + 4 * np.arange(anatomy.shape[0])
    profile = anatomy.wm.sum(axis=(1, 2))
    assert abs((x * profile).sum() / profile.sum()) < 1
    # The anterior commissure is the origin; around it lies brain, and air at the borders.
    at_origin = np.rint(-anatomy.affine[:3, 3] / 4).astype(int)
    assert (anatomy.csf + anatomy.gm + anatomy.wm)[tuple(at_origin)] > 0.9
    for axis in range(3):
        assert anatomy.gm.take([0, 1, -2, -1], axis=axis).max() < 0.01


def test_resampling_keeps_amounts(anatomy: tissues.Tissues) -> None:
    finer = tissues.load(3.0)
    for name in ("csf", "gm", "wm"):
        a = getattr(anatomy, name).sum() * 4**3
        b = getattr(finer, name).sum() * 3**3
        assert a == pytest.approx(b, rel=0.03), name


def test_hull_closes_a_groove_and_fills_a_hole() -> None:
    tissue = np.zeros((30, 30, 30))
    tissue[8:22, 8:22, 8:22] = 1
    tissue[14:16, 8:18, 8:22] = 0  # a groove two voxels wide, open at y = 8
    tissue[10, 18, 12] = 0.5  # ½ is not above ½: a hole
    brain = tissues.hull(tissue, radius=3)
    assert brain[14:16, 9:18, 9:21].all()
    assert brain[10, 18, 12]
    assert not brain[:7].any()
    np.testing.assert_array_equal(brain & (tissue > 0.5), tissue > 0.5)


@pytest.mark.parametrize("spacing_mm", [0.5, 9.0, float("nan")])
def test_other_spacings_are_refused(spacing_mm: float) -> None:
    with pytest.raises(MedsegError, match="choose 1 to 8 mm") as refusal:
        tissues.load(spacing_mm)
    assert refusal.value.code is Code.KEYWORD_INVALID


def test_without_nilearn_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nilearn", None)
    with pytest.raises(MedsegError, match=r"medseg\[train\]") as refusal:
        tissues.load()
    assert refusal.value.code is Code.EXTRA_MISSING


def test_a_nilearn_without_templates_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tissues.resources, "files", lambda package: tmp_path)
    with pytest.raises(MedsegError) as refusal:
        tissues.load()
    assert refusal.value.code is Code.FILE_MISSING


def test_nilearn_datasets_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nilearn.datasets", None)  # importing it would now raise
    assert tissues.load(8.0).spacing_mm == 8

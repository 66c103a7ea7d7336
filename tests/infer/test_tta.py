"""Several scales and flips as one predictor, and labels that are decided at an image's full size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medseg import networks
from medseg.errors import Code, MedsegError
from medseg.grid import Array, Grid, Plane
from medseg.infer import crf, inferers, loading, predict, slice_scores
from medseg.infer.ensemble import MultiPlaneEnsemble
from medseg.infer.inferers import GaussianWindow, WholeSlice
from medseg.infer.predictor import NetworkPredictor, Spec
from medseg.infer.tta import TestTimeAugmentation
from medseg.model import folder as model_folder
from medseg.model.card import card
from medseg.model.description import CRFSettings
from medseg.patches.slabs import flip_axis
from medseg.preprocess import geometry
from medseg.preprocess.geometry import GeometryPlan
from medseg.preprocess.intensity import Normalization, NormalizedVolume
from medseg.volume import Volume
from tests.helpers.model_folders import describe
from tests.oracles import pixels as oracle

SPEC = Spec("axial", 1, 3, 4, size_divisor=4)


def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 4, 3, padding=1))


def image(height: int = 22, width: int = 18, seed: int = 0) -> Volume:
    array = np.random.default_rng(seed).integers(0, 256, (3, height, width, 1), dtype=np.uint8)
    return Volume(array, Grid((height, width, 1), np.eye(4), "px"))


def ready(volume: Volume) -> NormalizedVolume:
    return NormalizedVolume(volume.array, volume.grid, Normalization((100.0,) * 3, (60.0,) * 3))


def by_hand(net: nn.Module, batch: Tensor, scales: list[float], fusion: str, *, flip: bool) -> Tensor:
    """Every view of every image by itself, its scores brought back and put on a stack."""
    fused = []
    for one in batch.split(1):
        seen = []
        for scale in scales:
            size = [int(np.ceil(round(side * scale) / 4) * 4) for side in one.shape[-2:]]
            small = F.interpolate(one, size=size, mode="bilinear", align_corners=False)
            for mirrored in (False, True) if flip else (False,):
                scores = net(torch.flip(small, [-1]) if mirrored else small)
                scores = torch.flip(scores, [-1]) if mirrored else scores
                seen.append(F.interpolate(scores, size=one.shape[-2:], mode="bilinear", align_corners=False))
        stack = torch.stack(seen)
        fused.append(stack.amax(0) if fusion == "max" else stack.softmax(2).mean(0).log())
    return torch.cat(fused)


@pytest.mark.parametrize("fusion", ["mean", "max"])
@pytest.mark.parametrize(("scales", "flip"), [([0.5, 1.0, 1.25], False), ([1.0], True), ([0.75, 1.5], True)])
def test_views_are_the_network_on_each_scale_and_mirror_image_fused(
    fusion: Any, scales: list[float], flip: bool
) -> None:
    net = network()
    views = TestTimeAugmentation(NetworkPredictor(net, SPEC), scales, fusion, "w" if flip else None)
    batch = torch.randn(2, 3, 24, 20, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found, expected = views(batch), by_hand(net, batch, scales, fusion, flip=flip)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert views.spec == SPEC


class Marked:
    """A predictor that gives its input: class 1 is where the first channel is above 0."""

    def __init__(self, plane: Plane) -> None:
        self.spec = Spec(plane, 1, 1, 2, size_divisor=1)
        self.batches: list[Tensor] = []

    def __call__(self, batch: Tensor) -> Tensor:
        self.batches.append(batch.clone())
        return torch.cat([-batch, batch], 1)


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_scans_are_mirrored_left_to_right_in_every_plane(plane: Plane) -> None:
    # One bright voxel: right (X = 3), towards the front (Y = 0) and the top (Z = 2) of 4 × 3 × 3.
    array = np.full((1, 4, 3, 3), -1.0, np.float32)
    array[0, 3, 0, 2] = 1.0
    volume = NormalizedVolume(array, Grid((4, 3, 3), np.eye(4)), Normalization((0.0,), (1.0,)))
    marked = Marked(plane)
    views = TestTimeAugmentation(marked, flip_axis=flip_axis("left_right", plane))
    made = predict.label(volume, views, WholeSlice(batch=4))
    assert np.argwhere(made.labels).tolist() == [[3, 0, 2]]
    seen = {tuple(np.argwhere(view[:, 0] > 0).T.ravel().tolist()) for view in map(np.asarray, marked.batches)}
    # (slice, H, W) of the bright voxel: as it lies, and on the left at the same height and depth
    expected = {"axial": {(2, 3, 0), (2, 0, 0)}, "coronal": {(0, 3, 2), (0, 0, 2)}, "sagittal": {(3, 0, 2)}}
    assert seen == expected[plane]


def test_images_are_mirrored_along_their_rows() -> None:
    assert flip_axis("horizontal", "axial") == "w"


@pytest.mark.parametrize(
    ("changes", "axes"),
    [
        ({"plane": "axial"}, ["h"]),
        ({"plane": ("axial", "coronal", "sagittal")}, ["h", "h", None]),
        ({"plane": "sagittal"}, [None]),
        ({"plane": "axial", "unit": "px"}, ["w"]),
    ],
)
def test_a_model_that_flips_is_loaded_with_the_axis_of_its_planes(
    tmp_path: Path, changes: Any, axes: list[str | None]
) -> None:
    about = describe(flip=True, **changes)
    state = networks.build("usegnet", 3, 3, seed=0, width=2).state_dict()
    model_folder.export(tmp_path, {"fold0": state}, about)
    predictor = loading.load(tmp_path).predictor
    along = predictor.predictors if isinstance(predictor, MultiPlaneEnsemble) else (predictor,)
    assert [getattr(one, "flip_axis", None) for one in along] == axes


def test_one_view_is_the_network_itself() -> None:
    predictor = NetworkPredictor(network(), SPEC)
    batch = torch.randn(1, 3, 24, 20)
    with torch.inference_mode():
        assert torch.equal(TestTimeAugmentation(predictor, fusion="max")(batch), predictor(batch))


@pytest.mark.parametrize("how", [WholeSlice(), GaussianWindow((16, 16), (8, 8))])
def test_whole_slices_and_blended_windows_are_predicted_through_views(how: Any) -> None:
    views = TestTimeAugmentation(NetworkPredictor(network(), SPEC), [0.5, 1.0], "mean", flip_axis="w")
    made = predict.label(ready(image()), views, how, confidence=True)
    assert made.labels.shape == (22, 18, 1)
    assert made.quality_kind == "probability"
    plain = predict.label(ready(image()), views.predictor, how)
    assert (made.labels != plain.labels).any()


def test_a_model_of_several_views_says_so_and_predicts_by_no_other_mode() -> None:
    about = describe(scales=(0.5, 1.0), flip=True, scale_fusion="max")
    assert about.several_views
    assert "dense at scales 0.5, 1, also mirrored left to right, fused by max" in card(about, 1, 1)
    assert isinstance(inferers.choose_inferer(about, "gaussian"), GaussianWindow)
    for mode in ("vote", "tiles"):
        with pytest.raises(MedsegError, match="use dense or gaussian") as refused:
            inferers.choose_inferer(about, mode)
        assert refused.value.code == Code.KEYWORD_INVALID
    assert not describe().several_views


@pytest.mark.parametrize("spacing", [(2.0, 2.0), (1.7, 2.3), (0.5, 0.8)])
def test_labels_at_full_size_are_decided_from_logits_that_were_resized(spacing: tuple[float, float]) -> None:
    scan, predictor = image(), NetworkPredictor(network(), SPEC)
    small, record = geometry.apply(scan, GeometryPlan(spacing_px=spacing))
    made = predict.label(ready(small), predictor, WholeSlice(), confidence=True, onto=record)
    assert made.labels.shape == scan.grid.shape
    (logits,) = slice_scores.logits(ready(small), predictor, WholeSlice())
    full = np.stack([oracle.resize(one, small.grid, scan.grid) for one in logits.detach().numpy()])
    clear = np.diff(np.sort(full, axis=0)[-2:], axis=0)[0] > 1e-4
    np.testing.assert_array_equal(made.labels[..., 0][clear], full.argmax(0)[clear])
    odds = np.exp(full - full.max(0))
    first, second = np.sort(odds / odds.sum(0), axis=0)[[-1, -2]]
    assert made.confidence is not None
    np.testing.assert_allclose(made.confidence[..., 0], first - second, atol=2e-3)


def test_logarithms_of_nothing_are_resized_too() -> None:
    def certain(batch: Tensor) -> Tensor:
        wins = (batch[:, :1] > 0).float()
        return torch.cat([wins, 1 - wins], 1).log()

    class Given:
        spec = Spec("axial", 1, 3, 2, size_divisor=1)
        __call__ = staticmethod(certain)

    scan = image(4, 6)
    small, record = geometry.apply(scan, GeometryPlan(spacing_px=(2, 2)))
    made = predict.label(ready(small), Given(), WholeSlice(), onto=record)
    assert set(np.unique(made.labels)) <= {0, 1}


def given_guides(volume: Volume) -> list[Array]:
    return list(crf.guides(ready(volume), "axial"))


def test_the_guide_of_an_image_is_its_three_colours_and_of_a_scan_its_grey_values() -> None:
    scan = image()
    (guide,) = given_guides(scan)
    np.testing.assert_array_equal(guide, scan.array[..., 0])
    assert guide.dtype == np.float32
    deep = Volume(scan.array.astype(np.uint16) * 257, scan.grid)
    np.testing.assert_allclose(given_guides(deep)[0], scan.array[..., 0], rtol=1e-6)
    in_mm = Volume(scan.array, Grid(scan.grid.shape, np.eye(4)))
    (grey,) = given_guides(in_mm)
    expected = crf.greys(ready(in_mm)).guide(scan.array[0, ..., 0])
    np.testing.assert_array_equal(grey, expected)
    assert grey.shape == (1, 22, 18)
    one = Volume(scan.array[:1], scan.grid)
    lone = NormalizedVolume(one.array, one.grid, Normalization((0.0,), (1.0,)))
    assert next(crf.guides(lone, "axial")).shape == (1, 22, 18)


def test_the_crf_of_an_image_sees_an_edge_that_is_one_of_colour_alone() -> None:
    # Red beside green: both are equally bright in channel 2 and grey, only the other colours tell them apart.
    array = np.zeros((3, 12, 16, 1), np.uint8)
    array[1, :, :8], array[2, :, 8:] = 200, 200
    scan = Volume(array, Grid((12, 16, 1), np.eye(4), "px"))

    class Noisy:
        spec = Spec("axial", 1, 3, 2, size_divisor=4)

        def __call__(self, batch: Tensor) -> Tensor:
            right = (batch[:, 2] > batch[:, 1]).float()
            wins = torch.stack([1 - right, right], 1)
            wins[..., ::5, ::4] = wins[..., ::5, ::4].flip(1)
            return wins

    made = predict.label(ready(scan), Noisy(), WholeSlice(crf=CRFSettings(sigma_alpha=10)))
    np.testing.assert_array_equal(made.labels[..., 0], np.broadcast_to(np.arange(16) >= 8, (12, 16)))

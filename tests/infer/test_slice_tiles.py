"""Whole slices in tiles, against the whole slice at once."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medseg.infer import slice_tiles
from medseg.infer.ensemble import MultiPlaneEnsemble
from medseg.infer.predictor import NetworkPredictor, Predictor, Spec
from medseg.infer.slice_tiles import SliceTiles
from medseg.networks import build
from medseg.networks.contract import Network
from medseg.networks.tools.receptive_field import Reach, reach

NETWORKS = {
    "unet": {"width": 2, "depth": 2},
    "usegnet": {"width": 2},
    "unetpp": {"width": 2, "depth": 2},
}


class Largest:
    """A predictor that notes the largest input that it was given."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.pixels = predictor, 0

    @property
    def spec(self) -> Spec:
        return self.predictor.spec

    def __call__(self, batch: Tensor) -> Tensor:
        self.pixels = max(self.pixels, batch[0, 0].numel())
        return self.predictor(batch)


def made(name: str) -> tuple[Largest, Reach]:
    network: Network = build(name, 3, 4, seed=1, **NETWORKS[name])
    with torch.device("meta"):
        known = reach(build(name, 3, 4, seed=1, **NETWORKS[name]))
    assert known is not None
    form = Spec("axial", 3, 1, 4, size_divisor=network.size_divisor, min_size=network.min_size)
    return Largest(NetworkPredictor(network, form)), known


@settings(max_examples=8, deadline=None)
@given(
    name=st.sampled_from(sorted(NETWORKS)),
    sides=st.tuples(st.integers(3, 18), st.integers(3, 18)),
    longer=st.integers(0, 3),
    seed=st.integers(0, 9),
)
def test_tiles_give_the_logits_of_the_whole_slice(
    name: str, sides: tuple[int, int], longer: int, seed: int
) -> None:
    predictor, known = made(name)
    smallest = slice_tiles.smallest(known, predictor.spec)
    assert smallest is not None
    height, width = (predictor.spec.size_from(8 * n) for n in sides)
    batch = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        whole = predictor.predictor(batch)
        side = smallest + longer * known.period
        in_tiles = SliceTiles(predictor, known, side)(batch)
    assert predictor.pixels <= side**2 or max(height, width) <= side
    torch.testing.assert_close(in_tiles, whole, atol=1e-4, rtol=1e-4)


def test_a_tile_without_its_surroundings_would_differ() -> None:
    """The comparison above can fail: with a shorter reach the borders of tiles show."""
    predictor, known = made("unet")
    batch = torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    short = Reach(1, known.period)
    with torch.inference_mode():
        in_tiles = SliceTiles(predictor, short, 3 * known.period)(batch)
        assert not torch.allclose(in_tiles, predictor(batch), atol=1e-3)


@pytest.mark.parametrize(
    "form", [{"border": 4}, {"size_remainder": 1}, {"size_divisor": 12}], ids=["valid", "odd sides", "steps"]
)
def test_networks_that_take_no_tiles_of_slices(form: dict[str, int]) -> None:
    spec = Spec("axial", 3, 1, 4, **{"size_divisor": 4, **form})
    assert slice_tiles.smallest(Reach(10, 8), spec) is None
    assert slice_tiles.smallest(Reach(10, 8), Spec("axial", 3, 1, 4, size_divisor=4)) == 2 * 16 + 8


def test_every_plane_is_tiled() -> None:
    predictor, known = made("unet")
    planes = MultiPlaneEnsemble((predictor,), "vote")
    tiled = slice_tiles.tiled(planes, known, 64)
    assert isinstance(tiled, MultiPlaneEnsemble) and tiled.ensemble == "vote"
    assert all(isinstance(one, SliceTiles) for one in tiled.predictors)

"""Batches and tiles by the memory that is left: as large as it allows, refused below the smallest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg import networks
from medseg.errors import Code, MedsegError
from medseg.infer import loading, pieces
from medseg.infer.case_memory import CaseMemory
from medseg.infer.inferers import GaussianWindow, Inferer, MajorityVote, OverlapTile, WholeSlice
from medseg.infer.loading import Model
from medseg.infer.pieces import Allowance
from medseg.infer.segment import predict_case, prepare_case
from medseg.model import folder as model_folder
from tests.helpers.model_folders import describe
from tests.helpers.scan_files import save

SHAPE = (300, 200, 9)


def model_of(folder: Path, network: str = "unet", **keywords: Any) -> Model:
    description = describe(network=network, keywords=keywords, crop=False, foreground="all")
    state = networks.build(network, 3, 3, seed=0, **keywords).state_dict()
    head = next(key for key in reversed(state) if key.endswith("weight"))
    state[head] = torch.randn(state[head].shape, generator=torch.Generator().manual_seed(0))  # all classes
    model_folder.export(folder, {"fold0": state}, description)
    return loading.load(folder)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return model_of(tmp_path_factory.mktemp("same"), width=2, depth=2)


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return model_of(tmp_path_factory.mktemp("valid"), width=2, depth=2, padding="valid")


INFERERS: list[Inferer] = [
    WholeSlice(batch=4),
    MajorityVote((40, 40), (10, 10), batch=64),
    GaussianWindow((40, 40), batch=8),
    OverlapTile(batch=4),
    OverlapTile(tile=124, batch=4),
]


@settings(max_examples=60, deadline=None)
@given(number=st.integers(0, len(INFERERS) - 1), megabytes=st.floats(1, 400))
def test_pieces_fit_and_larger_ones_would_not(
    number: int, megabytes: float, model: Model, valid: Model
) -> None:
    inferer = INFERERS[number]
    one = valid if isinstance(inferer, OverlapTile) else model
    allowance = Allowance(round(megabytes * 1e6), 300.0)
    smallest = pieces.least(one, inferer, SHAPE, allowance)
    if smallest > allowance.available:
        with pytest.raises(MedsegError) as refused:
            pieces.choose(one, inferer, SHAPE, allowance)
        assert refused.value.code == Code.OUT_OF_MEMORY
        return
    chosen = pieces.choose(one, inferer, SHAPE, allowance)
    assert smallest <= chosen.bytes <= allowance.available
    assert 1 <= chosen.inferer.batch <= inferer.batch
    exact = pieces.choose(one, inferer, SHAPE, Allowance(smallest, 300.0))
    assert exact.bytes <= smallest  # what is named as the smallest is enough
    more = pieces.choose(one, inferer, SHAPE, Allowance(2 * allowance.available, 300.0))
    assert more.bytes >= chosen.bytes


def test_a_batch_shrinks_before_slices_are_tiled(model: Model) -> None:
    inferer = WholeSlice(batch=4)
    said = [
        pieces.choose(model, inferer, SHAPE, Allowance(n * 10**6, 300.0)).words for n in (200, 60, 30, 12)
    ]
    assert said[0] == "4 whole slices at a time" and said[2] == "1 whole slice at a time"
    assert said[3].startswith("one slice at a time in tiles of ")


@pytest.mark.parametrize("megabytes", [22, 8], ids=["a slice", "tiles"])
def test_the_labels_do_not_depend_on_the_pieces(model: Model, tmp_path: Path, megabytes: int) -> None:
    grey = np.random.default_rng(0).integers(1, 400, (120, 152, 9)).astype(np.int16)
    save(tmp_path / "scan.nii.gz", grey)
    prepared = prepare_case({"t1": tmp_path / "scan.nii.gz"}, model.description)
    whole = predict_case(prepared, model).prediction
    allowance = Allowance(megabytes * 10**6, 1000.0)
    small = predict_case(prepared, model, allowance=allowance).prediction
    assert (small.labels == whole.labels).mean() > 0.9999 and len(np.unique(whole.labels)) > 1


def test_a_case_leaves_less_for_pieces_the_more_it_holds() -> None:
    shape = (100, 100, 100)
    plain = CaseMemory(10**8, 300.0).for_pieces(shape, 2, 1)
    assert plain.available == 10**8 - 10**6 * (2 * 2 + 6)
    more = CaseMemory(10**8, 300.0, scaled=True, confidence=True).for_pieces(shape, 2, 2)
    assert more.available == 10**8 - 10**6 * (2 * (4 + 8) + 6 + 10)
    maps = CaseMemory(10**8, 300.0, probabilities=4).for_pieces(shape, 2, 1)
    assert plain.available - maps.available == 4 * 10**6
    assert CaseMemory(10, 300.0).for_pieces(shape, 2, 1).available == 0


def test_pixels_count_windows_as_often_as_they_overlap(model: Model, valid: Model) -> None:
    count: Callable[[Inferer], int] = lambda inferer: pieces.pixels(model, inferer, (40, 40, 3))  # noqa: E731
    assert count(WholeSlice()) == 3 * 40 * 40
    assert count(MajorityVote((40, 40), (10, 10))) == 3 * 40 * 40
    assert count(GaussianWindow((20, 20))) == 3 * 9 * 20 * 20
    assert pieces.pixels(valid, OverlapTile(), (40, 40, 3)) > 3 * 40 * 40

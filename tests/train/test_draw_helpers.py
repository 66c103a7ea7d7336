"""Batches drawn by processes of their own: the same bit for bit as those drawn here."""

from __future__ import annotations

import operator
import pickle
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from medseg.errors import Code, MedsegError
from medseg.grid import Grid
from medseg.networks.contract import SideRule
from medseg.patches.artefacts import ArtefactAugmenter, Artefacts
from medseg.patches.augment import Augmentation, Augmenter
from medseg.patches.resize import Resizer
from medseg.patches.sampler import EVERY, PatchSampler
from medseg.preprocess import geometry, store
from medseg.preprocess.intensity import Normalization, NormalizedVolume
from medseg.preprocess.store import PreprocessedCase
from medseg.train import batches, draw_helpers
from medseg.train.batches import Augmented, BatchMaker
from medseg.train.draw_helpers import DrawHelpers, can_travel
from medseg.train.prefetch import ahead
from medseg.volume import Volume
from tests.helpers.tiny_training import TinyNet, equal, plan, run, weights
from tests.patches.test_resident import CASES

CPU, BATCH, WINDOW = torch.device("cpu"), 6, (8, 10)
BENT = Augmentation(("left_right",), 20.0, 0.2, 2.0, 0.2, 0.2, 0.2, 0.1, 2.0)
Drawn = list[list[torch.Tensor]]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> list[PreprocessedCase]:
    folder, opened = tmp_path_factory.mktemp("store"), []
    for number, shape in enumerate([(30, 24, 9), (17, 40, 5)]):
        random = np.random.default_rng(number)
        image = random.integers(0, 900, (1, *shape)).astype(np.int16)
        label = random.integers(0, 3, shape).astype(np.uint8)
        grid = Grid(shape, np.eye(4))
        volume = NormalizedVolume(image, grid, Normalization((450.0,), (200.0,)))
        record = geometry.apply(Volume(image, grid, None, ()), geometry.GeometryPlan())[1]
        opened.append(store.open(store.write(folder, f"c{number}", "s", volume, label, record, 0)))
    return opened


def made(cases: list[PreprocessedCase]) -> Augmented:
    change = Augmenter(BENT, WINDOW, BATCH, seed=3)
    sampler = PatchSampler(
        cases, "axial", 3, WINDOW, BATCH, 7, 0.5, change.field, boxes=change.boxes, placed=True
    )
    artefacts = ArtefactAugmenter(change, Artefacts(0.3, 0.3, 0.3, 0.3, 0.3, 0.3), BATCH, 3)
    return Augmented(sampler, Resizer(artefacts, [(1, 0.5), (1, 1.0)], 5, SideRule(2, 0, 0, 4).size_from))


@pytest.fixture(scope="module")
def helped(stored: list[PreprocessedCase]) -> Iterator[DrawHelpers]:
    """Two processes that have started."""
    with closing(DrawHelpers(made(stored), 2)) as helpers:
        helpers.start(wait=True)
        yield helpers


def tensors(arrays: Any) -> list[torch.Tensor]:
    return [torch.as_tensor(array) for array in arrays]


def test_any_number_of_processes_gives_the_same_batches_bit_for_bit(
    helped: DrawHelpers, stored: list[PreprocessedCase], monkeypatch: pytest.MonkeyPatch
) -> None:
    make = made(stored)
    alone = [tensors(make(t, EVERY)) for t in range(8)]
    monkeypatch.setattr(helped, "_make", None)  # nothing is drawn here
    for threads in (1, 2):
        with closing(ahead(lambda t: tensors(helped(t, EVERY)), range(8), threads)) as drawn:
            for (_, batch), expected in zip(drawn, alone, strict=True):
                assert all(map(torch.equal, batch, expected))
    share = tensors(helped(3, slice(1, None, 2)))
    assert all(torch.equal(part, whole[1::2]) for part, whole in zip(share, alone[3], strict=True))


def test_what_a_batch_raises_is_raised_here(helped: DrawHelpers) -> None:
    with pytest.raises(MedsegError) as refused:
        helped(0, slice(0, None, 5))
    assert refused.value.code == Code.KEYWORD_INVALID


def test_where_a_helper_dies_its_batch_is_drawn_here(stored: list[PreprocessedCase]) -> None:
    make = made(stored)
    with closing(DrawHelpers(make, 1)) as helpers:
        helpers.start(wait=True)
        helpers._all[0].process.kill()
        for t in range(2):
            assert all(map(torch.equal, tensors(helpers(t, EVERY)), tensors(make(t, EVERY))))
        assert helpers._idle.empty()
    assert not [thread for thread in threading.enumerate() if thread.name == "draw-helpers"]


def test_helpers_that_are_not_there_yet_or_cannot_start_are_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse() -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(draw_helpers, "HelperProcess", refuse)
    with closing(DrawHelpers(operator.add, 2)) as helpers:  # any function of two that travels
        assert helpers(4, 5) == 9  # type: ignore[arg-type, comparison-overlap]
        helpers.start(wait=True)
        assert helpers(5, 6) == 11  # type: ignore[arg-type, comparison-overlap]
    with closing(DrawHelpers(lambda t, _: [t], 2)) as local:  # which does not travel
        local.start(wait=True)
        assert local(4, EVERY) == [4]


def test_a_stored_case_travels_as_its_folder(stored: list[PreprocessedCase]) -> None:
    sent = pickle.dumps(stored[0])
    assert len(sent) < 1000
    again = pickle.loads(sent)  # noqa: S301
    assert again.sha256 == stored[0].sha256
    np.testing.assert_array_equal(again.volume.array, stored[0].volume.array)
    in_memory = pickle.loads(pickle.dumps(replace(stored[0], folder=None)))  # noqa: S301
    np.testing.assert_array_equal(in_memory.label, stored[0].label)


def test_only_samplers_of_cases_on_disk_travel(stored: list[PreprocessedCase]) -> None:
    assert can_travel(PatchSampler(stored, "axial", 3, WINDOW, BATCH, 7))
    assert not can_travel(PatchSampler(CASES, "axial", 3, WINDOW, BATCH, 7))
    assert not can_travel(lambda t, rows: None)


def test_a_training_that_waits_calls_helpers_once_and_no_other_does(
    stored: list[PreprocessedCase], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(DrawHelpers, "start", lambda _: calls.append("start"))
    make = made(stored)
    maker = BatchMaker(make.source, make.augment, [EVERY], CPU, False, 1)
    maker._since = time.monotonic() - 200  # a training of 200 s
    for seconds, begun_s in ((9.0, 0), (9.0, 0), (4.0, 1)):  # of which it waits for 9, 18 and 22
        maker.add_wait(seconds)
        assert maker.take_wait() == seconds
        assert len(calls) == begun_s
    idle = BatchMaker(make.source, make.augment, [EVERY], CPU, False, 0)
    assert idle.draw_helpers is None


def test_a_training_with_helpers_gives_the_same_weights(
    stored: list[PreprocessedCase], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_WORTH_S", -1.0)  # called at once
    monkeypatch.setattr(batches, "_WORTH", -1.0)
    start = DrawHelpers.start
    monkeypatch.setattr(DrawHelpers, "start", lambda helpers: start(helpers, wait=True))
    trained = {}
    for helpers in (0, 1):
        monkeypatch.setattr("medseg.train.fit.most_helpers", lambda *_, n=helpers: n)
        network, make = TinyNet(), made(stored)
        keywords = {"draw": make.source, "augment": make.augment, "validate": None}
        list(run(tmp_path / str(helpers), network, plan(epochs=2), **keywords))
        trained[helpers] = weights(network)
    assert equal(trained[0], trained[1])


def test_headers_of_stored_arrays_are_read_one_at_a_time(
    stored: list[PreprocessedCase], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Python 3.11's parser, which reads them, fails now and then in several threads at once."""
    load, inside = np.load, []

    def watched(*arguments: Any, **keywords: Any) -> Any:
        inside.append(1)
        time.sleep(0.002)
        assert len(inside) == 1
        inside.pop()
        return load(*arguments, **keywords)

    monkeypatch.setattr(np, "load", watched)
    for _ in ahead(lambda _: stored[0].positions, range(12), 4):
        pass

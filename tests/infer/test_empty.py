"""Empty space that is not computed, against networks that compute all of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medseg.grid import Grid
from medseg.infer import loading, predict
from medseg.infer.empty import BoxRule, EmptySkipper, without_empty_space
from medseg.infer.ensemble import Ensemble, MultiPlaneEnsemble
from medseg.infer.inferers import GaussianWindow, Inferer, MajorityVote, OverlapTile, WholeSlice
from medseg.infer.loading import spec
from medseg.infer.predictor import NetworkPredictor, Predictor, Spec
from medseg.model import folder as model_folder
from medseg.model import onnx_graph
from medseg.model.graphs import Runtime
from medseg.networks import build
from medseg.networks.contract import Network
from medseg.networks.tools.receptive_field import reach
from medseg.preprocess import geometry
from medseg.preprocess.intensity import Normalization, NormalizedVolume
from medseg.volume import Volume
from tests.helpers.graphs import add_graph
from tests.helpers.model_folders import describe
from tests.networks.test_every_network import ROWS, Row, made
from tests.networks.test_inference_form import trained

LOWEST = -7


class Counting:
    """A predictor that counts the pixels that it computes."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.pixels = predictor, 0

    @property
    def spec(self) -> Spec:
        return self.predictor.spec

    def __call__(self, batch: Tensor) -> Tensor:
        self.pixels += batch.shape[0] * batch.shape[2] * batch.shape[3]
        return self.predictor(batch)


def brain(shape: tuple[int, int, int], box: tuple[slice, slice, slice], seed: int = 0) -> NormalizedVolume:
    """Grey values in a box of a volume of one lower value."""
    array = np.full((1, *shape), LOWEST, np.int16)
    random = np.random.default_rng(seed)
    array[(0, *box)] = random.integers(LOWEST, 90, array[(0, *box)].shape)
    return NormalizedVolume(array, Grid(shape, np.eye(4)), Normalization((20.5,), (7.25,)))


def small(**changes: object) -> Counting:
    description = describe(**changes)
    network = trained(model_folder.build_network(description))
    return Counting(NetworkPredictor(network, spec(description, network)))


def both(
    volume: NormalizedVolume, predictor: Counting, inferer: Inferer, rule: BoxRule | None = None
) -> tuple[predict.Prediction, predict.Prediction, float]:
    """The prediction of all, that without empty space, and the share of pixels that it computed."""
    everything = predict.label(volume, predictor, inferer, confidence=True)
    pixels, predictor.pixels = predictor.pixels, 0
    skipping = without_empty_space(predictor, volume, inferer, lambda: rule)
    return everything, predict.label(volume, skipping, inferer, confidence=True), predictor.pixels / pixels


@pytest.mark.parametrize("inferer", [MajorityVote((8, 8), (3, 5), 16), GaussianWindow((8, 8)), WholeSlice(3)])
def test_windows_and_slices_of_background_are_computed_once(inferer: Inferer) -> None:
    volume = brain((33, 30, 12), (slice(9, 20), slice(4, 15), slice(5, 9)))
    everything, skipping, share = both(volume, small(), inferer)
    assert np.array_equal(everything.labels, skipping.labels)
    np.testing.assert_allclose(everything.confidence, skipping.confidence, atol=1e-3)
    assert everything.quality == pytest.approx(skipping.quality, abs=1e-5)
    assert share < 0.65


@pytest.mark.parametrize("background", [(-0.5, -0.5), (-0.5, 0.25)])
def test_windows_that_one_channel_alone_fills_are_computed(background: tuple[float, float]) -> None:
    predictor = small(channels=("t1", "t2"))
    of_slab = torch.tensor(background).repeat_interleave(predictor.spec.depth)
    batch = of_slab[:, None, None].repeat(3, 1, 8, 8)
    batch[1, 0, 2, 5] += 1
    batch[2, -1, 7, 0] += 1
    skipper = EmptySkipper(predictor, of_slab, None)
    logits = skipper(batch)
    assert predictor.pixels == (1 + 2) * 8 * 8  # one slab of background, and two that are not
    torch.testing.assert_close(logits, predictor(batch))


def test_tiles_of_background_are_computed_once() -> None:
    keywords = {"width": 2, "depth": 1, "padding": "valid", "batch_norm": False}
    predictor = small(network="unet", keywords=keywords)
    volume = brain((60, 48, 3), (slice(3, 14), slice(4, 15), slice(0, 3)))
    everything, skipping, share = both(volume, predictor, OverlapTile(32))
    assert np.array_equal(everything.labels, skipping.labels)
    assert share < 0.8


def test_planes_are_wrapped_one_by_one_and_votes_stay_votes() -> None:
    volume = brain((16, 16, 16), (slice(6, 9), slice(6, 10), slice(6, 9)))
    members = [small(plane=plane) for plane in ("axial", "coronal")]
    planes = MultiPlaneEnsemble(tuple(members), "mean")
    skipping = without_empty_space(planes, volume, WholeSlice(), lambda: None)
    assert isinstance(skipping, MultiPlaneEnsemble)
    expected = predict.label(volume, planes, WholeSlice())
    assert np.array_equal(predict.label(volume, skipping, WholeSlice()).labels, expected.labels)
    voting = without_empty_space(Ensemble([small(), small()], "vote"), volume, WholeSlice(), lambda: None)
    assert predict.label(volume, voting, WholeSlice()).quality_kind == "vote share"


@pytest.fixture(scope="module")
def with_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of two planes that resamples, with the graph of its network."""
    torch.manual_seed(3)
    description = describe(spacing_mm=(1.2, 1.3, 1.4), plane=("axial", "coronal"))
    folder, network = tmp_path_factory.mktemp("graph"), trained(model_folder.build_network(description))
    model_folder.export(folder / "model", {"fold0": network.state_dict()}, description)
    onnx_graph.write(folder / "free.onnx", network, (16, 16))
    add_graph(folder / "model", (folder / "free.onnx").read_bytes())
    return folder / "model"


def test_the_reach_of_a_model_is_known_without_torchs_compiler(tmp_path: Path) -> None:
    """Its import takes a second of each command and leaves a folder where temporary files lie."""
    model_folder.export(
        tmp_path / "model", {"fold0": build("usegnet", 3, 3, width=2).state_dict()}, describe()
    )
    code = (
        "import sys; from pathlib import Path; from medseg.infer import loading\n"
        f"assert loading.load(Path({str(tmp_path / 'model')!r})).reach is not None\n"
        "print('torch._dynamo' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "False"


@pytest.mark.parametrize("runtime", ["torch", "onnx"])
@pytest.mark.parametrize(
    "inferer", [MajorityVote((16, 16), (8, 8), 16), GaussianWindow((16, 16)), WholeSlice(3)]
)
def test_labels_on_the_scans_own_grid_are_those_of_all_that_is_computed(
    with_graph: Path, runtime: Runtime, inferer: Inferer
) -> None:
    everything = loading.load(with_graph)
    model = loading.load(with_graph, numerics=loading.Numerics(runtime, threads=1))
    scan = brain((60, 40, 12), (slice(2, 9), slice(5, 12), slice(3, 8)))
    plan = geometry.GeometryPlan(spacing_mm=model.description.spacing_mm)
    resampled, record = geometry.apply(Volume(scan.array.astype(np.float32), scan.grid), plan)
    volume = NormalizedVolume(resampled.array, resampled.grid, scan.normalization)
    assert model.reach is not None
    rule = BoxRule.exact(model.reach)
    skipping = without_empty_space(model.predictor, volume, inferer, lambda: rule)
    made = predict.label(volume, skipping, inferer, onto=record).labels
    whole = predict.label(volume, everything.predictor, inferer, onto=record).labels
    assert len(np.unique(whole)) > 1 and whole.shape == scan.grid.shape
    assert np.count_nonzero(made != whole) < 1e-3 * whole.size  # where rounding decides


def reached(network: Network) -> BoxRule:
    found = reach(network)
    assert found is not None
    return BoxRule.exact(found)


@settings(deadline=None, max_examples=10)
@given(st.data())
def test_boxes_around_foreground_give_the_logits_of_whole_slices(data: st.DataObject) -> None:
    """U-SegNet takes odd sides, whose last pooling window is smaller: boxes must keep its phase."""
    description = describe(keywords={"width": 2, "depth": data.draw(st.integers(1, 3))})
    network = trained(model_folder.build_network(description))
    shape = (data.draw(st.integers(100, 240)), data.draw(st.integers(100, 200)), 9)
    box = tuple(
        slice(start, start + data.draw(st.integers(1, 30)))
        for start in (data.draw(st.integers(0, n - 1)) for n in shape[:2])
    )
    volume = brain(shape, (*box, slice(2, 5)), data.draw(st.integers(0, 99)))
    predictor = Counting(NetworkPredictor(network, spec(description, network)))
    everything, skipping, share = both(volume, predictor, WholeSlice(), reached(network))
    assert np.array_equal(everything.labels, skipping.labels)
    assert share < 0.95


@pytest.mark.parametrize(("scales", "is_known"), [([0.5, 1], False), ([0.75], False), ([1], True)])
def test_a_network_that_resizes_its_input_is_never_cut(scales: list[float], is_known: bool) -> None:
    network = build("deeplab_largefov", 3, 2, width=2, hidden=4, scales=scales)
    assert (reach(network) is not None) == is_known


@pytest.mark.parametrize(
    "row",
    [row for row in ROWS if row.keywords.get("padding") != "valid" and row.name != "deconvnet"],
    ids=str,
)
def test_boxes_are_exact_for_every_network_whose_reach_is_known(row: Row) -> None:
    network = trained(made(row)).double()
    found = reach(network)
    if found is None:
        pytest.skip("it sees the whole image")
    side = network.size_from(4 * found.pixels + 3 * found.period + 40)
    slab = torch.full((1, 3, side, network.size_from(48)), -0.5, dtype=torch.float64)
    start = 2 * found.pixels + found.period + 5
    slab[:, :, start : start + 9, 10:20].normal_(generator=torch.Generator().manual_seed(2))
    cut, used = BoxRule.exact(found).cut((slab != -0.5)[0, 0].any(dim=1))
    assert cut.start > 0 or cut.stop < side
    with torch.no_grad():
        whole, part, empty = network(slab), network(slab[:, :, cut]), network(torch.full_like(slab, -0.5))
    torch.testing.assert_close(part[:, :, used.start - cut.start : used.stop - cut.start], whole[:, :, used])
    for outside in (slice(0, used.start), slice(used.stop, None)):
        torch.testing.assert_close(empty[:, :, outside], whole[:, :, outside])


def test_a_narrow_margin_computes_less_and_is_no_wider_than_what_is_exact() -> None:
    found = reach(build("usegnet", 3, 3, width=2))
    assert found is not None
    assert BoxRule.within(24, found) == BoxRule(24, 24, found.period)
    assert BoxRule.within(500, found) == BoxRule.exact(found)
    volume = brain((300, 280, 9), (slice(130, 150), slice(120, 140), slice(0, 9)))
    exact, within = (
        both(volume, small(), WholeSlice(), rule)[2]
        for rule in (BoxRule.exact(found), BoxRule.within(24, found))
    )
    assert within < 0.4 < exact < 1


def test_networks_that_normalise_over_the_image_have_no_reach() -> None:
    assert reach(build("unet", 1, 2, width=2, depth=1)) is not None
    network = build("unet", 1, 2, width=2, depth=1)
    network.head = torch.nn.Sequential(torch.nn.InstanceNorm2d(2), network.head)  # type: ignore[assignment]
    assert reach(network) is None


def test_volumes_without_a_background_are_computed_as_ever() -> None:
    volume = brain((24, 24, 9), (slice(0, 24), slice(0, 24), slice(0, 9)))
    everything, skipping, share = both(volume, small(), WholeSlice(), BoxRule(8, 4, 8))
    assert np.array_equal(everything.labels, skipping.labels) and share == 1


def test_a_volume_that_is_all_background_costs_one_slice() -> None:
    volume = brain((24, 24, 9), (slice(0, 0), slice(0, 0), slice(0, 0)))
    everything, skipping, share = both(volume, small(), WholeSlice(), BoxRule(8, 4, 8))
    assert np.array_equal(everything.labels, skipping.labels) and share == pytest.approx(1 / 9)


def test_a_skipper_passes_on_the_spec() -> None:
    predictor = small()
    assert EmptySkipper(predictor, torch.zeros(3), None).spec == predictor.spec

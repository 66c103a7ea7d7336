"""A GPU: voting over pure network time, drawing with augmentation, training's share of waiting for data.

    python -m benchmarks.gpu [--device cuda] [--rounds 7] [--small]

Synthetic volumes, U-SegNet of width 16 and three input slices, windows of 40×40 px. Without a GPU it prints
"not run"; `--device cpu --small` walks the same path in a minute, whose figures say nothing. What is printed
is written to `benchmarks/results/gpu.json`: medians of rounds in turn (A B A B).

`vote` labels a volume at stride 10; `network` are the forward passes of as many windows in as large batches,
already on the device; MONAI's sliding window (extra `bench`) averages softmax outputs of the same windows.
`drawn` are patches a second, drawn and augmented (elastic, affine, grey values), from the device's memory and
from the host's by all threads that training would use. `training` are steps a second and the share of their
time in which training waited for batches, from either memory.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from importlib import metadata
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage

from medseg import device as devices
from medseg import losses
from medseg.device import Precision
from medseg.grid import Grid
from medseg.infer import predict
from medseg.infer.inferers import MajorityVote, inputs_at_once
from medseg.infer.predictor import NetworkPredictor, Spec
from medseg.networks import build
from medseg.patches.augment import Augmentation, Augmenter
from medseg.patches.resident import sampler_on
from medseg.patches.sampler import PatchSampler
from medseg.patches.windows import covering_grid
from medseg.preprocess import geometry, store
from medseg.preprocess.intensity import Normalization, NormalizedVolume
from medseg.preprocess.store import PreprocessedCase
from medseg.train.batches import BatchMaker
from medseg.train.fit import fit
from medseg.train.plan import FitPlan
from medseg.train.prefetch import ahead, draw_threads
from medseg.volume import Volume

WINDOW, STRIDE, DEPTH, CLASSES = (40, 40), (10, 10), 3, 4
RESULT = Path(__file__).parent / "results/gpu.json"
AUGMENTATION = Augmentation(("left_right",), 15, 0.1, 3, 0.2, 0.2, 0.2, 0.1, 4)


def make_cases(folder: Path, shape: tuple[int, int, int], count: int) -> list[PreprocessedCase]:
    """Smooth volumes of four classes as prepared cases, which are memory maps."""
    cases = []
    for number in range(count):
        random = np.random.default_rng(number)
        smooth = ndimage.zoom(random.normal(size=tuple(n // 8 for n in shape)), 8, order=1) * 100 + 400
        image = np.asfortranarray((smooth + random.normal(0, 10, shape)).astype(np.int16))[None]
        label = np.asfortranarray(np.digitize(smooth, [350, 400, 480]).astype(np.uint8))
        grid = Grid(shape, np.eye(4))
        record = geometry.apply(Volume(image, grid, None, ()), geometry.GeometryPlan())[1]
        scaling = Normalization((float(image.mean()),), (float(image.std()),))
        volume = NormalizedVolume(image, grid, scaling)
        cases.append(store.open(store.write(folder, f"c{number}", f"c{number}", volume, label, record, 0)))
    return cases


def in_turn(calls: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, float]:
    """Medians of what each returns, in turn, after a round that does not count."""
    values = [{name: call() for name, call in calls.items()} for _ in range(rounds + 1)][1:]
    return {name: statistics.median(value[name] for value in values) for name in calls}


def seconds(function: Callable[[], object], device: torch.device) -> float:
    """Seconds until the device has done what a function asks of it."""
    settle(device)
    start = time.perf_counter()
    function()
    settle(device)
    return time.perf_counter() - start


def settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def voting(case: PreprocessedCase, device: torch.device, precision: Precision, rounds: int) -> dict[str, Any]:
    """Seconds of a volume by voting, of its network alone, and by MONAI's sliding window."""
    network = build("usegnet", DEPTH, CLASSES, width=16)
    predictor = NetworkPredictor(
        network, Spec("axial", DEPTH, 1, CLASSES, 4), device, precision, channels_last=True
    )
    height, width, of = case.volume.grid.shape
    inferer = MajorityVote(WINDOW, STRIDE)
    batch = inputs_at_once(inferer, WINDOW[0] * WINDOW[1], predictor.spec.device)
    windows = len(covering_grid((height, width), WINDOW, STRIDE)) * of
    patches = torch.randn(batch, DEPTH, *WINDOW, device=device)

    @torch.inference_mode()
    def network_alone() -> None:
        for first in range(0, windows, batch):
            predictor(patches[: windows - first])

    calls = {
        "network": lambda: seconds(network_alone, device),
        "vote": lambda: seconds(lambda: predict.label(case.volume, predictor, inferer), device),
    }
    if find_spec("monai"):
        calls["MONAI"] = lambda: seconds(lambda: by_monai(case, predictor, batch, device), device)
    medians = in_turn(calls, rounds)
    ratios = {f"{name}_over_network": value / medians["network"] for name, value in medians.items()}
    return {"windows": windows, "batch": batch, **medians, **ratios}


@torch.inference_mode()
def by_monai(case: PreprocessedCase, predictor: NetworkPredictor, batch: int, device: torch.device) -> None:
    """Label a volume slice by slice with MONAI's inferer, the labels brought to the host."""
    from monai.inferers import SlidingWindowInferer

    slide = SlidingWindowInferer(WINDOW, batch, overlap=1 - STRIDE[0] / WINDOW[0])
    array = np.pad(case.volume.normalise(np.asarray(case.volume.array))[0], ((0, 0), (0, 0), (1, 1)), "edge")
    for index in range(array.shape[2] - 2):
        slab = np.ascontiguousarray(np.moveaxis(array[:, :, index : index + DEPTH], 2, 0))
        scores = slide(torch.from_numpy(slab)[None].to(device), lambda x: predictor(x).softmax(dim=1))
        scores.argmax(dim=1).to(torch.uint8).cpu()


def sources(cases: list[PreprocessedCase], batch: int, device: torch.device) -> dict[str, tuple[Any, Any]]:
    """What draws and what augments, from either memory."""
    augmenter = Augmenter(AUGMENTATION, WINDOW, batch, seed=0)
    sampler = PatchSampler(
        cases, "axial", DEPTH, WINDOW, batch, 0, 0.5, augmenter.field, boxes=augmenter.boxes, placed=True
    )
    return {
        "host": (sampler, augmenter),
        "device": (sampler_on(device, sampler, "device"), replace(augmenter)),
    }


def patches_per_s(source: Any, augment: Any, batch: int, device: torch.device, batches: int) -> float:
    """Patches a second that threads draw and augment, none of which trains."""
    maker = BatchMaker(source, augment, [slice(None)], device, channels_last=True)
    with closing(ahead(maker.draw, range(batches + 3), draw_threads(device))) as drawn:
        for _, taken in islice(drawn, 3):
            taken()
        spent = seconds(lambda: [taken() for _, taken in drawn], device)
    return batches * batch / spent


def training(
    where: Any, source: Any, augment: Any, device: torch.device, precision: Precision, steps: int
) -> dict[str, float]:
    """Steps a second of the second epoch, and the share of it that waited for data."""
    plan = FitPlan(
        epochs=2,
        steps_per_epoch=steps,
        device=str(device),
        precision=precision,
        channels_last=True,
        draw_from=where,
    )
    network = build("usegnet", DEPTH, CLASSES, width=16)
    with tempfile.TemporaryDirectory() as folder:
        *_, last = fit(network, source, losses.build("ce"), plan, folder=Path(folder), augment=augment)
    return {"steps_per_s": steps / last.seconds, "data_wait": last.data_wait}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--small", action="store_true")
    arguments = parser.parse_args()
    if arguments.device not in devices.at_hand():
        print(f"GPU: not run, as there is no {arguments.device} here")
        return
    device, rounds = torch.device(arguments.device), 1 if arguments.small else arguments.rounds
    shape, count, batch, steps = ((160, 128, 146), 16, 256, 200)
    if arguments.small:
        shape, count, batch, steps = (64, 48, 16), 2, 8, 4
    precision: Precision = devices.resolve_precision("auto", device)
    content: dict[str, Any] = {
        "device": devices.in_words(arguments.device),
        "precision": precision,
        "rounds": rounds,
        "batch": batch,
        "versions": {name: metadata.version(name) for name in ("torch", "numpy")},
    }
    with tempfile.TemporaryDirectory() as name:
        cases = make_cases(Path(name), shape, count)
        content["voting"] = voting(cases[0], device, precision, rounds)
        by_memory = sources(cases, batch, device)
        drawn = {
            memory: lambda pair=pair: patches_per_s(*pair, batch, device, steps)
            for memory, pair in by_memory.items()
        }
        content["drawn_patches_per_s"] = in_turn(drawn, rounds)
        content["training"] = {
            memory: training(memory, by_memory["host"][0], augment, device, precision, steps)
            for memory, (_, augment) in by_memory.items()
        }
    if not arguments.small:
        RESULT.write_text(json.dumps(content, indent=1) + "\n")
    print(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()

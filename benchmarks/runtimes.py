"""Runtimes, precisions, empty space, allocator: paired runs in turn (A B A B), medians and ratios.

    python -m benchmarks.runtimes WORK MODEL [--out FILE] [--rounds 7] [--only PART]

WORK is a work folder with a trained model of whole slices and prepared cases, MODEL what `medseg export WORK
MODEL --runtime … --precision …` made of it. Parts: `slices` (two slices of a validation case by every
runtime), `cases` (test scans, file to labels), `margins` (voxels that change, validation and test scans),
`process` (allocator, fill of fresh tensors; processes of their own). One thread. Give it a quiet core:
`nice -n -10` or `chrt -f 1`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from medseg import device, files
from medseg.infer import loading, predict
from medseg.infer.empty import BoxRule, without_empty_space
from medseg.infer.inferers import choose_inferer
from medseg.infer.loading import Model, Numerics
from medseg.infer.predictor import NetworkPredictor
from medseg.infer.segment import finish_case, predict_case, prepare_case
from medseg.metrics import confusion_matrix
from medseg.model import folder as model_folder
from medseg.model import graphs
from medseg.patches.slabs import read_slab, slices
from medseg.patches.windows import mirrored
from medseg.preprocess import store
from pipelines.case_tables import case_files, cases, roles
from pipelines.workfolder import Work

Call = Callable[[], Any]
MARGINS = (8, 16, 24, 32)


def in_turn(calls: Mapping[str, Call], rounds: int) -> dict[str, Any]:
    """Median, least and ratio to the first of the seconds of each, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    first = next(iter(calls))
    rows = {}
    for name, all_of in seconds.items():
        ratios = [a / b for a, b in zip(seconds[first][1:], all_of[1:], strict=True)]
        rows[name] = {
            "median_s": round(statistics.median(all_of[1:]), 4),
            "least_s": round(min(all_of[1:]), 4),
            "times_as_fast": round(statistics.median(ratios), 3),
        }
    return rows


def unfolded(folder: Path) -> Model:
    """The model as before: no folding; for one member and plane."""
    member = model_folder.read(folder).members[0]
    description, network = model_folder.load_network(folder, member.name)
    predictor = NetworkPredictor(network, loading.spec(description, network), channels_last=True)
    return Model(description, predictor, "", 0)


def all_numerics(folder: Path) -> list[Numerics]:
    """torch in fp32 and bf16, and every graph of the folder."""
    model = model_folder.read(folder)
    kinds = graphs.choices(model.graphs, [member.name for member in model.members])
    return [Numerics(), Numerics("torch", "bf16"), *(Numerics(*kind, threads=1) for kind in kinds)]


def by_slices(work: Path, folder: Path, rounds: int) -> dict[str, Any]:
    """Two slices from the middle of the first validation case."""
    description = model_folder.read(folder).description
    name = next(row.case for row in roles(Work(work).ingest) if row.role == "val")
    volume = store.open(Work(work).prepared / name).volume
    plane, middle = description.planes[0], slices(volume.grid.shape, description.planes[0]) // 2
    models = {"torch fp32, not folded": unfolded(folder)}
    models |= {f"{one}": loading.load(folder, numerics=one) for one in all_numerics(folder)}
    spec = next(iter(models.values())).predictor.spec
    slabs = [read_slab(volume, plane, index, description.depth) for index in (middle, middle + 1)]
    sides = tuple(spec.size_from(side) for side in slabs[0].shape[1:])
    batch = torch.from_numpy(np.stack([mirrored(slab, sides) for slab in slabs]))
    with torch.inference_mode():
        rows = in_turn({name: partial(model.predictor, batch) for name, model in models.items()}, rounds)
    return {"input": list(batch.shape), "runs": rows}


def by_cases(work: Path, folder: Path, rounds: int) -> dict[str, Any]:
    """Test scans from file to labels: before, exact, and fast by each graph; with mean Dice."""
    before = unfolded(folder)
    torch_alone = loading.load(folder)
    ways: dict[str, tuple[Model, int | None]] = {
        "torch fp32, exact": (torch_alone, None),
        "torch fp32, margin 24": (torch_alone, 24),
    }
    for one in all_numerics(folder)[2:]:
        if one.precision != "bf16":
            model = loading.load(folder, numerics=one)
            ways[f"{one}, exact"] = (model, None)
            if one.runtime == "openvino":
                ways[f"{one}, margin 24"] = (model, 24)
    rows: dict[str, Any] = {}
    for case, channels, label in scans(work, "test"):
        prepared = prepare_case(channels, before.description)
        calls: dict[str, Call] = {"torch fp32, before": partial(whole, prepared, before)}
        for name, (model, margin) in ways.items():
            calls[name] = partial(skipping, prepared, model, margin)
        timed = in_turn(calls, rounds)
        expected = calls["torch fp32, before"]()
        for name, call in calls.items():
            labels = call()
            row = rows.setdefault(name, {"median_s": [], "times_as_fast": [], "dice": [], "same_label": []})
            row["median_s"].append(timed[name]["median_s"])
            row["times_as_fast"].append(timed[name]["times_as_fast"])
            row["dice"].append(round(dice(labels, label, before), 4))
            row["same_label"].append(round(agreement(labels, expected), 6))
        print(case, json.dumps({name: row["times_as_fast"][-1] for name, row in rows.items()}), flush=True)
    return rows


def by_margins(work: Path, folder: Path, _rounds: int) -> dict[str, Any]:
    """Voxels of the foreground that change, of 100,000, and the share of pixels that is computed."""
    model = loading.load(folder)
    inferer = choose_inferer(model.description)
    reach = model.reach
    rows: dict[str, Any] = {}
    for role in ("val", "test"):
        for case, channels, _ in scans(work, role):
            volume = prepare_case(channels, model.description).volume
            counted = Counting(model.predictor)
            expected = predict.label(volume, counted, inferer).labels
            everything, rules = counted.pixels, {"exact": BoxRule.exact(reach)}
            rules |= {f"margin {margin}": BoxRule.within(margin, reach) for margin in MARGINS}
            for name, rule in rules.items():
                counted.pixels = 0
                labels = predict.label(
                    volume, without_empty_space(counted, volume, inferer, lambda rule=rule: rule), inferer
                ).labels
                inside = (labels > 0) | (expected > 0)
                row = rows.setdefault(name, {"changed_in_100000": {}, "pixels": {}})
                changed = np.count_nonzero(labels != expected) / np.count_nonzero(inside) * 1e5
                row["changed_in_100000"][case] = round(changed, 2)
                row["pixels"][case] = round(counted.pixels / everything, 3)
            print(case, {name: row["changed_in_100000"][case] for name, row in rows.items()}, flush=True)
    return rows


class Counting:
    """A predictor that counts the pixels that it computes."""

    def __init__(self, predictor: Any) -> None:
        self.predictor, self.spec, self.pixels = predictor, predictor.spec, 0

    def __call__(self, batch: torch.Tensor) -> torch.Tensor:
        self.pixels += batch.shape[0] * batch.shape[2] * batch.shape[3]
        return self.predictor(batch)


def scans(work: Path, role: str) -> list[tuple[str, dict[str, Path], Path]]:
    table = cases(Work(work).ingest)
    names = [row.case for row in roles(Work(work).ingest) if row.role == role and row.fold == 0]
    every = [case_files(table[name]) for name in names]
    return [(case.name, dict(case.channels), case.label) for case in every]


def whole(prepared: Any, model: Model) -> Any:
    inferer = choose_inferer(model.description)
    onto = prepared.record if prepared.record.resampled else None
    prediction = predict.label(prepared.volume, model.predictor, inferer, onto=onto)
    predicted = predict_case.__globals__["Predicted"](prepared, prediction)
    return finish_case(predicted, model.description).labels.array[0]


def skipping(prepared: Any, model: Model, margin: int | None) -> Any:
    return finish_case(predict_case(prepared, model, margin=margin), model.description).labels.array[0]


def dice(labels: Any, truth: Path, model: Model) -> float:
    classes = model.description.class_list()
    image = np.asanyarray(nib.load(truth).dataobj).reshape(labels.shape)
    indices = np.zeros(labels.shape, np.uint8)
    for index, row in enumerate(classes.classes):
        indices[image == row.value] = index
    matrix = confusion_matrix.confusion_of(indices, labels.astype(np.uint8), classes)
    return float(np.nanmean(confusion_matrix.foreground_dice(matrix, classes)))


def agreement(labels: Any, expected: Any) -> float:
    inside = (labels > 0) | (expected > 0)
    return float((labels == expected)[inside].mean())


CHILD = """
import resource, sys, time, torch
from medseg import process
if "keep" in sys.argv: process.keep_freed_memory()
from medseg import networks
torch.set_num_threads(1)
torch.manual_seed(0)
net = networks.build("unet", 3, 4, width=32, depth=3, seed=0)
if "train" in sys.argv:
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = "fill" in sys.argv
    x, y = torch.randn(32, 3, 40, 40), torch.randint(0, 4, (32, 40, 40))
    optimiser = torch.optim.AdamW(net.parameters())
    def run():
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(x), y)
        loss.backward()
        optimiser.step()
else:
    net.eval()
    x = torch.randn(4, 3, 192, 160).contiguous(memory_format=torch.channels_last)
    net = net.to(memory_format=torch.channels_last)
    def run():
        with torch.inference_mode(): net(x)
run(); run()
times = []
for _ in range(12):
    start = time.perf_counter(); run(); times.append(time.perf_counter() - start)
print(sorted(times)[6], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def by_process(_work: Path, _folder: Path, rounds: int) -> dict[str, Any]:
    """The allocator and the fill of fresh tensors, in processes of their own, in turn."""
    rows = {}
    for title, ways in {
        "inference": {"as glibc does": [], "freed memory kept": ["keep"]},
        "training": {
            "filled": ["train", "fill"],
            "not filled": ["train"],
            "not filled, freed memory kept": ["train", "keep"],
        },
    }.items():
        runs: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, words in ways.items():
                ended = subprocess.run(
                    [sys.executable, "-c", CHILD, *words], capture_output=True, text=True, check=True
                )
                seconds, megabytes = map(float, ended.stdout.split())
                runs[name].append((seconds, megabytes))
        first = next(iter(ways))
        rows[title] = {
            name: {
                "median_s": round(statistics.median(one[0] for one in of), 4),
                "peak_mb": round(statistics.median(one[1] for one in of)),
                "times_as_fast": round(
                    statistics.median(a[0] / b[0] for a, b in zip(runs[first], of, strict=True)), 3
                ),
            }
            for name, of in runs.items()
        }
        print(title, json.dumps(rows[title]), flush=True)
    return rows


PARTS = {"slices": by_slices, "margins": by_margins, "process": by_process, "cases": by_cases}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/runtimes.json"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--only", choices=PARTS)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    result = files.read_json(asked.out) if asked.out.is_file() else {}
    result["machine"] = device.processor()
    result["versions"] = {name: version(name) for name in ("torch", "onnxruntime", "openvino", "numpy")}
    result["versions"]["python"] = platform.python_version()
    description = model_folder.read(asked.model).description
    result["network"] = f"{description.network} {description.keywords}"
    for name, part in PARTS.items():
        if asked.only in (None, name):
            load = round(os.getloadavg()[0], 1)
            result[name] = part(asked.work, asked.model, asked.rounds)
            result.setdefault("load_at_start", {})[name] = load
            files.write_json(asked.out, result)
    print(json.dumps(result, indent=1))


def version(package: str) -> str:
    from importlib.metadata import version as of

    return of(package)


if __name__ == "__main__":
    main()

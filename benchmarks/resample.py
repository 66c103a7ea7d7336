"""Class scores on a scan's grid: time, memory and labels, beside nearest labels and nnU-Net's step.

    python -m benchmarks.resample [--rounds 3]     # 4 classes, 256×256×320 → 512×512×400
    python -m benchmarks.resample --work WORK      # Dice on a resampled recipe's validation cases

Each way reads the same logits from one file and ends with a label map in memory, which the same writer then
writes as NIfTI; ways run in turn, each in a process of one thread. Memory is the most that a process held
beyond what it had when its work began, without pages of mapped files (RssAnon, looked at every 5 ms).
`nnunet` is nnU-Net's own function with its defaults, `resample_data_or_seg_to_shape`, and its arg-max; it is
left out where `nnunetv2` cannot be imported. The grids have one extent, as nnU-Net takes for granted; others
it stretches by up to half a voxel. `times_nnunet` are nnU-Net's figures over each way's; `no_more_than` is
what a way would reach whose labels cost nothing, as all use one writer. Give it quiet cores: `chrt -f 1`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from medseg import files
from medseg.grid import Array, Grid
from medseg.infer import loading, predict
from medseg.infer.inferers import WholeSlice, choose_inferer
from medseg.infer.predictor import Spec
from medseg.infer.segment import prepare_case
from medseg.io import nifti
from medseg.preprocess import geometry
from medseg.preprocess.geometry import Record
from medseg.preprocess.intensity import Normalization, NormalizedVolume
from medseg.process import keep_freed_memory
from medseg.volume import Volume
from pipelines.case_tables import case_files, cases, roles
from pipelines.workfolder import Work

SHAPE, SPACING, MODEL_SPACING = (512, 512, 400), (0.75, 0.75, 1.2), (1.5, 1.5, 1.5)
CLASSES = 4
WAYS = ("nearest", "scores", "nnunet")
MB = 1e6


class FromFile:
    """A predictor that costs a copy: the logits (K, H, W) of the slice whose number the volume holds."""

    def __init__(self, logits: Array) -> None:
        self.spec = Spec("axial", 1, 1, len(logits), size_divisor=1)
        self._logits = logits

    def __call__(self, batch: Tensor) -> Tensor:
        return torch.from_numpy(np.stack([self._logits[:, int(n)] for n in batch[:, 0, 0, 0]]))


def record() -> Record:
    """The record of a scan whose voxels are smaller than the model's in all three directions."""
    old, factor = np.array(SHAPE), np.array(MODEL_SPACING) / np.array(SPACING)
    x, y, z = (int(n) for n in np.rint(old / factor))
    affine = np.diag([*MODEL_SPACING, 1.0])
    affine[:3, 3] = np.array(SPACING) * ((old - 1) / 2 - factor * (np.array((x, y, z)) - 1) / 2)
    whole = Grid((x, y, z), affine)
    return Record(
        Grid(SHAPE, np.diag([*SPACING, 1.0])), ((0, 1), (1, 1), (2, 1)), whole, ((0, x), (0, y), (0, z))
    )


def make_logits(path: Path, shape: tuple[int, int, int]) -> None:
    """Smooth random logits: organs of some centimetres with wavy borders, a background around them."""
    generator = np.random.default_rng(0)
    shape = shape[2], shape[0], shape[1]  # slices first, as nnU-Net has them
    logits = np.lib.format.open_memmap(path, "w+", np.float32, (CLASSES, *shape))
    axes = [np.linspace(-1, 1, n, dtype=np.float32) for n in shape]
    radius = np.sqrt(sum(a**2 for a in np.meshgrid(*axes, indexing="ij", sparse=True)))
    for index, out in enumerate(logits):
        coarse = generator.standard_normal([n // 12 for n in shape]).astype(np.float32)
        field = ndimage.zoom(coarse, [n / c for n, c in zip(shape, coarse.shape, strict=True)], order=2)
        out[...] = 4 * field + (12 * (radius - 0.7) if index == 0 else 0)


def by_predict(logits: Array, record: Record, *, interpolate: bool) -> Array:
    """What `medseg segment` does after the network: labels (X, Y, Z) on the scan's grid."""
    numbers = np.broadcast_to(np.arange(record.grid.shape[2], dtype=np.float32), (1, *record.grid.shape))
    volume = NormalizedVolume(numbers, record.grid, Normalization((0.0,), (1.0,)))
    onto = record if interpolate else None
    labels = predict.label(volume, FromFile(logits), WholeSlice(1), onto=onto).labels
    return labels if interpolate else geometry.undo(Volume(labels[None], record.grid), record).array[0]


def by_nnunet(logits: Array) -> Array:
    """nnU-Net's export of a prediction up to the label map, with the functions and defaults that it has."""
    shape, old, new = ((one[2], one[0], one[1]) for one in (SHAPE, MODEL_SPACING, SPACING))
    from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_shape

    scores = resample_data_or_seg_to_shape(
        logits, shape, old, new, is_seg=False, order=1, order_z=0, force_separate_z=None
    )
    labels: Array = scores.argmax(0).astype(np.uint8).transpose(1, 2, 0)
    return labels


def one_way(way: str, source: Path, labels_file: Path) -> None:
    """Carry one way out in this process; print its figures as JSON."""
    if way != "nnunet":
        keep_freed_memory()  # as the command line does
    torch.set_num_threads(1)
    logits, taken = np.load(source, mmap_mode="r"), record()
    if way == "nnunet":
        import nnunetv2.preprocessing.resampling.default_resampling  # noqa: F401 - not to be timed
    print("begin", flush=True)
    sys.stdin.readline()
    start = time.perf_counter()
    interpolate = way == "scores"
    labels = by_nnunet(logits) if way == "nnunet" else by_predict(logits, taken, interpolate=interpolate)
    decided = time.perf_counter()
    nifti.write(Volume(labels[None], taken.original), labels_file.with_suffix(".nii.gz"))
    done = time.perf_counter()
    print(json.dumps({"labels_s": decided - start, "written_s": done - start}), flush=True)
    np.save(labels_file, labels)


def measured(way: str, source: Path, labels_file: Path) -> dict[str, float]:
    """Carry one way out in a process of its own; seconds, and the most memory beyond what it began with."""
    command = [sys.executable, "-m", "benchmarks.resample", "--way", way, "--logits", str(source)]
    process = subprocess.Popen(
        [*command, "--labels", str(labels_file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("a process without pipes")
    process.stdout.readline()
    before = most = held(process.pid)
    process.stdin.write("go\n")
    process.stdin.flush()
    os.set_blocking(process.stdout.fileno(), False)
    while not (line := process.stdout.readline()):
        most = max(most, held(process.pid))
        time.sleep(0.005)
    process.wait()
    return {**json.loads(line), "peak_mb": (most - before) / MB}


def held(pid: int) -> float:
    """Bytes of a process that are in memory and belong to no file."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return 1024.0 * int(status.split("RssAnon:")[1].split()[0])


def compare(rounds: int) -> dict[str, Any]:
    """All ways in turn; medians, ratios to nnU-Net's, and the share of foreground with its labels."""
    try:
        ways, peer = WAYS, importlib.metadata.version("nnunetv2")
    except importlib.metadata.PackageNotFoundError:
        ways, peer = WAYS[:2], "not installed"
    with tempfile.TemporaryDirectory() as folder:
        source, made = Path(folder) / "logits.npy", {way: Path(folder) / f"{way}.npy" for way in ways}
        make_logits(source, record().grid.shape)
        runs: dict[str, list[dict[str, float]]] = {way: [] for way in ways}
        for number in range(rounds):
            for way in ways:
                runs[way].append(measured(way, source, made[way]))
                print(number, way, runs[way][-1], file=sys.stderr, flush=True)
        labels = {way: np.load(path) for way, path in made.items()}
    rows: dict[str, Any] = {}
    last = labels[ways[-1]]
    for way in ways:
        rows[way] = {key: round(statistics.median(run[key] for run in runs[way]), 3) for key in runs[way][0]}
        either = (labels[way] > 0) | (last > 0)
        rows[way][f"foreground_as_{ways[-1]}"] = round(float((labels[way] == last)[either].mean()), 6)
    if "nnunet" in ways:
        for way in ways[:-1]:
            rows[way]["times_nnunet"] = {
                key: round(statistics.median(n[key] / w[key] for n, w in pairs), 1)
                for pairs in [list(zip(runs["nnunet"], runs[way], strict=True))]
                for key in ("labels_s", "written_s", "peak_mb")
            }
            writing = rows[way]["written_s"] - rows[way]["labels_s"]
            rows[way]["times_nnunet"]["no_more_than"] = round(rows["nnunet"]["written_s"] / writing, 1)
    return {
        "scan": list(SHAPE),
        "model_grid": list(record().grid.shape),
        "classes": CLASSES,
        "rounds": rounds,
        "versions": {"nnunetv2": peer, "torch": torch.__version__, "numpy": np.__version__},
        "machine": f"{platform.processor() or platform.machine()}, one thread",
        "ways": rows,
    }


def dice_of(work: Path) -> dict[str, Any]:
    """Mean Dice of the first fold's validation cases on the scans' own grids: nearest labels and scores."""
    model, table = loading.load(Work(work).model), cases(Work(work).ingest)
    classes, inferer = model.description.class_list(), choose_inferer(model.description)
    rows: dict[str, list[list[float]]] = {"nearest": [], "scores": [], "reference there and back": []}
    for row in roles(Work(work).ingest):
        if row.role != "val" or row.fold != 0:
            continue
        case = case_files(table[row.case])
        prepared = prepare_case(dict(case.channels), model.description, accept_domain=True)
        taken, scan = prepared.record, prepared.scan.grid

        def back(labels: Array, taken: Record = taken) -> Array:
            return geometry.undo(Volume(labels[None], taken.grid), taken).array[0]

        truth = classes.to_indices(nifti.read(case.label).array[0], str(case.label))
        coarse = geometry.apply_to_labels(Volume(truth[None], scan), taken).array[0]
        label: Callable[..., Any] = predict.label
        found = {
            "nearest": back(label(prepared.volume, model.predictor, inferer).labels),
            "scores": label(prepared.volume, model.predictor, inferer, onto=taken).labels,
            "reference there and back": back(coarse),
        }
        for way, labels in found.items():
            rows[way].append([dice(truth == k, labels == k) for k in range(1, len(classes))])
    return {
        "model_spacing": list(taken.whole.spacing),
        "last_scan_spacing": [round(length, 3) for length in scan.spacing],
        "cases": len(rows["scores"]),
        **{way: {n: round(float(v), 4) for n, v in named(classes, of)} for way, of in rows.items()},
    }


def named(classes: Any, of: list[list[float]]) -> list[tuple[str, Any]]:
    """Mean over cases of each class, by name, and over classes."""
    return [*zip(classes.foreground_names, np.nanmean(of, axis=0), strict=True), ("mean", np.nanmean(of))]


def dice(truth: Array, made: Array) -> float:
    """Dice of two masks; NaN if both are empty."""
    total = np.count_nonzero(truth) + np.count_nonzero(made)
    return 2 * np.count_nonzero(truth & made) / total if total else float("nan")


def main() -> None:
    """Measure what is asked for, print it and put it into the file of results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "resample.json")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--logits", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--labels", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.way:
        one_way(asked.way, asked.logits, asked.labels)
        return
    torch.set_num_threads(1)
    content = json.loads(asked.out.read_text(encoding="utf-8")) if asked.out.is_file() else {}
    if asked.work:
        content.setdefault("dice", {})[asked.work.name] = dice_of(asked.work)
    else:
        content["export"] = compare(asked.rounds)
    print(json.dumps(content, indent=2))
    files.write_json(asked.out, content)


if __name__ == "__main__":
    main()

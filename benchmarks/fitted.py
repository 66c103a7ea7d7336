"""Fitted recipes against hand-written quick ones at equal training time, on four data sets.

    python benchmarks/fitted.py path/to/data --minutes 0.5 --out benchmarks/results

Both recipes of a set have its data section: channels, classes and splits. The fitted one follows the rules
of `medseg init` from its training cases; the other is a packaged recipe, or for the spine what `medseg init`
wrote before its recipes were fitted. Before either is trained, the processor time of its training step is
measured in the training loop itself, and its number of steps fixed to fill the minutes; both train in one
thread, and the last weights count: they are validated once at the end, outside these minutes. Processor
time is measured, since other programs may share the machine. With --validation test cases are left alone, and
the scores are those of the validation cases: rules are judged by these.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from medseg import files
from medseg.config import load
from medseg.config.recipe import Recipe
from medseg.console import Reporter
from medseg.train.fit import fit as train
from pipelines import run as pipeline
from pipelines.commands import init_fit
from pipelines.fold.fold import FoldTraining
from pipelines.run import Request
from pipelines.workfolder import Work

TRIAL_STEPS = 6

SPINE = {
    "layout": "patterns",
    "channels": {"mri": "sub-unf01/anat/{case}.nii.gz"},
    "label": "derivatives/labels/sub-unf01/anat/{case}_seg-manual.nii.gz",
    "classes": {0: "background", 1: "cord"},
    "splits": {"train": ["sub-unf01_T1w", "sub-unf01_T2star"], "test": ["sub-unf01_T2w"]},
}
"""Three contrasts of one person on one grid, for want of more: the third is segmented after two."""

UNFITTED = {
    "sampling": {"plane": "axial", "depth": 3, "window": [40, 40]},
    "network": {"name": "usegnet"},
    "train": {
        "batch": 64,
        "augment": {"rotate_degrees": 10, "scale": 0.1, "contrast": 0.2, "brightness": 0.2, "noise": 0.05},
    },
}
"""What `medseg init` wrote for all scans before its recipes were fitted."""

SETS = ("hippocampus", "ibsr18", "camvid", "spine")
FOLDERS = {"spine": "bids_spine"}
QUICK = {
    "hippocampus": "hippocampus_quick",
    "ibsr18": "ibsr18_quick",
    "camvid": "camvid_segnet_basic_quick",
    "spine": "what init wrote before",
}
CAMVID_VAL = ("0016E5_04", "0016E5_05")
"""Training frames that validate, in place of the published validation frames, which are the test here."""


def data_section(name: str, folder: Path) -> dict[str, Any]:
    """The section `data` of both recipes of a set."""
    if name == "spine":
        return {**SPINE, "path": str(folder)}
    if name != "camvid":
        return load.load(QUICK[name], (), folder).data.model_dump(mode="json")
    of_list = {
        role: [
            Path(line.split()[0]).stem for line in (folder / f"{role}.txt").read_text().splitlines() if line
        ]
        for role in ("train", "val")
    }
    val = [frame for frame in of_list["train"] if frame.startswith(CAMVID_VAL)]
    split = {"train": sorted({*of_list["train"]} - {*val}), "val": val, "test": of_list["val"]}
    return {"class_file": "camvid", "path": str(folder), "splits": split}


def hand_written(name: str, data: dict[str, Any]) -> dict[str, Any]:
    """The recipe that the fitted one is compared with, as a tree."""
    if name == "spine":
        return {"name": "spine_before", "data": data, **UNFITTED}
    tree = yaml.safe_load(load.locate(QUICK[name]).read_text(encoding="utf-8"))
    return {**tree, "data": data}


def fitted(name: str, data: dict[str, Any], minutes: float) -> dict[str, Any]:
    """The recipe by the rules of `medseg init`, as a tree."""
    tree: dict[str, Any] = {"name": f"{name}_fitted", "data": data}
    recipe = load.validate(json.loads(json.dumps(tree)) if name != "spine" else tree, Path(name))
    for key, choice in init_fit.fit(recipe, minutes, "given", time.process_time).choices.items():
        *sections, last = key.split(".")
        part = tree
        for section in sections:
            part = part.setdefault(section, {})
        part[last] = choice.value
    return tree


def for_equal_time(tree: dict[str, Any], work: Path, minutes: float, n_validated: int) -> dict[str, Any]:
    """The recipe with as many steps as fill the minutes, by the processor time of a step of its training."""
    tree = json.loads(json.dumps(tree)) if "class_file" in tree["data"] else {**tree}
    t = {**tree.get("train", {}), "threads": 1, "validate_every": 1, "validate_cases": n_validated}
    recipe = write({**tree, "train": {**t, "epochs": 1}}, work)
    for stage in ("ingest", "preprocess"):
        run(stage, work)
    training = FoldTraining(recipe, Work(work / "run"), 0)
    per_epoch = training.batches.steps_per_epoch
    seconds = seconds_of_step(training)
    steps = 60 * minutes / seconds
    if recipe.sampling.order == "shuffled":
        epochs = max(1, round(steps / per_epoch))
        t |= {"epochs": epochs, "validate_every": epochs}
    if recipe.sampling.order == "random" or steps < per_epoch:  # of images, a part of an epoch
        tree = {**tree, "sampling": {**tree.get("sampling", {}), "order": "random"}}
        t |= {"epochs": 1, "steps_per_epoch": max(1, round(steps))}
    return {**tree, "train": t}


def seconds_of_step(training: FoldTraining) -> float:
    """Processor seconds of a training step, the median of a few after the first, drawing included."""
    arguments = training.arguments()
    plan = replace(arguments["plan"], epochs=1, steps_per_epoch=TRIAL_STEPS)
    moments: list[float] = []
    with tempfile.TemporaryDirectory() as scratch:
        trial = {**arguments, "plan": plan, "folder": Path(scratch), "validate": None}
        for _ in train(**trial, on_step=lambda *_: moments.append(time.process_time())):
            pass
    return float(np.median([after - before for before, after in pairwise(moments)]))


def write(tree: dict[str, Any], work: Path) -> Recipe:
    """Write a recipe beside its work folder and read it again."""
    tree = {**tree, "tracking": {"enabled": False, "overlays": False}}
    tree["predict"] = {**tree.get("predict", {}), "roles": ["test"]}
    files.write_text(work / "recipe.yaml", yaml.safe_dump(tree, sort_keys=False))
    return load.load(str(work / "recipe.yaml"))


def run(stage: str, work: Path) -> float:
    """Run one stage; give its processor seconds."""
    started = time.process_time()
    request = Request(str(work / "recipe.yaml"), None, work / "run")
    pipeline.run(request, Reporter(stream=io.StringIO()), only=stage, overwrite=stage == "train")
    return time.process_time() - started


def compare(
    name: str, folder: Path, scratch: Path, minutes: float, kinds: Sequence[str], *, validation: bool
) -> dict[str, Any]:
    """Train both recipes of a set and score them."""
    data = data_section(name, folder)
    recipes = {"fitted": fitted(name, data, minutes), "quick": hand_written(name, data)}
    return {
        kind: trained(tree, scratch / f"{name}_{kind}", minutes, validation=validation)
        for kind, tree in recipes.items()
        if kind in kinds
    }


def trained(tree: dict[str, Any], work: Path, minutes: float, *, validation: bool) -> dict[str, Any]:
    """Train one recipe for the minutes and score it, on test cases or on those of validation."""
    recipe = write(for_equal_time(tree, work, minutes, 0 if validation else 1), work)
    run("ingest", work)  # which takes the recipe with its length into the work folder
    started = time.monotonic()
    seconds = run("train", work)
    wall = time.monotonic() - started
    history = files.read_csv(work / "run/train/0/history.csv")
    best = [{k: round(float(v), 4) for k, v in row.items() if k.startswith("val/") and v} for row in history]
    result: dict[str, Any] = {
        "network": ", ".join(
            [recipe.network.name, *(f"{k} {v}" for k, v in recipe.network.keywords.items())]
        ),
        "plane": recipe.sampling.plane,
        "window": list(recipe.sampling.window),
        "depth": recipe.sampling.depth,
        "spacing_px": recipe.preprocess.spacing_px,
        "batch": recipe.train.batch,
        "steps": int(history[-1]["step"]),
        "processor_seconds_with_validation": round(seconds),
        "wall_seconds": round(wall),
        "validation": [row for row in best if row],
    }
    if not validation:
        for stage in ("predict", "evaluate"):
            run(stage, work)
        result["test"] = test_scores(work / "run/evaluation/summary.json")
    return result


def test_scores(path: Path) -> dict[str, Any]:
    """Dice by class, its mean with an interval, HD95, and mean IoU and accuracies over all pixels."""
    of_test = files.read_json(path)["sets"]["test"]
    over = of_test["over_classes"]
    scores = {
        "cases": of_test["cases"],
        "dice": {name: values["dice"]["mean"] for name, values in of_test["classes"].items()},
        "dice_mean": over["dice"]["mean"],
        "dice_interval": over["dice"].get("ci95"),
        "hd95_mean": over["hd95"]["mean"],
    }
    return {**scores, **{name: of_test["over_set"][name] for name in ("mIoU", "G", "C")}}


def table(minutes: float, results: dict[str, Any]) -> str:
    """The results as Markdown."""
    lines = [
        "| data | recipe | network | plane, window, slices | batch, steps | processor s | Dice | mIoU | G |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, kinds in results.items():
        for kind, one in kinds.items():
            plane = one["plane"] if isinstance(one["plane"], str) else f"{len(one['plane'])} planes"
            cut = f"{plane}, {one['window'][0]} × {one['window'][1]}, {one['depth']}"
            test = one["test"]
            interval = test["dice_interval"]
            dice = f"{test['dice_mean']:.3f}" + (
                f" [{interval[0]:.3f}, {interval[1]:.3f}]" if interval else ""
            )
            label = kind if kind == "fitted" else QUICK[name]
            lines.append(
                f"| {name} | {label} | {one['network']} | {cut} | {one['batch']}, {one['steps']}"
                f" | {one['processor_seconds_with_validation']} | {dice} | {test['mIoU']:.3f}"
                f" | {test['G']:.3f} |"
            )
    return (
        f"# Fitted and hand-written recipes, {minutes:g} processor minutes each\n\n" + "\n".join(lines) + "\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of hippocampus, ibsr18, camvid and bids_spine")
    parser.add_argument("--minutes", type=float, default=2.0)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--work", type=Path, help="keep the work folders here")
    parser.add_argument("--out", type=Path, help="write fitted.json and fitted.md here")
    parser.add_argument("--kinds", nargs="+", choices=("fitted", "quick"), default=["fitted", "quick"])
    parser.add_argument(
        "--validation", action="store_true", help="score validation cases; leave test cases alone"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        scratch = arguments.work or Path(temporary)
        for name in arguments.sets:
            folder = arguments.data / FOLDERS.get(name, name)
            results[name] = compare(
                name, folder, scratch, arguments.minutes, arguments.kinds, validation=arguments.validation
            )
            print(json.dumps({name: results[name]}, indent=1), flush=True)
            if arguments.out:
                content = {"minutes": arguments.minutes, "sets": results}
                files.write_json(arguments.out / "fitted.json", content)
                if not arguments.validation:
                    files.write_text(arguments.out / "fitted.md", table(arguments.minutes, results))


if __name__ == "__main__":
    main()

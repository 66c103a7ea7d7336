"""One process that reads mutated inputs one after the other, under a limit of memory and of time each.

``python -m tests.helpers.fuzz.worker TARGET SEED FIRST END SCRATCH`` prints JSON lines before and after each.
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import os
import resource
import shutil
import sys
import time
import traceback
import warnings
from pathlib import Path
from random import Random
from typing import Any

from tests.helpers.fuzz import seeds, targets
from tests.helpers.fuzz.mutations import mutate

LIMIT_S = float(os.environ.get("MEDSEG_FUZZ_LIMIT_S", "20"))
"""Seconds that reading one input may take."""

LIMIT_MB = 1024
"""Memory (resident, above what the process needs without any input) that reading one input may take."""

_SPACE_MB = 6 * 1024
"""Address space beyond what the process has when it begins."""


def build(target: str, seed: int, index: int, folder: Path) -> tuple[str, str]:
    """Write the input of a number into an empty folder; give its seed's name and the mutated file's."""
    random = Random(f"{seed} {target} {index}")
    all_seeds = seeds.of_target(target)
    chosen = random.choice(all_seeds)
    hit = random.choice(chosen.hit)
    others = [other.files[other.hit[0]] for other in all_seeds if other.kind == chosen.kind]
    shutil.rmtree(folder, ignore_errors=True)
    for name, content in chosen.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(mutate(random, content, others, chosen.kind) if name == hit else content)
    listed = {".safetensors": "members", ".onnx": "graphs"}.get(Path(hit).suffix)
    if listed and random.random() < 0.8:  # the hash must not stop all of them
        model = json.loads((folder / "model.json").read_text())
        model[listed][0]["sha256"] = hashlib.sha256((folder / hit).read_bytes()).hexdigest()
        (folder / "model.json").write_text(json.dumps(model))
    return chosen.name, hit


def main() -> None:
    """Run the numbers FIRST to END of a target."""
    target, scratch = sys.argv[1], Path(sys.argv[5])
    seed, first, end = map(int, sys.argv[2:5])
    warnings.simplefilter("ignore")
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    build(target, seed, 0, scratch / "in")
    _try(target, scratch / "in", *build(target, seed, 0, scratch / "in"))  # imports what is needed
    _limit_space()
    for index in range(first, end):
        name, hit = build(target, seed, index, scratch / "in")
        _print({"index": index})
        faulthandler.dump_traceback_later(LIMIT_S, exit=True)
        _print({"index": index, "seed": name, **_try(target, scratch / "in", name, hit)})
        faulthandler.cancel_dump_traceback_later()


def _try(target: str, folder: Path, _name: str, hit: str) -> dict[str, Any]:
    before, started = _reset_peak(), time.monotonic()
    result: dict[str, Any] = {}
    try:
        result["codes"] = sorted(targets.outcome(target, folder, hit))
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        ours = [f for f in frames if "/medseg/" in f.filename] or list(frames)
        place = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}"
        result["uncoded"] = f"{type(error).__name__} at {place}"
        result["details"] = str(error)[:300]
    result["seconds"] = round(time.monotonic() - started, 3)
    result["mb"] = round(_peak_mb() - before)
    return result


def _reset_peak() -> float:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return _peak_mb()


def _peak_mb() -> float:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def _limit_space() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform != "linux":
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + _SPACE_MB * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _print(row: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()

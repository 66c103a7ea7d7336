"""`medseg doctor`: looks at this machine and installation, and says what will go wrong before it does.

Each check ends as `ok`, as `--` (something that most uses do not need is not there), as `note`
(medseg works, but slower or with less), or as `!!` (something will fail), with what to do about it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import medseg
from medseg import process
from medseg.device import choose, has_native_bf16, in_words, processor, resolve_precision, threads
from medseg.errors import ExitCode, MedsegError, printable
from medseg.infer import loading
from medseg.model import folder as model_folder
from pipelines.commands import machine
from pipelines.commands.info import TRAIN, version

Level = Literal["ok", "info", "note", "fail"]

LEAST_DISK_GB, LOW_DISK_GB = 1.0, 5.0
LEAST_MEMORY_GB, LOW_MEMORY_GB = 1.0, 4.0
"""Below the first a scan of usual size does not get through; below the second a training may not."""

LOW_SHM_GB = 1.0
YEARS = (2024, 2100)
"""Years that a clock may show: files and certificates are younger than the first."""

_MARKS: dict[Level, str] = {"ok": "ok  ", "info": "--  ", "note": "note", "fail": "!!  "}
_EXTRAS: dict[str, tuple[str, tuple[str, ...]]] = {
    "train": ("training, reports and the MLflow tracking of runs", TRAIN),
    "dicom": ("DICOM exports", ("pydicom", "highdicom", "python-gdcm", "pyjpegls", "pynetdicom")),
    "export": ("ONNX files of a model", ("onnx", "onnxscript", "onnxruntime")),
    "openvino": ("--runtime openvino", ("openvino", "onnx")),
    "strip": ("skull stripping with --strip", ("deepbet",)),
    "cluster": ("--executor dask", ("distributed",)),
}
"""Purpose and packages of each extra; without the first package it counts as not installed."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; `how_to_fix` is empty if it is well, and may be ignored for `info`."""

    name: str
    level: Level
    details: str
    how_to_fix: str = ""


def run(models: Sequence[Path], out: Path | None = None, *, as_json: bool = False) -> ExitCode:
    """Print every check as lines or as JSON; FAULT if one failed."""
    every = list(checks(models, out or Path.cwd()))
    failed = sum(check.level == "fail" for check in every)
    if as_json:
        tree = {"medseg": medseg.__version__, "ok": not failed, "checks": [asdict(check) for check in every]}
        sys.stdout.write(json.dumps(tree, indent=2) + "\n")
    else:
        sys.stdout.write("\n".join(_lines(every, failed)) + "\n")
    return ExitCode.FAULT if failed else ExitCode.DONE


def _lines(every: Sequence[Check], failed: int) -> Iterator[str]:
    width = max(len(check.name) for check in every)
    for check in every:
        yield f"{_MARKS[check.level]} {check.name:<{width}}  {printable(check.details)}"
        if check.how_to_fix:
            yield f"{'':<{width + 7}}-> {printable(check.how_to_fix)}"
    notes = sum(check.level == "note" for check in every)
    yield ""
    if failed:
        yield f"{failed} of {len(every)} checks failed: mend what is marked !! before you start a run."
    elif notes:
        words = "note tells" if notes == 1 else "notes tell"
        yield f"medseg can run here; {notes} {words} what is missing or slower."
    else:
        yield "medseg can run here."


def checks(models: Sequence[Path], out: Path) -> Iterator[Check]:
    """Look at the system, the folder of results, memory, device, clock, packages and model folders."""
    yield Check(
        "system", "ok", f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    )
    yield _user()
    yield from _results(out)
    yield _temporary()
    yield _memory()
    if machine.SHM.is_dir() and (shared := machine.free_gb(machine.SHM)) is not None:
        yield _shared_memory(shared)
    yield from _device()
    yield _clock()
    yield from (_extra(name) for name in _EXTRAS)
    yield _mlflow()
    yield from (_model(folder) for folder in models)


def _user() -> Check:
    uid = machine.uid()
    if uid is None:
        return Check("user", "ok", "this system numbers no users")
    details = f"uid {uid}" + (", the administrator" if uid == 0 else "")
    if uid == 0 and machine.in_container():
        how_to_fix = "start the container with --user $(id -u):$(id -g), so that results belong to you"
        return Check("user", "note", f"{details}, in a container", how_to_fix)
    return Check("user", "ok", details)


def _results(out: Path) -> Iterator[Check]:
    """The folder in which results will lie: it can be written, and there is room."""
    folder = next((path for path in (out.absolute(), *out.absolute().parents) if path.exists()), Path.cwd())
    if not folder.is_dir():
        yield Check("results", "fail", f"{folder} is a file", "name a folder with --out")
    elif (reason := machine.why_not_writable(folder)) is not None:
        how_to_fix = "name another folder with --out, or change its owner or permissions"
        yield Check("results", "fail", f"{folder} cannot be written: {reason}", how_to_fix)
    else:
        yield Check("results", "ok", f"{folder} can be written")
    free = machine.free_gb(folder)
    if free is None:
        yield Check(
            "disk", "note", f"the free space of {folder} is not known", "make sure that there is some"
        )
    elif free < LOW_DISK_GB:
        how_to_fix = "free some space, or name a folder on another disk"
        level: Level = "fail" if free < LEAST_DISK_GB else "note"
        yield Check("disk", level, f"{free:.1f} GB free, less than {LOW_DISK_GB:.0f} GB", how_to_fix)
    else:
        yield Check("disk", "ok", f"{free:.0f} GB free")


def _temporary() -> Check:
    """The folder of temporary files: class probabilities and several planes lie there while they are made."""
    folder = machine.temporary_folder()
    how_to_fix = "set TMPDIR to a folder that can be written; in a container mount one (--tmpfs /tmp)"
    if folder is None:
        return Check("temporary files", "note", "no folder for them can be written", how_to_fix)
    free = machine.free_gb(folder)
    if free is not None and free < LEAST_DISK_GB:
        return Check("temporary files", "note", f"{free:.1f} GB free in {folder}", how_to_fix)
    return Check("temporary files", "ok", str(folder))


def _memory() -> Check:
    """Free memory: the system's, or less where a container has a limit of its own."""
    free, limit = machine.free_memory_gb(), machine.memory_limit_gb()
    if free is None:
        how_to_fix = f"make sure that {LOW_MEMORY_GB:.0f} GB are free; pip install psutil lets medseg look"
        return Check("memory", "note", "this system does not say how much is free", how_to_fix)
    details = f"{free:.1f} GB free" + (
        "" if limit is None else f", within this container's limit of {limit:.1f} GB"
    )
    if free >= LOW_MEMORY_GB:
        return Check("memory", "ok", details)
    how_to_fix = "close other programs, lower train.batch or predict.batch"
    how_to_fix += "" if limit is None else ", or give the container more (--memory)"
    return Check("memory", "fail" if free < LEAST_MEMORY_GB else "note", details, how_to_fix)


def _shared_memory(free: float) -> Check:
    if free >= LOW_SHM_GB:
        return Check("shared memory", "ok", f"{free:.1f} GB in {machine.SHM}")
    how_to_fix = "none for segment; for training on several GPUs start the container with --shm-size=2g"
    return Check("shared memory", "info", f"{free * 1000:.0f} MB in {machine.SHM}", how_to_fix)


def _device() -> Iterator[Check]:
    device = choose("auto")
    yield _gpu_match(device)
    precision, native = resolve_precision("auto", device), has_native_bf16(device)
    details = f"{precision} (auto); bf16 is {'native' if native else 'emulated, so slow,'} on this {device}"
    yield Check("precision", "ok", details)
    yield Check("processor", "ok", processor())
    yield _settings()


def _settings() -> Check:
    """The way of waiting for threads, and of keeping memory; see `medseg.process`."""
    spins = os.environ.get("GOMP_SPINCOUNT")
    waiting = "as OpenMP does" if spins is None else f"actively for {spins} turns (GOMP_SPINCOUNT)"
    memory = "kept for the next tensor" if process.keeps_freed_memory else "given back to the system"
    count = threads()
    plural = "" if count == 1 else "s"
    details = f"{count} thread{plural}, waiting {waiting}; freed memory is {memory}"
    return Check("process", "ok", details)


def _gpu_match(device: str) -> Check:
    """The device that `auto` takes; a note where there is an NVIDIA GPU that torch cannot use."""
    import torch

    if device == "cpu" and (gpu := machine.nvidia_gpu()) is not None:
        built = f"built for CUDA {torch.version.cuda}" if torch.version.cuda else "built for CPUs alone"
        details = f"cpu, though there is a GPU ({gpu}): torch {torch.__version__} is {built}"
        how_to_fix = "install the torch that fits the GPU's driver; in a container add --gpus all"
        return Check("device", "note", details, how_to_fix)
    count = torch.get_num_threads()
    details = f"{in_words(device)}, {count} CPU thread{'' if count == 1 else 's'}, torch {torch.__version__}"
    return Check("device", "ok", details)


def _clock() -> Check:
    now = machine.now()
    details = f"{now:%Y-%m-%d %H:%M} UTC"
    if YEARS[0] <= now.year <= YEARS[1]:
        return Check("clock", "ok", details)
    how_to_fix = "set the system's clock: results bear its time, and secure connections fail"
    return Check("clock", "fail", details, how_to_fix)


def _extra(name: str) -> Check:
    purpose, packages = _EXTRAS[name]
    absent = [package for package in packages if version(package) is None]
    how_to_fix = f"for {purpose}: pip install 'medseg[{name}]'"
    if packages[0] in absent:  # others may have come with torch
        return Check(f"extra [{name}]", "info", "not installed", how_to_fix)
    if absent:
        return Check(f"extra [{name}]", "note", f"in part, without {', '.join(absent)}", how_to_fix)
    return Check(f"extra [{name}]", "ok", f"for {purpose}")


def _mlflow() -> Check:
    installed = version("mlflow")
    if installed is None:
        return Check("MLflow", "ok", "not installed, and segment does not need it")
    if int(installed.partition(".")[0]) < 3:
        return Check("MLflow", "fail", f"{installed}, and medseg needs 3.5", "pip install 'medseg[train]'")
    store = os.environ.get("MLFLOW_TRACKING_URI")
    details = f"{installed}, {'MLFLOW_TRACKING_URI is set' if store else 'runs are kept in the work folder'}"
    return Check("MLflow", "ok", details)


def _model(folder: Path) -> Check:
    """A model folder: its files have their sha256, its networks can be built, and its packages are there."""
    name = f"model {folder.name or folder}"
    try:
        model = loading.load(model_folder.locate(folder))
    except MedsegError as error:
        return Check(name, "fail", f"{error.code} {error.finding.details}", error.finding.how_to_fix)
    if importlib.util.find_spec("pydicom") is None and model.description.series:
        return Check(name, "note", "it has rules for DICOM series", "pip install 'medseg[dicom]'")
    details = f"{model.description.network}, {model.parameters:,} parameters, its files have their sha256"
    return Check(name, "ok", details)

"""The choice of a runtime: all that may be used compute two slices in turn, and the fastest is taken."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from medseg.device import has_native_bf16
from medseg.errors import Code, MedsegError
from medseg.extras import is_installed
from medseg.infer import loading
from medseg.infer.ensemble import MultiPlaneEnsemble
from medseg.infer.loading import Model, Numerics
from medseg.infer.predictor import Predictor
from medseg.infer.runtimes import EXTRAS
from medseg.model import folder as model_folder
from medseg.model import graphs
from medseg.model.graphs import Precision

SIDE = 192
"""Side in pixels of the slices that are timed: about a brain's."""

_ROUNDS = 5
_WINDOWS = 64
_CLEARLY = 0.97
"""A graph replaces torch if its time is less than this share of torch's: timing is not exact."""


@dataclass(frozen=True)
class Choice:
    """The numerics that were chosen, and the seconds of all that were timed; none where there was one."""

    numerics: Numerics
    seconds: dict[str, float]

    def words(self) -> str:
        """The choice and its reason, as one line."""
        if not self.seconds:
            return f"runtime: {self.numerics}, the only one of this model here"
        times = ", ".join(f"{name} {value * 1000:.0f} ms" for name, value in self.seconds.items())
        return f"runtime: {self.numerics}, the fastest on two slices ({times})"


def choose(
    folder: Path,
    device: str,
    *,
    mode: str | None = None,
    precision: Precision | None = "fp32",
    runtime: str = "auto",
    threads: int | None = None,
) -> Choice:
    """Time the runtimes of a model folder and choose the fastest, of a ``precision`` or, if None, of any.

    With a ``runtime`` other than `auto` only its precisions are compared. Without a precision, bf16 by torch
    is among them where the device has it. Raises USAGE where there is none.
    """
    model_file = model_folder.read(folder)
    members = [member.name for member in model_file.members]
    here = _candidates(model_file.graphs, members, device, threads)
    fitting = [
        one
        for one in here
        if runtime in ("auto", one.runtime) and (precision is None or one.precision == precision)
    ]
    is_wanted = precision == "bf16" or (precision is None and has_native_bf16(device))
    if is_wanted and runtime in ("auto", "torch"):
        fitting.insert(0, Numerics("torch", "bf16", threads))
    if not fitting:
        there = ", ".join(map(str, here))
        details = (
            f"{folder} has for this machine {there}, and nothing of {runtime} {precision or ''}".rstrip()
        )
        how_to_fix = "write a graph with medseg export --runtime, install its extra, or leave the option out"
        raise MedsegError(Code.USAGE, "--runtime", details, how_to_fix)
    if len(fitting) == 1:
        return Choice(fitting[0], {})
    seconds = _seconds({one: loading.load(folder, device, numerics=one) for one in fitting}, mode)
    fastest = min(fitting, key=lambda one: seconds[one] * (_CLEARLY if one.runtime == "torch" else 1))
    return Choice(fastest, {str(one): round(value, 5) for one, value in seconds.items()})


def _candidates(
    rows: Sequence[graphs.Graph], members: Sequence[str], device: str, threads: int | None
) -> list[Numerics]:
    """torch in fp32, and of a CPU the graphs whose runtimes are installed."""
    candidates = [Numerics("torch", "fp32", threads)]
    if device == "cpu":
        candidates += [
            Numerics(runtime, precision, threads)
            for runtime, precision in graphs.choices(rows, members)
            if is_installed(EXTRAS[runtime])
        ]
    return candidates


def _seconds(models: Mapping[Numerics, Model], mode: str | None) -> dict[Numerics, float]:
    """The shortest time of each for two slices, or a batch of windows; others may use the machine, too."""
    times: dict[Numerics, list[float]] = {one: [] for one in models}
    batch = _batch(next(iter(models.values())), mode)
    with torch.inference_mode():
        for _ in range(1 + _ROUNDS):
            for one, model in models.items():
                start = time.perf_counter()
                _first(model)(batch).cpu()
                times[one].append(time.perf_counter() - start)
    return {one: min(of_one[1:]) for one, of_one in times.items()}


def _first(model: Model) -> Predictor:
    """The predictor, or that of the first plane."""
    predictor = model.predictor
    return predictor.predictors[0] if isinstance(predictor, MultiPlaneEnsemble) else predictor


def _batch(model: Model, mode: str | None) -> Tensor:
    """Random slabs in the form of the model's input."""
    spec = _first(model).spec
    if (mode or model.description.mode) in ("vote", "gaussian"):
        count, sides = _WINDOWS, model.description.window
    else:
        side = spec.size_from(SIDE + 2 * spec.border)
        count, sides = 2, (side, side)
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, spec.channels * spec.depth, *sides, generator=generator)

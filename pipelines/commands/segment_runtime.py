"""The runtime and precision of `medseg segment`: those asked for, those taken, what decides results."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from medseg import files
from medseg.device import has_native_bf16
from medseg.infer import empty, loading, timing
from medseg.infer.loading import Numerics
from medseg.model import folder as model_folder
from medseg.model.graphs import Precision, Runtime


@dataclass(frozen=True)
class Asked:
    """Options: a runtime or `auto`, a precision (None: fp32; any with ``fast``), speed before exactness."""

    runtime: Literal["auto"] | Runtime | None = None
    precision: Precision | None = None
    fast: bool = False


@dataclass(frozen=True)
class Taken:
    """The numerics, lines for the user about them, and what of them decides results; empty for torch in fp32.

    Whatever `auto` takes, results were asked for by the same words, and a second run skips them.
    """

    numerics: Numerics
    lines: tuple[str, ...]
    decides: str
    margin: int | None


def take(asked: Asked, folder: Path, device: str, mode: str | None, threads: int | None) -> Taken:
    """Choose; raises USAGE for what the model folder does not have."""
    return _take(asked, folder, files.sha256(folder / model_folder.MODEL_JSON), device, mode, threads)


@cache
def _take(
    asked: Asked, folder: Path, _sha256: str, device: str, mode: str | None, threads: int | None
) -> Taken:
    runtime = asked.runtime or ("auto" if asked.fast or asked.precision == "int8" else "torch")
    precision = asked.precision or (None if asked.fast else "fp32")
    lines: list[str] = []
    if runtime != "auto" and precision is not None:
        numerics = Numerics(runtime, precision, threads)
        loading.require(folder, device, numerics)
    else:
        choice = timing.choose(
            folder, device, mode=mode, precision=precision, runtime=runtime, threads=threads
        )
        numerics = choice.numerics
        lines.append(choice.words())
    lines += _changes(numerics, folder, asked, device)
    exact = (runtime, precision, asked.fast) == ("torch", "fp32", False)
    graphs = [row.sha256 for row in model_folder.read(folder).graphs]
    decides = "" if exact else f"{runtime} {precision} {' '.join(graphs)}"
    return Taken(numerics, tuple(lines), decides, empty.MARGIN if asked.fast else None)


def _changes(numerics: Numerics, folder: Path, asked: Asked, device: str) -> list[str]:
    """Lines on how results differ from those of torch in fp32, without boxes."""
    lines = []
    for row in model_folder.read(folder).graphs:
        if (row.runtime, row.precision) == (numerics.runtime, numerics.precision):
            accepted = row.accepted
            lines.append(
                f"  {row.member}: the same label in {accepted.agreement:.3%} of the foreground, "
                f"Dice {accepted.dice_change:+.4f}, on {accepted.cases} validation case(s)"
            )
    if numerics.runtime == "torch" and numerics.precision == "bf16":
        slow = "" if has_native_bf16(device) else "; it is emulated on this processor, and slower than fp32"
        lines.append(f"  torch bf16: labels differ from those in fp32, by how much was not measured{slow}")
    if asked.fast:
        lines.append(
            f"  whole slices: only up to {empty.MARGIN} px from the foreground; at most 5 in 100,000 "
            "foreground voxels changed where it was measured"
        )
    return lines

"""Graphs of `medseg export --runtime`: calibrated on training cases, accepted on validation cases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from medseg import files
from medseg.classes import ClassList
from medseg.console import Reporter
from medseg.errors import Code, MedsegError
from medseg.grid import Array
from medseg.infer import loading, predict, runtimes
from medseg.infer.inferers import Inferer, MajorityVote, choose_inferer
from medseg.infer.predictor import NetworkPredictor, Predictor
from medseg.metrics import confusion_matrix
from medseg.model import folder as model_folder
from medseg.model import graphs, onnx_graph, quantise
from medseg.model.description import Description
from medseg.model.graphs import Acceptance, Graph, GraphFile, GraphRuntime, Precision
from medseg.networks.contract import Network
from medseg.patches.slabs import plane_view, read_slab
from medseg.patches.windows import covering_grid, cut, mirrored
from medseg.preprocess.store import PreprocessedCase
from pipelines.fold.data import PreparedCases
from pipelines.workfolder import Work, fold_of

CALIBRATE = "4"
"""Training cases whose slices set the ranges of int8, unless the command names others."""

_SLICES = 16
"""Slices of each of these cases, evenly spaced over those with foreground."""

_MOST_CASES = 8
"""Validation cases that graphs are compared on at most, the first ones."""


@dataclass(frozen=True)
class Wanted:
    """The graphs to write: of each runtime in each precision that it has, and the cases to calibrate on.

    ``calibrate`` is a number of training cases, or their names separated by commas.
    """

    runtimes: tuple[GraphRuntime, ...]
    precisions: tuple[Precision, ...] = ("fp32",)
    calibrate: str = CALIBRATE

    def kinds(self) -> list[tuple[GraphRuntime, Precision]]:
        """Runtimes and precisions; raises USAGE for a precision that none of the runtimes has."""
        kinds = [kind for kind in product(self.runtimes, self.precisions) if kind != ("onnx", "bf16")]
        if lacking := set(self.precisions) - {precision for _, precision in kinds}:
            details = f"ONNX Runtime computes no {lacking.pop()} on a CPU"
            raise MedsegError(
                Code.USAGE, "--precision", details, "use --runtime openvino, or another precision"
            )
        return kinds


def write(work: Path, folder: Path, wanted: Wanted, say: Reporter) -> list[Graph]:
    """Write the graphs of every member of the model in ``folder`` into it, and give their rows.

    They are compared on the work folder's prepared cases.

    Raises NOT_EXPORTABLE for a graph that is not accepted, and USAGE where the work folder has no prepared
    cases to compare on, or not those named.
    """
    prepared, rows = PreparedCases(Work(work)), []
    kinds = wanted.kinds()
    for member in model_folder.read(folder).members:
        description, network = model_folder.load_network(folder, member.name)
        fold = fold_of(member.name)
        validation = _validation(prepared, work, fold)
        calibration = []
        if "int8" in wanted.precisions:
            calibration = _chosen(prepared.of_role(fold, "train"), wanted.calibrate)
        say.line(f"{member.name}: writing its graph")
        written = _write_files(folder, member.name, description, network, calibration, wanted.precisions)
        comparison = _Comparison(description, network, validation)
        for runtime, precision in kinds:
            file = written[precision].model_copy(update={"runtime": runtime})
            accepted = comparison.accept(folder, file, len(calibration) if precision == "int8" else 0)
            say.line(f"{member.name}, {runtime} {precision}: {words(accepted)}")
            rows.append(Graph(**file.model_dump(), accepted=accepted))
    return rows


def words(accepted: Acceptance) -> str:
    """The comparison with the network, as one line."""
    cases = f"{accepted.cases} validation case{'' if accepted.cases == 1 else 's'}"
    return (
        f"the network's label in {accepted.agreement:.3%} of the foreground, "
        f"Dice {accepted.dice:.4f} ({accepted.dice_change:+.4f}) on {cases}"
    )


def card_section(rows: Sequence[Graph]) -> str:
    """The section of `card.md` on graphs."""
    table = "".join(
        f"| {row.member} | {row.runtime} | {row.precision} | {row.accepted.agreement:.3%} "
        f"| {row.accepted.dice:.4f} ({row.accepted.dice_change:+.4f}) | {row.accepted.cases} "
        f"| {row.accepted.calibrated_on or '–'} |\n"
        for row in rows
    )
    return f"""
## Graphs
For `medseg segment --runtime … --precision …`. Each was compared with its network on validation cases: the
share of the foreground that gets the same label, and the mean Dice (its change). Graphs in int8 were
calibrated on training cases.

| member | runtime | precision | same label | Dice | validation cases | training cases |
| --- | --- | --- | --- | --- | --- | --- |
{table}"""


def _validation(prepared: PreparedCases, work: Path, fold: int) -> list[PreprocessedCase]:
    cases = [case for case in prepared.of_role(fold, "val") if case.label is not None][:_MOST_CASES]
    if not cases:
        details = f"fold {fold} has no labelled validation case to compare the graph with its network on"
        raise MedsegError(
            Code.USAGE, work, details, "leave --runtime out; --onnx writes a graph for other programs"
        )
    return cases


def _chosen(cases: Sequence[PreprocessedCase], asked: str) -> list[PreprocessedCase]:
    """The training cases of these names, or so many, evenly spaced over the list. Raises USAGE."""
    if asked.isdecimal() and int(asked):
        picks = np.unique(np.linspace(0, len(cases) - 1, min(int(asked), len(cases))).round().astype(int))
        return [cases[pick] for pick in picks]
    by_name = {case.name: case for case in cases}
    names = [name.strip() for name in asked.split(",")]
    if unknown := [name for name in names if name not in by_name]:
        details = f"{unknown[0]!r} is no training case"
        raise MedsegError(
            Code.USAGE, "--calibrate", details, f"give a number, or names among {', '.join(by_name)}"
        )
    return [by_name[name] for name in names]


def _write_files(
    folder: Path,
    member: str,
    description: Description,
    network: Network,
    calibration: Sequence[PreprocessedCase],
    precisions: Sequence[Precision],
) -> dict[Precision, GraphFile]:
    """Write `<member>.onnx` and `<member>.int8.onnx` as far as wanted; give the file of each precision."""
    window = network.size_from(description.window[0]), network.size_from(description.window[1])
    path = folder / f"{member}.onnx"
    sides = None if onnx_graph.write(path, network, window) else window
    written: dict[Precision, Path] = {"fp32": path, "bf16": path}
    if "int8" in precisions:
        written["int8"] = folder / f"{member}.int8.onnx"
        slabs = _slabs(calibration, description, network, sides)
        files.write_bytes(written["int8"], quantise.to_int8(path.read_bytes(), slabs))
    if set(precisions) == {"int8"}:
        path.unlink()
    return {
        precision: GraphFile(
            member=member,
            runtime="onnx",
            precision=precision,
            file=written[precision].name,
            sha256=files.sha256(written[precision]),
            sides=sides,
        )
        for precision in precisions
    }


def _slabs(
    cases: Sequence[PreprocessedCase],
    description: Description,
    network: Network,
    sides: tuple[int, int] | None,
) -> Iterator[npt.NDArray[np.float32]]:
    """Inputs (B, C·D, H, W) of evenly spaced slices with foreground: whole, or cut to ``sides``."""
    plane = description.planes[0]
    for case in cases:
        label = np.asarray(case.label)
        occupied = np.flatnonzero(plane_view(label, plane).any(axis=(1, 2)))
        occupied = occupied if len(occupied) else np.arange(len(plane_view(label, plane)))
        picks = np.linspace(0, len(occupied) - 1, min(_SLICES, len(occupied))).round().astype(int)
        for index in occupied[picks]:
            slab = read_slab(case.volume, plane, int(index), description.depth)
            if sides is None:
                height, width = slab.shape[1:]
                yield mirrored(slab, (network.size_from(height), network.size_from(width)))[None]
            else:
                slab = mirrored(slab, sides)
                grid = covering_grid(slab.shape[1:], sides, sides)
                yield cut(torch.from_numpy(slab)[None], grid, sides).numpy()


class _Comparison:
    """A member's network and its graphs, compared on whole validation cases."""

    def __init__(self, description: Description, network: Network, cases: Sequence[PreprocessedCase]) -> None:
        self._description, self._classes = description, description.class_list()
        self._cases = cases
        self._spec = loading.spec(description, network)
        self._network = NetworkPredictor(network, self._spec, channels_last=True)
        self._expected: dict[bool, tuple[list[Array], float]] = {}

    def accept(self, folder: Path, file: GraphFile, calibrated_on: int) -> Acceptance:
        """Compare a graph with the network; raises NOT_EXPORTABLE unless it agrees as stated."""
        inferer = _inferer(self._description, file)
        is_free = file.sides is None
        if is_free not in self._expected:
            self._expected[is_free] = self._labels(self._network, inferer)
        expected, dice = self._expected[is_free]
        labels, graph_dice = self._labels(runtimes.open_graph(folder, file, self._spec), inferer)
        accepted = Acceptance(
            agreement=round(_agreement(labels, expected, self._classes), 6),
            dice=round(graph_dice, 6),
            dice_change=round(graph_dice - dice, 6),
            cases=len(self._cases),
            calibrated_on=calibrated_on,
        )
        least, most = graphs.LEAST_AGREEMENT[file.precision], graphs.MOST_DICE_LOST
        if accepted.agreement < least or not accepted.dice_change >= -most:
            details = (
                f"{words(accepted)}; accepted are {least:.2%} and more, and a Dice lower by at most {most}"
            )
            how_to_fix = "calibrate on other or more cases (--calibrate), or choose another precision"
            where = f"{file.member}, {file.runtime} {file.precision}"
            raise MedsegError(Code.NOT_EXPORTABLE, where, details, how_to_fix)
        return accepted

    def _labels(self, predictor: Predictor, inferer: Inferer) -> tuple[list[Array], float]:
        """Labels of every case, and the mean Dice over cases and foreground classes."""
        labels = [predict.label(case.volume, predictor, inferer).labels for case in self._cases]
        scores = [
            confusion_matrix.foreground_dice(
                confusion_matrix.confusion_of(np.asarray(case.label), one, self._classes), self._classes
            )
            for case, one in zip(self._cases, labels, strict=True)
        ]
        return labels, float(np.nanmean(scores)) if np.isfinite(scores).any() else 1.0


def _inferer(description: Description, file: GraphFile) -> Inferer:
    """Whole slices where the network takes them, which is quickest; otherwise the model's own mode."""
    by_windows = description.mode in ("vote", "gaussian")
    if file.sides is not None and not by_windows:
        details = (
            f"its graph takes {file.sides[0]}×{file.sides[1]} px alone, and the model predicts larger pieces"
        )
        raise MedsegError(Code.NOT_EXPORTABLE, file.member, details, "leave --runtime out")
    inferer = choose_inferer(description, "dense" if by_windows and file.sides is None else None)
    return inferer if isinstance(inferer, MajorityVote) else replace(inferer, crf=None)


def _agreement(labels: Sequence[Array], expected: Sequence[Array], classes: ClassList) -> float:
    """The share of the foreground of either that has the same label in both; 1 where there is none."""
    first = int(classes.background or classes.multilabel)
    same = total = 0
    for one, other in zip(labels, expected, strict=True):
        inside = (one >= first) | (other >= first)
        same += int(np.count_nonzero(inside & (one == other)))
        total += int(np.count_nonzero(inside))
    return same / total if total else 1.0

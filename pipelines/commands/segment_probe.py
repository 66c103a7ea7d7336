"""Memory and time that a model takes on this machine, measured in a process of its own, which then ends."""

from __future__ import annotations

import math
import multiprocessing
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path

import torch

from medseg.errors import Code, Finding, MedsegError, first_line
from medseg.infer import loading, pieces
from medseg.infer.case_memory import CaseMemory
from medseg.infer.ensemble import MultiPlaneEnsemble
from medseg.infer.inferers import choose_inferer
from medseg.infer.loading import Model, Numerics
from medseg.infer.predictor import Predictor
from medseg.io.scan_size import ScanSize
from medseg.process import keep_freed_memory
from pipelines.execution.limits import resident_memory

_TRIAL_BYTES = 96 * 2**20
"""About what the larger of the two trial batches takes; the smaller takes half of it."""
_SIDE = 128
"""Side (px) of the slabs that go through the network, or the next that it takes."""
_ROUNDS = 2
_SAFETY = 1.1


@dataclass(frozen=True)
class Demand:
    """Memory (bytes) and time (seconds) of a model.

    ``base`` is resident in a process that has loaded it, ``data`` counts as its data; ``per_pixel`` is what
    the network takes for each pixel of its input, ``seconds_per_pixel`` its time.
    """

    base: int
    data: int
    per_pixel: float
    seconds_per_pixel: float


@dataclass(frozen=True)
class Question:
    """A model, as it will compute, the ``largest`` scan, and the memory (bytes) of the processes.

    ``share`` is that of a process with the model, or 0 for no limit, of which it needs ``own`` for other
    things; ``workers`` such processes stand beside ``others`` bytes of the command's own.
    """

    model: Path
    device: str
    numerics: Numerics
    threads: int | None
    mode: str | None
    largest: ScanSize
    case: CaseMemory
    share: int
    own: int
    workers: int
    others: int


@dataclass(frozen=True)
class Answer:
    """Memory (bytes) and seconds for the largest scan, in a process with the model.

    ``smallest`` is the least that it needs, ``expected`` what it takes with the ``pieces``, in words, that
    fit; no pieces if none do. ``case_memory`` is what each case may take beside the model.
    """

    demand: Demand
    smallest: int
    expected: int
    pieces: str
    seconds: float
    case_memory: CaseMemory


def ask(question: Question) -> Answer:
    """Load the model in a new process, have it compute two batches, and plan; raises what loading raises.

    WORKER_KILLED where the process dies, USAGE where the system does not tell a process's memory.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, question), daemon=True)
    process.start()
    theirs.close()
    try:
        answer: Answer | Finding = ours.recv()
    except EOFError:
        process.join()
        details = f"measuring the model ended its process (exit code {process.exitcode})"
        raise MedsegError(Code.WORKER_KILLED, question.model, details, "free some memory") from None
    finally:
        ours.close()
        process.join()
    if isinstance(answer, Finding):
        raise MedsegError(answer.code, answer.where, answer.details, answer.how_to_fix)
    return answer


def _serve(connection: Connection, question: Question) -> None:
    keep_freed_memory()
    if question.threads is not None:
        torch.set_num_threads(question.threads)
    try:
        model = loading.load(question.model, question.device, numerics=question.numerics)
        connection.send(_planned(question, model, _measured(model)))
    except MedsegError as error:
        connection.send(error.finding)
    except (RuntimeError, MemoryError) as error:
        details = first_line(error)
        connection.send(Finding(Code.OUT_OF_MEMORY, str(question.model), details, "free some memory"))


def _planned(question: Question, model: Model, demand: Demand) -> Answer:
    inferer, largest = choose_inferer(model.description, question.mode), question.largest
    resident = demand.base + question.own
    case = replace(question.case, available=question.share - resident, per_pixel=demand.per_pixel)
    arrays = case.of_arrays(largest.shape, largest.itemsize, largest.channels)
    allowance = case.for_pieces(largest.shape, largest.itemsize, largest.channels)
    smallest = resident + arrays + pieces.least(model, inferer, largest.shape, allowance)
    words, expected = "", smallest
    if smallest <= question.share:
        chosen = pieces.choose(model, inferer, largest.shape, allowance)
        words, expected = chosen.words, resident + arrays + chosen.bytes
    seconds = demand.seconds_per_pixel * pieces.pixels(model, inferer, largest.shape)
    return Answer(demand, smallest, expected, words, seconds, case)


def _measured(model: Model) -> Demand:
    """Measure the model in this process."""
    predictor = model.predictor
    first: Predictor = predictor.predictors[0] if isinstance(predictor, MultiPlaneEnsemble) else predictor
    analytic = loading.bytes_per_pixel(model.description) * max(1.0, *model.description.scales) ** 2
    side = first.spec.size_from(_SIDE + 2 * first.spec.border)
    larger = max(2, round(_TRIAL_BYTES / (analytic * side**2)))
    peaks, seconds = [], []
    for batch in (larger // 2, larger):
        peak, of_batch = _trial(first, batch, side)
        peaks.append(peak)
        seconds.append(of_batch / (batch * side**2))
    pixels = (larger - larger // 2) * side**2
    slope = max(analytic, (peaks[1].rss - peaks[0].rss) / pixels)
    base = max(peaks[1].rss - round(slope * larger * side**2), peaks[0].before)
    data = max(0, peaks[1].data - round(slope * larger * side**2))
    return Demand(base, data, _SAFETY * slope, min(seconds))


@dataclass(frozen=True)
class _Peak:
    """Memory before a trial, and the most resident in it and data after it, in bytes."""

    before: int
    rss: int
    data: int


def _trial(predictor: Predictor, batch: int, side: int) -> tuple[_Peak, float]:
    """The most memory while a batch is computed, and the seconds of the fastest of some."""
    spec, seconds = predictor.spec, math.inf
    with suppress(OSError):  # the mark of the most memory begins anew
        Path("/proc/self/clear_refs").write_text("5")
    before = _memory("VmRSS")
    with torch.inference_mode():
        for _ in range(_ROUNDS):
            slabs = torch.zeros(batch, spec.channels * spec.depth, side, side)
            began = time.perf_counter()
            predictor(slabs).cpu()
            seconds = min(seconds, time.perf_counter() - began)
    return _Peak(before, _memory("VmHWM"), _memory("VmData")), seconds


def _memory(field: str) -> int:
    value = resident_memory(field)
    if value is None:
        details = "this system does not tell how much memory a process takes"
        raise MedsegError(Code.USAGE, "--max-memory", details, "leave it out, and lower --workers instead")
    return value

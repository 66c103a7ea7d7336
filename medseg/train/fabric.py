"""Devices, precision and processes by Lightning Fabric, and torch's settings for the length of a training."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy

from medseg.device import resolve_precision
from medseg.errors import first_line
from medseg.train.plan import FitPlan

_AMP = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
_settings: Any = torch.utils.deterministic  # torch's stubs do not know what is in it
_LONGEST_VALIDATION = timedelta(hours=12)
_STREAM = 2  # keeps dropout's numbers apart from those of drawing and augmentation


def open_fabric(plan: FitPlan) -> Fabric:
    """Set up device, precision and, with several processes, this one's place among them.

    Raises ``KEYWORD_INVALID`` for a precision that the device lacks, ``ValueError`` if there are to be
    several processes and this is none of them.
    """
    if plan.processes > 1 and "LOCAL_RANK" not in os.environ:
        raise ValueError(
            f"{plan.processes} processes are started by train.processes.fit_in_processes or by torchrun"
        )
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it prints the settings otherwise
    kind, _, number = plan.device.partition(":")
    strategy: str | DDPStrategy = "auto"
    if plan.processes > 1:
        # Frozen layers have no gradient for the processes to wait for.
        freezes = any(phase.layers != ("*",) for phase in plan.phases)
        strategy = DDPStrategy(timeout=_LONGEST_VALIDATION, find_unused_parameters=freezes)
    environment, machines = _processes_environment(plan)
    fabric = Fabric(
        accelerator=kind,
        devices=[int(number)] if number else plan.processes // machines,
        num_nodes=machines,
        strategy=strategy,
        precision=_AMP[resolve_precision(plan.precision, plan.device)],
        plugins=[environment],
    )
    fabric.launch()
    return fabric


def _processes_environment(plan: FitPlan) -> tuple[LightningEnvironment | TorchElasticEnvironment, int]:
    """The source of each process's rank, and the number of machines; torchrun starts as many on each."""
    if plan.processes > 1 and TorchElasticEnvironment.detect():
        return TorchElasticEnvironment(), plan.processes // int(os.environ["LOCAL_WORLD_SIZE"])
    return LightningEnvironment(), 1


@cache
def compile_problem(kind: str) -> str | None:
    """Compile and differentiate a small function on a kind of device; give why torch cannot, None if it can.

    Without a C++ compiler (Triton, on a GPU) ``torch.compile`` fails only when a network is first called. The
    answer is kept for the life of the process.
    """
    try:
        with catch_warnings():
            simplefilter("ignore")
            function = torch.compile(lambda x: x.sin().square().sum())
            function(torch.ones(4, device=kind, requires_grad=True)).backward()
    except (RuntimeError, OSError, ImportError) as error:
        return first_line(error)
    return None


@contextmanager
def deterministic(device: torch.device) -> Iterator[None]:
    """On a CPU, let torch use deterministic algorithms alone while the block runs.

    On a GPU cuBLAS would need an environment variable for it, so there bits are not promised, and cuDNN times
    its algorithms for each size of window to take the fastest. Fresh tensors
    are not filled with NaN, as torch does by default then: nothing here reads what it has not written.
    """
    before = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    fills, times = _settings.fill_uninitialized_memory, torch.backends.cudnn.benchmark
    if device.type == "cpu":
        torch.use_deterministic_algorithms(mode=True)
        _settings.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = times or device.type == "cuda"
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warn_only)
        _settings.fill_uninitialized_memory = fills
        torch.backends.cudnn.benchmark = times


@contextmanager
def seeded(device: torch.device, *key: int) -> Iterator[None]:
    """Seed torch's generators from non-negative integers while the block runs; then put them back."""
    seed = int(np.random.SeedSequence((*key, _STREAM)).generate_state(1, np.uint64)[0] >> 1)
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield

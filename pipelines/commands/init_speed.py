"""The speed of this machine: seconds of a training step, measured on random patches."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from medseg import device as devices
from medseg import losses, networks
from medseg.classes import ClassList
from medseg.config.fitted.training import Candidate

STEPS = 3
DRAWING = 1.25
"""Time of a step with drawing and augmentation of its patches over the network's alone, on one core."""

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def device_kind() -> tuple[str, float | None]:
    """Kind of the device that `auto` takes, cpu or gpu, and the free memory of a GPU of CUDA in bytes."""
    device = devices.choose("auto")
    if device == "cpu":
        return "cpu", None
    return "gpu", float(torch.cuda.mem_get_info()[0]) if device == "cuda" else None


def seconds_of_step(
    channels: int, classes: ClassList, candidate: Candidate, clock: Callable[[], float] = time.perf_counter
) -> float:
    """Seconds of a training step of a U-Net: the fastest of a few, after one that warms up."""
    device = devices.choose("auto")
    precision = devices.resolve_precision("auto", device)
    keywords = {"width": candidate.width, "depth": candidate.poolings}
    network = networks.build(
        "unet", channels * candidate.depth, len(classes), seed=0, multilabel=classes.multilabel, **keywords
    )
    network = network.to(device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    loss = losses.build("bce_dice" if classes.multilabel else "ce_dice", None)
    generator = torch.Generator().manual_seed(0)
    shape = (candidate.batch, *candidate.window)
    patches = torch.randn((shape[0], channels * candidate.depth, *shape[1:]), generator=generator).to(device)
    patches = patches.to(memory_format=torch.channels_last)
    labels = torch.randint(0, len(classes), shape, generator=generator, dtype=torch.uint8).to(device)
    seconds = []
    for _ in range(STEPS + 1):
        started = clock()
        with torch.autocast(device.partition(":")[0], _DTYPES.get(precision), enabled=precision != "fp32"):
            logits = network(patches)
        optimiser.zero_grad()
        loss(logits.float(), labels).backward()
        optimiser.step()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        seconds.append(clock() - started)
    return DRAWING * min(seconds[1:])

"""Peers in the suite do the same work: one network on the same windows, labels at the same voxels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from benchmarks.suite import windows
from benchmarks.suite.timing import Call
from medseg.grid import Array
from medseg.infer.stitch import gaussian


@pytest.fixture(scope="module")
def work() -> windows.Work:
    """Smooth structures, on sides where all tools put windows at one stride."""
    noise = np.random.default_rng(0).normal(size=(60, 50, 5))
    return windows.Work.of(ndimage.gaussian_filter(noise, 3).astype(np.float32) * 1000 + 100, width=2)


def peer(name: str, package: str, work: windows.Work) -> Call:
    pytest.importorskip(package)
    make = {"monai": windows.by_monai, "torchio": windows.by_torchio, "nnunetv2": windows.by_nnunet}[name]
    return make(work, work.predictor(channels_last=False))


def averaged(work: windows.Work, weight: torch.Tensor) -> Array:
    """Arg-max of the weighted mean logits of all windows, (X, Y, Z), by loops."""
    slabs, network = work.slabs(), work.predictor()
    sums = torch.zeros(len(slabs), windows.CLASSES, *slabs.shape[2:])
    counts = torch.zeros(slabs.shape[2:])
    with torch.inference_mode():
        for x in range(0, slabs.shape[2] - 39, 10):
            for y in range(0, slabs.shape[3] - 39, 10):
                place = (..., slice(x, x + 40), slice(y, y + 40))
                sums[place] += network(slabs[place]) * weight
                counts[place] += weight
    return (sums / counts).argmax(1).permute(1, 2, 0).numpy()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["monai", "torchio", "nnunetv2"])
def test_a_peer_labels_the_slices_that_medseg_labels(name: str, work: windows.Work) -> None:
    theirs = np.asarray(peer(name, name, work)())
    if name != "torchio":  # theirs have slices first
        theirs = np.moveaxis(theirs, 0, -1)
    weight = gaussian(windows.WINDOW) if name == "nnunetv2" else torch.ones(windows.WINDOW)
    expected = averaged(work, weight)
    assert theirs.shape == expected.shape
    assert (theirs == expected).mean() > (0.98 if name == "nnunetv2" else 0.9999)  # it adds up in float16


def test_the_network_alone_gets_the_windows_that_voting_asks_for(work: windows.Work) -> None:
    batches = work.windows()
    assert sum(map(len, batches)) == 5 * 3 * 2  # slices × rows of windows × columns
    seen: list[torch.Tensor] = []
    windows.network_alone(seen.append, batches)()  # type: ignore[arg-type]
    assert all(one is other for one, other in zip(seen, batches, strict=True))


def test_slabs_repeat_the_first_and_the_last_slice(work: windows.Work) -> None:
    slabs, slices = work.slabs(), work.slices()
    assert slabs.shape == (5, 3, 60, 50)
    assert torch.equal(slabs[0, 0], slabs[0, 1])
    assert torch.equal(slabs[-1, 2], slabs[-1, 1])
    assert torch.equal(slabs[2, 1], slices[3])

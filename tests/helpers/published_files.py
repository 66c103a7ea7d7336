"""State dicts under the names of published files, written out without medseg's networks."""

from __future__ import annotations

import torch
from torch import Tensor


def norm(name: str, channels: int, *, counted: bool = True) -> dict[str, Tensor]:
    """Batch normalisation's tensors; files of before 2018 do not have the counter."""
    ones, zeros = torch.ones(channels), torch.zeros(channels)
    tensors = {"weight": ones, "bias": zeros, "running_mean": zeros, "running_var": ones}
    counter = {"num_batches_tracked": torch.tensor(0)} if counted else {}
    return {f"{name}.{kind}": tensor.clone() for kind, tensor in {**tensors, **counter}.items()}


def conv(name: str, outputs: int, inputs: int, side: int) -> dict[str, Tensor]:
    """A convolution's weight, N(0, 2 / fan-in)."""
    weight = torch.randn(outputs, inputs, side, side) * (2 / (inputs * side * side)) ** 0.5
    return {f"{name}.weight": weight}


def resnet(
    blocks: tuple[int, ...] = (3, 4, 6, 3), *, width: int = 64, classes: int = 1000
) -> dict[str, Tensor]:
    """Torchvision's ResNet of basic blocks; by default ResNet-34."""
    tensors = conv("conv1", width, 3, 7) | norm("bn1", width)
    entry = width
    for stage, count in enumerate(blocks, 1):
        channels = width * 2 ** (stage - 1)
        for block in range(count):
            name = f"layer{stage}.{block}"
            tensors |= conv(f"{name}.conv1", channels, entry, 3) | norm(f"{name}.bn1", channels)
            tensors |= conv(f"{name}.conv2", channels, channels, 3) | norm(f"{name}.bn2", channels)
            if channels != entry:
                tensors |= conv(f"{name}.downsample.0", channels, entry, 1)
                tensors |= norm(f"{name}.downsample.1", channels)
            entry = channels
    return tensors | {"fc.weight": torch.zeros(classes, entry), "fc.bias": torch.zeros(classes)}


def densenet121_of_2017() -> dict[str, Tensor]:
    """Torchvision's first DenseNet-121, whose layers are `norm.1`, `conv.1`, …"""
    tensors = conv("features.conv0", 64, 3, 7) | norm("features.norm0", 64, counted=False)
    entry = 64
    for i, count in enumerate((6, 12, 24, 16), 1):
        for j in range(1, count + 1):
            name = f"features.denseblock{i}.denselayer{j}"
            tensors |= norm(f"{name}.norm.1", entry, counted=False) | conv(f"{name}.conv.1", 128, entry, 1)
            tensors |= norm(f"{name}.norm.2", 128, counted=False) | conv(f"{name}.conv.2", 32, 128, 3)
            entry += 32
        if i < 4:
            name = f"features.transition{i}"
            tensors |= norm(f"{name}.norm", entry, counted=False) | conv(f"{name}.conv", entry // 2, entry, 1)
            entry //= 2
    tensors |= norm("features.norm5", entry, counted=False)
    return tensors | {"classifier.weight": torch.zeros(1000, entry), "classifier.bias": torch.zeros(1000)}


def parameters(tensors: dict[str, Tensor]) -> int:
    """Values that are trained."""
    return sum(t.numel() for name, t in tensors.items() if "running" not in name and "tracked" not in name)

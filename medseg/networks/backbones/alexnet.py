"""AlexNet (Krizhevsky, Sutskever, Hinton 2012) as a backbone, its fully connected layers as convolutions."""

from __future__ import annotations

from torch import nn

from medseg.errors import Code, MedsegError
from medseg.networks.backbones.staged import StagedBackbone


def alexnet(in_channels: int, *, width: int, hidden: int, dropout: float) -> nn.Sequential:
    """Build the layers (B, C, H, W) -> (B, hidden, H / 32, W / 32); H and W are multiples of 32.

    The second, fourth and fifth convolution are in two groups, as in the original.

    :param width: 64 stands for the published channels of the five convolutions, 32 for half of them; a
        multiple of 4, so that two groups share them evenly.
    :param hidden: channels of the two layers that were fully connected.
    """
    convolutions, b = _convolutions(in_channels, width)
    return nn.Sequential(
        *convolutions,
        *full_layers(b, hidden, dropout),
    )


def full_layers(inputs: int, hidden: int, dropout: float) -> nn.Sequential:
    """Build the first two fully connected layers as convolutions: (B, inputs, H, W) -> (B, hidden, H, W)."""
    return nn.Sequential(
        *(nn.ZeroPad2d((2, 3, 2, 3)), nn.Conv2d(inputs, hidden, 6), nn.ReLU(), nn.Dropout(dropout)),
        *(nn.Conv2d(hidden, hidden, 1), nn.ReLU(), nn.Dropout(dropout)),
    )


class AlexNet(StagedBackbone):
    """The five convolutions, with three poolings; no features at stride 2, since the first has stride 4.

    With the three fully connected layers for 1000 classes it has 60,965,224 parameters.

    :param width: 64 stands for the published channels, 32 for half of them; a multiple of 4.
    """

    def __init__(self, in_channels: int, *, width: int = 64, output_stride: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(*_convolutions(in_channels, width)[0])
        steps = [f"layers.{i}" for i in range(len(self.layers))]
        self.find_levels("alexnet", steps, in_channels, output_stride)


def _convolutions(in_channels: int, width: int) -> tuple[list[nn.Module], int]:
    """Build the layers up to the last pooling, and count their channels."""
    if width % 4:
        details, how_to_fix = f"width={width} of alexnet", "use a multiple of 4, for two groups"
        raise MedsegError(Code.KEYWORD_INVALID, "backbone", details, how_to_fix)
    a, b, c = (published * width // 64 for published in (96, 256, 384))
    return [
        *(nn.Conv2d(in_channels, a, 11, 4, 5), nn.ReLU(), pool(), norm()),
        *(nn.Conv2d(a, b, 5, padding=2, groups=2), nn.ReLU(), pool(), norm()),
        *(nn.Conv2d(b, c, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(c, c, 3, padding=1, groups=2), nn.ReLU()),
        *(nn.Conv2d(c, b, 3, padding=1, groups=2), nn.ReLU(), pool()),
    ], b


def pool() -> nn.Module:
    """Build a 3×3 max-pooling at stride 2."""
    return nn.MaxPool2d(3, 2, 1)


def norm() -> nn.Module:
    """Build the response normalisation over five channels (section 3.3 of the paper)."""
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)

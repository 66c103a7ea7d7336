"""The sliding-window pixel classifier, and its form without fully connected layers.

Before fully convolutional networks each pixel was classified from the window around it. The same weights
applied as convolutions give every window's scores at once, equal to the window classifier's and without
computing what neighbouring windows share twice.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator
from torch import Tensor, nn
from torch.nn import functional as F

from medseg.networks.contract import Count, Network, he_


def _odd(window: int) -> int:
    if window < 3 or window % 2 == 0:
        raise ValueError("must be an odd number of pixels, 3 or more")
    return window


Window = Annotated[int, AfterValidator(_odd)]


class WindowClassifier(nn.Module):
    """Classifier of one window (window × window px; with ``pool`` one more each way).

    3×3 convolutions without padding shrink the window to 1×1 (7 → 5 → 3 → 1); a fully connected layer from
    ``hidden`` features to the classes comes last. ``pool`` puts a 2×2 pooling before it: 8 → 6 → 4 → 2 → 1.
    """

    def __init__(
        self,
        in_channels: int,
        classes: int,
        *,
        window: int = 7,
        width: int = 64,
        hidden: int = 200,
        pool: bool = False,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        levels = (window - 1) // 2
        for i in range(levels):
            last = i == levels - 1
            layers += [
                nn.Conv2d(width if i else in_channels, hidden if last else width, 3),
                nn.ReLU(inplace=True),
            ]
        self.features = nn.Sequential(*layers, *([nn.MaxPool2d(2)] if pool else []))
        self.full = nn.Linear(hidden, classes)
        self.apply(he_)

    def forward(self, windows: Tensor) -> Tensor:
        """(B, C, h, w), each as large as the window -> (B, K)."""
        return self.full(self.features(windows).flatten(1))  # type: ignore[no-any-return]


def as_convolution(full: nn.Linear, size: int = 1) -> nn.Conv2d:
    """Turn a fully connected layer on C × size × size features, C outermost, into a convolution."""
    channels = full.in_features // size**2
    convolution = nn.Conv2d(
        channels, full.out_features, size, device=full.weight.device, dtype=full.weight.dtype
    )
    convolution.weight.data = full.weight.data.reshape(-1, channels, size, size).clone()
    convolution.bias.data = full.bias.data.clone()  # type: ignore[union-attr]
    return convolution


def fully_convolutional(classifier: WindowClassifier) -> nn.Sequential:
    """Apply a classifier at every window of an image: (B, C, H, W) -> (B, K, H', W').

    H' = H − window + 1. With a pooling the windows lie at stride 2, as each pooling of the whole image
    serves every second window.
    """
    return nn.Sequential(classifier.features, as_convolution(classifier.full))


class Pixelwise(Network):
    """Classifier of every pixel from the window around it: the baseline without further context.

    From 3 channels to 10 classes with the default 7×7 window it has 156,130 parameters. Beyond the image a
    window holds zeros, the mean of scaled grey values. Any size is taken.

    :param window: odd side length in px; a 3×3 convolution for every two pixels more than one.
    :param width: channels of the convolutions before the last.
    :param hidden: features of a window, from which the last layer classifies.
    """

    paper = "Ciresan et al. 2012 (sliding window), as convolutions: Long, Shelhamer, Darrell 2015"

    def __init__(
        self,
        in_channels: Count,
        classes: Count,
        *,
        window: Window = 7,
        width: Count = 64,
        hidden: Count = 200,
    ) -> None:
        super().__init__(in_channels, classes)
        self.around = window // 2
        classifier = WindowClassifier(in_channels, classes, window=window, width=width, hidden=hidden)
        self.scores = fully_convolutional(classifier)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W)."""
        self.require(x)
        return self.scores(F.pad(x, (self.around,) * 4))  # type: ignore[no-any-return]

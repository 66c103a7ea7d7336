"""AlexNet (Krizhevsky, Sutskever, Hinton 2012) as a backbone, its fully connected layers as convolutions."""

from __future__ import annotations

from torch import nn


def alexnet(in_channels: int, *, width: int, hidden: int, dropout: float) -> nn.Sequential:
    """Build the layers (B, C, H, W) -> (B, hidden, H / 32, W / 32); H and W are multiples of 32.

    The second, fourth and fifth convolution are in two groups, as in the original.

    :param width: 64 stands for the published channels of the five convolutions, 32 for half of them; a
        multiple of 4, so that two groups share them evenly.
    :param hidden: channels of the two layers that were fully connected.
    """
    a, b, c = (published * width // 64 for published in (96, 256, 384))
    return nn.Sequential(
        *(nn.Conv2d(in_channels, a, 11, 4, 5), nn.ReLU(), pool(), norm()),
        *(nn.Conv2d(a, b, 5, padding=2, groups=2), nn.ReLU(), pool(), norm()),
        *(nn.Conv2d(b, c, 3, padding=1), nn.ReLU()),
        *(nn.Conv2d(c, c, 3, padding=1, groups=2), nn.ReLU()),
        *(nn.Conv2d(c, b, 3, padding=1, groups=2), nn.ReLU(), pool()),
        *(nn.ZeroPad2d((2, 3, 2, 3)), nn.Conv2d(b, hidden, 6), nn.ReLU(), nn.Dropout(dropout)),
        *(nn.Conv2d(hidden, hidden, 1), nn.ReLU(), nn.Dropout(dropout)),
    )


def pool() -> nn.Module:
    """Build a 3×3 max-pooling at stride 2."""
    return nn.MaxPool2d(3, 2, 1)


def norm() -> nn.Module:
    """Build the response normalisation over five channels (section 3.3 of the paper)."""
    return nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)

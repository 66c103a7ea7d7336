"""SegNet (Badrinarayanan, Kendall, Cipolla 2017), in VGG16's size and reduced to its first levels."""

from __future__ import annotations

from medseg.networks.contract import Count
from medseg.networks.usegnet import Depth, USegNet


class SegNet(USegNet):
    """VGG16's convolutions and their mirror image, joined by the pooling positions alone (section 3).

    It is U-SegNet without a skip. The last convolution is the classifier. From 3 channels to 11 classes it
    has 29,449,355 parameters.
    """

    paper = "Badrinarayanan, Kendall, Cipolla 2017"

    def __init__(
        self,
        in_channels: Count,
        classes: Count,
        *,
        width: Count = 64,
        depth: Depth = 5,
        packed_positions: bool = False,
    ) -> None:
        super().__init__(
            in_channels, classes, width=width, depth=depth, skips=0, packed_positions=packed_positions
        )


class SegNetSmall(SegNet):
    """The SegNet that U-SegNet's paper compares with: three levels, 3,475,396 parameters from 3 to 4."""

    paper = "Kumar, Nagar, Arora, Gupta 2018"

    def __init__(
        self,
        in_channels: Count,
        classes: Count,
        *,
        width: Count = 64,
        depth: Depth = 3,
        packed_positions: bool = False,
    ) -> None:
        super().__init__(in_channels, classes, width=width, depth=depth, packed_positions=packed_positions)

"""Fully convolutional networks on VGG16 and other backbones (Long, Shelhamer, Darrell 2015)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from medseg.errors import Code, MedsegError
from medseg.networks.backbones import BackboneName, make_backbone
from medseg.networks.backbones.alexnet import full_layers
from medseg.networks.contract import Count, Network, Share, he_
from medseg.networks.upsample import Bilinear, BilinearTransposed
from medseg.networks.weights.pretrained import conv_names

FULL_NAMES = ("classifier.0", "classifier.3")
"""The fully connected layers that become fc6 and fc7."""


class FCN32s(Network):
    """VGG16 made convolutional, its scores enlarged 32 times by bilinear interpolation (sections 4.1, 4.2).

    Any size is taken: the input is padded with zeros, right and below, to multiples of 32 and the scores are
    cut back. All convolutions keep the size (the original pads the image by 100 pixels instead). From 3
    channels to 21 classes, without the learned enlarging kernels, 134,346,581 parameters; FCN-16s 134,357,354
    and FCN-8s 134,362,751.

    :param width: channels of the backbone's first level; 64 is the published size.
    :param hidden: channels of the two layers that were fully connected. By default 4096 with VGG16 and
        AlexNet, and no such layers with the others, which have none.
    :param learned_last: also learn the last enlarging, over all classes; it starts bilinear, as in the paper
        it stays. These are SegNet's "FCN (learnt deconv)".
    """

    paper = "Long, Shelhamer, Darrell 2015"
    skips = 0

    def __init__(
        self,
        in_channels: Count,
        classes: Count,
        *,
        width: Count = 64,
        hidden: Count | None = None,
        dropout: Share = 0.5,
        backbone: BackboneName = "vgg16",
        learned_last: bool = False,
    ) -> None:
        super().__init__(in_channels, classes)
        self.backbone = make_backbone(backbone, in_channels, width=width)
        self.has_published_top = backbone == "vgg16"
        features = self.backbone.widths[4]
        if hidden is None and backbone in ("vgg16", "alexnet"):
            hidden = 4096
        if hidden is None:
            hidden, self.top = features, nn.Sequential(nn.Dropout(dropout))
        elif backbone == "alexnet":
            self.top = full_layers(features, hidden, dropout)
        else:
            self.top = nn.Sequential(
                nn.Conv2d(features, hidden, 7, padding=3),
                nn.ReLU(),
                nn.Dropout(dropout),
                nn.Conv2d(hidden, hidden, 1),
                nn.ReLU(),
                nn.Dropout(dropout),
            )
        self.score = ZeroConv(hidden, classes, 1)
        self.skip_scores = nn.ModuleList(
            ZeroConv(self.backbone.widths[3 - i], classes, 1) for i in range(self.skips)
        )
        self.ups = nn.ModuleList(BilinearTransposed(classes, 2) for _ in range(self.skips))
        self.enlarge = last_enlarging(classes, 32 >> self.skips, learned=learned_last)
        self.apply(he_)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> logits (B, K, H, W)."""
        self.require(x)
        height, width = x.shape[-2:]
        *_, pool3, pool4, pool5 = self.backbone(F.pad(x, (0, -width % 32, 0, -height % 32)))
        scores = self.score(self.top(pool5))  # (B, K, H / 32, W / 32)
        for up, score, pool in zip(self.ups, self.skip_scores, (pool4, pool3), strict=False):
            scores = up(scores) + score(pool)  # (B, K, H / 16, W / 16), then / 8
        return self.enlarge(scores)[:, :, :height, :width]  # type: ignore[no-any-return]

    def init_from(self, coarser: FCN32s) -> None:
        """Take over the weights of the net with fewer skips.

        The new skip starts at zero and its kernel is bilinear, so the first scores equal the coarser net's,
        enlarged in this net's steps. A learned last enlarging is of another size and starts bilinear again.

        :raises MedsegError: ``WEIGHTS_DO_NOT_FIT`` unless the coarser net's weights are some of this net's.
        """
        self.require_coarser(coarser)
        self.load_state_dict(coarser.weights_for_finer(), strict=False)

    def require_coarser(self, coarser: FCN32s) -> None:
        """Raise ``WEIGHTS_DO_NOT_FIT`` unless the coarser net's weights are some of this net's."""
        own, given = self.state_dict(), coarser.weights_for_finer()
        misfits = [key for key, t in given.items() if key not in own or own[key].shape != t.shape]
        if misfits:
            how_to_fix = "start from the net with fewer skips and the same keywords"
            raise MedsegError(Code.WEIGHTS_DO_NOT_FIT, type(self).__name__, ", ".join(misfits), how_to_fix)

    def weights_for_finer(self) -> dict[str, Tensor]:
        """Give the weights that a net with more skips takes over: all but a learned last enlarging."""
        return {key: t for key, t in self.state_dict().items() if not key.startswith("enlarge.")}

    def pretrained_key_map(self) -> dict[str, str]:
        """Map the backbone, and VGG16's first two fully connected layers."""
        full = conv_names(self.top, "top", FULL_NAMES) if self.has_published_top else {}
        return super().pretrained_key_map() | full


class FCN16s(FCN32s):
    """:class:`FCN32s` with the scores of level 4 added after a learned doubling."""

    skips = 1


class FCN8s(FCN32s):
    """:class:`FCN16s` with the scores of level 3 added after a second doubling."""

    skips = 2


def last_enlarging(classes: int, factor: int, *, learned: bool) -> nn.Module:
    """Build the layer (B, K, H, W) -> (B, K, factor · H, factor · W) that starts bilinear, or stays so."""
    return BilinearTransposed(classes, factor) if learned else Bilinear(factor)


class ZeroConv(nn.Conv2d):
    """A convolution whose weights start at zero."""

    def reset_parameters(self) -> None:
        """Set weights and bias to zero."""
        nn.init.zeros_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

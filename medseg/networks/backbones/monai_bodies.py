"""Bodies of MONAI's classifiers and transformers as backbones, by name, without weights from the network."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from medseg.networks.backbones.staged import StagedBackbone, rates_refused
from medseg.networks.contract import Backbone
from medseg.networks.monai_adapter import constructed

SWIN_T = {
    "embed_dim": 96,
    "window_size": (7, 7),
    "patch_size": (4, 4),
    "depths": (2, 2, 6, 2),
    "num_heads": (3, 6, 12, 24),
    "patch_norm": True,
}
"""The tiny form of Swin (Liu et al. 2021, section 3.3)."""

PUBLISHED_NAMES: dict[str, tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]] = {
    "densenet": ((r"(denselayer\d+)\.layers\.", r"\1."),),
    "se": (
        (r"\.se_layer\.fc\.0\.", ".se_module.fc1."),
        (r"\.se_layer\.fc\.2\.", ".se_module.fc2."),
        (r"\.conv(\d)\.adn\.N\.", r".bn\1."),
        (r"\.conv(\d)\.conv\.", r".conv\1."),
        (r"\.project\.conv\.", ".downsample.0."),
        (r"\.project\.adn\.N\.", ".downsample.1."),
    ),
    "efficientnet": ((r"_blocks\.\d+\.", "_blocks."),),
    "swin": (
        (r"^merge(\d)\.merging\.", lambda m: f"layers.{int(m[1]) - 1}.downsample."),
        (r"^layers(\d)\.0\.", lambda m: f"layers.{int(m[1]) - 1}."),
        (r"\.mlp\.linear", ".mlp.fc"),
    ),
}
"""By the beginning of a backbone's name: patterns in MONAI's names of tensors, and what stands for them in
the published files of torchvision, Cadene, Melas-Kyriazi and Microsoft."""


class MonaiBackbone(StagedBackbone):
    """The body of MONAI's class of this name, with the last step at each stride as a level."""

    def __init__(self, name: str, in_channels: int, *, output_stride: int = 32) -> None:
        super().__init__()
        self.name = name
        steps = _take_layers(self, name, in_channels)
        self.find_levels(name, steps, in_channels, output_stride)

    def pretrained_key_map(self, prefix: str) -> dict[str, str]:
        """Map own names to those of the files that MONAI would download."""
        return {
            ours: _published(self.name, theirs) for ours, theirs in super().pretrained_key_map(prefix).items()
        }


class SwinT(MonaiBackbone):
    """Swin Transformer, tiny: levels at strides 4 to 32, normalised over their channels as in SwinUNETR."""

    needs_image = True

    def as_level(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W) over C."""
        return F.layer_norm(x.movedim(1, 3), x.shape[1:2]).movedim(3, 1)


class PatchMerge(nn.Module):
    """Swin's joining of 2×2 pixels, for channels first."""

    def __init__(self, merging: nn.Module) -> None:
        super().__init__()
        self.merging = merging

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 2C, H / 2, W / 2)."""
        return self.merging(x.movedim(1, 3)).movedim(3, 1)  # type: ignore[no-any-return]


class ViTPyramid(Backbone):
    """ViT-B/16 (Dosovitskiy et al. 2021) with a pyramid made of its last features alone (Li et al. 2022).

    Its position embedding, for 14×14 patches, is interpolated to the image's. Levels above stride 16 are
    enlarged by transposed convolutions, the one below is pooled.
    """

    def __init__(self, in_channels: int, *, output_stride: int = 32) -> None:
        super().__init__()
        if output_stride < 16:
            raise rates_refused("vit_b16", output_stride, natural=16)
        values = {
            "in_channels": in_channels,
            "img_size": 224,
            "patch_size": 16,
            "spatial_dims": 2,
            "qkv_bias": True,
        }
        self.body = constructed("ViT", values)
        for block in self.body.blocks:  # type: ignore[union-attr]
            del block.norm_cross_attn  # of attention to other tokens, which there are none of
        channels, lowest = 768, nn.MaxPool2d(2) if output_stride == 32 else nn.Identity()
        self.widths = [channels // 8, channels // 4, channels // 2, channels, channels]
        ups = [
            nn.Sequential(*(_doubled(channels // 2**i, channels // 2 ** (i + 1)) for i in range(count)))
            for count in (3, 2, 1)
        ]
        self.pyramid = nn.ModuleList([*ups, nn.Identity(), lowest])

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, C, H, W) -> levels (B, widths[i], H / stride, W / stride)."""
        embedding: Any = self.body.patch_embedding
        x = embedding.patch_embeddings(x)  # (B, 768, H / 16, W / 16)
        side = round(embedding.position_embeddings.shape[1] ** 0.5)
        positions = embedding.position_embeddings.transpose(1, 2).unflatten(2, (side, side))
        if x.shape[2:] != (side, side):
            positions = F.interpolate(positions, size=x.shape[2:], mode="bilinear", align_corners=False)
        tokens = (x + positions).flatten(2).transpose(1, 2)
        for block in self.body.blocks:  # type: ignore[union-attr]
            tokens = block(tokens)
        features = self.body.norm(tokens).transpose(1, 2).unflatten(2, x.shape[2:])  # type: ignore[operator]
        return [level(features) for level in self.pyramid]

    def cut(self, levels: int) -> None:
        """Remove, in place, what the first ``levels`` levels do not need; the transformer always stays."""
        self.pyramid, self.widths = self.pyramid[:levels], self.widths[:levels]

    def pretrained_key_map(self, prefix: str) -> dict[str, str]:
        """Map the transformer's own names to MONAI's."""
        own = super().pretrained_key_map(prefix)
        return {ours: name.removeprefix("body.") for ours, name in own.items() if name.startswith("body.")}


def monai_backbone(name: str, in_channels: int, *, output_stride: int) -> Backbone:
    """Build a backbone of MONAI with fresh weights.

    :raises MedsegError: ``KEYWORD_INVALID``; ``EXTRA_MISSING`` without MONAI or a package that it needs.
    """
    if name == "vit_b16":
        return ViTPyramid(in_channels, output_stride=output_stride)
    kind = SwinT if name == "swin_t" else MonaiBackbone
    return kind(name, in_channels, output_stride=output_stride)


def _take_layers(backbone: nn.Module, name: str, in_channels: int) -> list[str]:
    """Move the layers of MONAI's class to ``backbone``, but not its classifier, and list them as steps."""
    if name == "swin_t":
        return _take_swin(backbone, in_channels)
    values: dict[str, Any] = {"in_channels": in_channels, "spatial_dims": 2}
    if name.startswith("efficientnet"):
        body = constructed("EfficientNetBN", {"model_name": name, **values})
        parts = ["_conv_stem_padding", "_conv_stem", "_bn0", "_swish", "_blocks"]
        opened = ["_blocks"]
    elif name.startswith("densenet"):
        body = constructed(f"DenseNet{name.removeprefix('densenet')}", {"out_channels": 1, **values})
        body.features.add_module("relu5", nn.ReLU(inplace=True))  # type: ignore[union-attr]  # of the classifier
        parts, opened = ["features"], ["features"]
    else:
        words = {"seresnext": "SEResNeXt", "seresnet": "SEResNet", "senet": "SENet"}
        family = name.rstrip("0123456789")
        body = constructed(words[family] + name.removeprefix(family), values)
        parts, opened = ["layer0", "layer1", "layer2", "layer3", "layer4"], ["layer0"]
    steps: list[str] = []
    for part in parts:
        layer = body.get_submodule(part)
        backbone.add_module(part, layer)
        inner = [f"{part}.{child}" for child, _ in layer.named_children()] if part in opened else [part]
        steps += inner
    return steps


def _take_swin(backbone: nn.Module, in_channels: int) -> list[str]:
    """Move Swin's layers to ``backbone`` with the joining of pixels as steps of their own."""
    body = constructed("swin_unetr.SwinTransformer", {"in_chans": in_channels, "spatial_dims": 2, **SWIN_T})
    backbone.patch_embed = body.patch_embed
    steps = ["patch_embed"]
    for i in range(1, 5):
        stage: Any = body.get_submodule(f"layers{i}")
        merging, stage[0].downsample = stage[0].downsample, None
        backbone.add_module(f"layers{i}", stage)
        steps.append(f"layers{i}.0")
        if i < 4:  # the last stage is not followed by another
            backbone.add_module(f"merge{i}", PatchMerge(merging))
            steps.append(f"merge{i}")
    return steps


def _published(backbone: str, name: str) -> str:
    """Give a tensor of this backbone the name that the published file has for it."""
    for family, patterns in PUBLISHED_NAMES.items():
        if backbone.startswith(family):
            for pattern, replacement in patterns:
                name = re.sub(pattern, replacement, name)
    return name


def _doubled(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.ConvTranspose2d(inputs, outputs, 2, stride=2), nn.BatchNorm2d(outputs), nn.ReLU())

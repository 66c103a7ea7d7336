"""The door to MONAI's 2-D networks: looked up in ``monai.networks.nets`` and nowhere else."""

from __future__ import annotations

import inspect
import os
from typing import Any

from torch import Tensor, nn

from medseg.errors import Code, MedsegError
from medseg.networks.blocks import resized
from medseg.networks.contract import Network


def monai_class(name: str) -> type[nn.Module]:
    """The segmentation network of this name in ``monai.networks.nets``, found and checked but not called.

    :raises MedsegError: ``EXTRA_MISSING`` without MONAI; ``NETWORK_UNKNOWN`` unless the name is a class of
        ``torch.nn.Module`` whose constructor takes ``spatial_dims``, ``in_channels`` and ``out_channels``.
    """
    where = f"monai.networks.nets:{name}"
    # MONAI imports MLflow where it is installed, and MLflow would tell its makers so
    os.environ.update({"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"})
    try:
        from monai.networks import nets
    except ImportError:
        how_to_fix = "install medseg[train]"
        raise MedsegError(Code.EXTRA_MISSING, where, "MONAI is not installed", how_to_fix) from None
    found: object = getattr(nets, name, None)
    if not (inspect.isclass(found) and issubclass(found, nn.Module)):
        raise MedsegError(Code.NETWORK_UNKNOWN, where, "MONAI has no such network", "check its spelling")
    lacking = {"spatial_dims", "in_channels", "out_channels"} - inspect.signature(found).parameters.keys()
    if lacking:
        raise MedsegError(
            Code.NETWORK_UNKNOWN,
            where,
            f"its constructor has no {', '.join(sorted(lacking))}",
            "use a segmentation network, such as BasicUNet",
        )
    return found


class MonaiNetwork(Network):
    """A network of MONAI under the contract of :class:`Network`.

    Of several heads (a list, a tuple, or a further axis), training gets all of them at full size, and
    evaluation the last, which in MONAI's nets is the deepest supervised one.

    :param step: what the sides must be multiples of; MONAI does not say, and 32 suits its usual depths.
    """

    def __init__(
        self,
        kind: type[nn.Module],
        in_channels: int,
        classes: int,
        *,
        size_divisor: int = 32,
        **keywords: Any,
    ) -> None:
        super().__init__(in_channels, classes)
        values = {"spatial_dims": 2, "in_channels": in_channels, "out_channels": classes, **keywords}
        self.size_divisor = size_divisor
        self.network = _called(kind, values)

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        """(B, C, H, W) -> logits (B, K, H, W); a list of them in training under deep supervision."""
        self.require(x)
        output = self.network(x)
        if isinstance(output, Tensor) and output.ndim == 4:
            return output
        heads = output.unbind(1) if isinstance(output, Tensor) else output
        self._require_heads(heads)
        return [resized(head, x.shape) for head in heads] if self.training and len(heads) > 1 else heads[-1]

    def _require_heads(self, heads: Any) -> None:
        if not all(isinstance(head, Tensor) and head.shape[1:2] == (self.classes,) for head in heads):
            where = type(self.network).__name__
            found = "its output is not logits (B, K, H, W)"
            raise MedsegError(
                Code.NETWORK_UNKNOWN, where, found, "use a segmentation network, such as BasicUNet"
            )


def _called(kind: type[nn.Module], values: dict[str, Any]) -> nn.Module:
    parameters = inspect.signature(kind).parameters
    listed = ", ".join(str(p).split(":")[0] for p in parameters.values())
    try:
        inspect.signature(kind).bind(**values)
        return kind(**values)
    except (TypeError, ValueError, AssertionError) as problem:
        raise MedsegError(Code.KEYWORD_INVALID, kind.__name__, str(problem), f"it takes {listed}") from None

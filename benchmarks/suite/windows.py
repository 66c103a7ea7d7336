"""Inference by windows with medseg and its peers: one network, one slab at each slice, the same windows.

Each starts from the volume's grey values and ends with a label map.
"""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.suite.timing import Call
from medseg import networks
from medseg.device import Precision
from medseg.grid import Array, Grid
from medseg.infer import predict
from medseg.infer.inferers import MajorityVote
from medseg.infer.predictor import NetworkPredictor, Predictor, Spec
from medseg.networks.tools.inference_form import fold_batch_norm, unpool_by_layout
from medseg.preprocess.intensity import Normalization, NormalizedVolume

WINDOW, STRIDE, BATCH, DEPTH, CLASSES = (40, 40), (10, 10), 64, 3, 4
OVERLAP = 1 - STRIDE[0] / WINDOW[0]

Network = Callable[[Tensor], Tensor]


class Recording:
    """A predictor that keeps the batches it is asked for, and what the network says of them."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.spec = predictor, predictor.spec
        self.batches: list[Tensor] = []

    def __call__(self, batch: Tensor) -> Tensor:
        self.batches.append(batch.clone())
        return self.predictor(batch)


@dataclass(frozen=True)
class Work:
    """A volume to label, normalized, and a network without its batch norm, as all tools get it."""

    volume: NormalizedVolume
    network: nn.Module

    @classmethod
    def of(cls, array: Array, width: int) -> Work:
        """An image (X, Y, Z), and a U-SegNet of random weights on slabs of three axial slices."""
        network = network_of(width)
        scaling = Normalization((float(array.mean()),), (float(array.std()),))
        volume = NormalizedVolume(array[None], Grid(array.shape, np.eye(4)), scaling)
        return cls(volume, unpool_by_layout(fold_batch_norm(network)).eval())

    @property
    def spec(self) -> Spec:
        """The form of the network's input and output."""
        divisor = int(self.network.size_divisor)  # type: ignore[arg-type]
        return Spec("axial", DEPTH, 1, CLASSES, size_divisor=divisor)

    def predictor(self, precision: Precision = "fp32", *, channels_last: bool = True) -> NetworkPredictor:
        """The network as medseg calls it, or in torch's own layout as peers do."""
        network = copy.deepcopy(self.network)
        return NetworkPredictor(network, self.spec, precision=precision, channels_last=channels_last)

    def slices(self) -> Tensor:
        """Normalized slices (Z + 2, X, Y) float32, the first and the last repeated."""
        normal = torch.from_numpy(self.volume.normalise(self.volume.array)[0]).float().movedim(-1, 0)
        return torch.cat([normal[:1], normal, normal[-1:]]).contiguous()

    def slabs(self) -> Tensor:
        """Slabs (Z, 3, X, Y) float32."""
        slices = self.slices()
        return torch.stack([slices[:-2], slices[1:-1], slices[2:]], dim=1).contiguous()

    def windows(self) -> list[Tensor]:
        """The batches of windows that voting asks the network for."""
        recording = Recording(self.predictor())
        predict.label(self.volume, recording, MajorityVote(WINDOW, STRIDE, BATCH))
        return recording.batches


def network_of(width: int) -> nn.Module:
    """A U-SegNet of random weights, the same each time."""
    return networks.build("usegnet", DEPTH, CLASSES, seed=0, width=width)


def by_medseg(work: Work, predictor: Any) -> Call:
    """Voting windows."""
    return lambda: predict.label(work.volume, predictor, MajorityVote(WINDOW, STRIDE, BATCH)).labels


def network_alone(predictor: Predictor, batches: list[Tensor]) -> Call:
    """Nothing but the network on given batches."""

    def run() -> None:
        with torch.inference_mode():
            for batch in batches:
                predictor(batch)

    return run


def by_monai(work: Work, network: Network) -> Call:
    """MONAI's `SlidingWindowInferer` on each slice; it averages logits."""
    from monai.inferers import SlidingWindowInferer

    inferer = SlidingWindowInferer(WINDOW, sw_batch_size=BATCH, overlap=OVERLAP)

    def run() -> Array:
        with torch.inference_mode():
            return np.stack([inferer(slab[None], network)[0].argmax(0).numpy() for slab in work.slabs()])

    return run


def by_torchio(work: Work, network: Network) -> Call:
    """TorchIO's `GridSampler` and `GridAggregator`, which averages logits of each middle slice."""
    import torchio as tio

    overlap = tuple(w - s for w, s in zip(WINDOW, STRIDE, strict=True))

    def run() -> Array:
        image = work.slices().movedim(0, -1)[None]
        subject = tio.Subject(image=tio.ScalarImage(tensor=image))
        sampler = tio.GridSampler(subject, (*WINDOW, DEPTH), (*overlap, DEPTH - 1))
        aggregator = tio.GridAggregator(sampler, overlap_mode="average")
        with torch.inference_mode():
            for batch in tio.SubjectsLoader(sampler, batch_size=BATCH):
                logits = network(batch["image"][tio.DATA][:, 0].movedim(-1, 1).contiguous())
                places = batch[tio.LOCATION].clone()
                places[:, 2], places[:, 5] = places[:, 2] + DEPTH // 2, places[:, 5] - DEPTH // 2
                aggregator.add_batch(logits[..., None], places)
        return aggregator.get_output_tensor().argmax(0).numpy()[..., 1:-1]

    return run


def by_nnunet(work: Work, network: Network, *, step: float = 1 - OVERLAP, mirrored: bool = False) -> Call:
    """nnU-Net's predictor in 2-D: windows one by one, ``step`` of a window apart, weighted by a Gaussian."""
    with contextlib.redirect_stdout(io.StringIO()):
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        predictor = nnUNetPredictor(
            tile_step_size=step, use_mirroring=mirrored, device=torch.device("cpu"), allow_tqdm=False
        )
    predictor.allowed_mirroring_axes = (0, 1)
    predictor.network = _Module(network)
    predictor.configuration_manager = SimpleNamespace(patch_size=WINDOW)
    predictor.label_manager = SimpleNamespace(num_segmentation_heads=CLASSES)

    def run() -> Array:
        data = (
            work.slabs().transpose(0, 1).contiguous()
        )  # (3, Z, X, Y): the slices beside it are its channels
        return predictor.predict_sliding_window_return_logits(data).argmax(0).numpy()  # type: ignore[no-any-return]

    return run


class _Module(nn.Module):
    """A callable as the module that nnU-Net wants to move and to switch to evaluation."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._network = network

    def forward(self, batch: Tensor) -> Tensor:
        return self._network(batch)

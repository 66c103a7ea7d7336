"""Plans of trainings, and the epochs that come out of them: plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from torch import nn

from medseg import files
from medseg.device import Precision
from medseg.patches.resident import DrawFrom
from medseg.train.optim import Optimiser, Phase, Plateau, Schedule


@dataclass(frozen=True)
class FitPlan:
    """Length, rates, precision and choice of the best weights of a training.

    A step of the optimiser takes the mean gradient of ``accumulate`` parts of its batch, one in memory at a
    time. ``ema`` is the decay of an average of the weights (:mod:`medseg.train.average`), None for none.
    ``plateau`` counts under that schedule alone.

    Without ``phases`` all layers train at ``lr`` for all epochs; with them ``lr`` is not used. ``clip``
    limits the gradient's norm. ``precision`` is decided by :func:`medseg.device.resolve_precision`.
    ``device`` is cpu, cuda, cuda:1 or mps. ``compile`` needs a C++ compiler, and does nothing where torch
    finds none (:func:`medseg.train.fabric.compile_problem`). ``draw_from`` is the memory that patches are cut
    from (:func:`medseg.patches.resident.sampler_on`). ``patience`` counts validations without a better
    ``monitor``, a key of what validation gives, higher being better, as far as they say anything (see
    :class:`Epoch`); 0 never stops early. The weights after each number of steps in ``keep_at`` are kept in
    files of their own. ``identity`` is whatever else makes two trainings different (data,
    recipe); its values are plain.
    """

    epochs: int
    steps_per_epoch: int
    lr: float = 1e-3
    optimiser: Optimiser = field(default_factory=Optimiser)
    schedule: Schedule = "poly"
    plateau: Plateau = field(default_factory=Plateau)
    warmup_steps: int = 0
    phases: tuple[Phase, ...] = ()
    clip: float | None = None
    accumulate: int = 1
    ema: float | None = None
    precision: Precision = "auto"
    device: str = "cpu"
    processes: int = 1
    channels_last: bool = False
    compile: bool = False
    draw_from: DrawFrom = "auto"
    validate_every: int = 1
    patience: int = 0
    monitor: str = "dice_mean"
    keep_at: tuple[int, ...] = ()
    seed: int = 0
    identity: Mapping[str, Any] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """Number of steps of the training."""
        return self.epochs * self.steps_per_epoch

    @property
    def all_phases(self) -> tuple[Phase, ...]:
        """Phases, or one over everything if none are given."""
        return self.phases or (Phase(self.epochs, self.lr),)

    def settings(self, network: nn.Module) -> dict[str, Any]:
        """Collect what must be equal for a resume: all but where it runs, and the network's shapes."""
        values = asdict(self)
        for where in ("device", "compile", "channels_last", "draw_from"):
            del values[where]
        for later, off in (("accumulate", 1), ("ema", None), ("plateau", asdict(Plateau())), ("keep_at", ())):
            if values[later] == off:  # trainings from before there was the key go on
                del values[later]
        identity = values.pop("identity")
        shapes = {name: list(value.shape) for name, value in network.state_dict().items()}
        return {**values, **identity, "network": files.sha256_of_value(shapes)}


@dataclass(frozen=True)
class Epoch:
    """One finished epoch: its number (from 1), the steps done so far, the mean loss over its steps.

    ``lr`` is the highest layer's rate at its last step; ``val`` what validation gave, if there was one, NaN
    where a score is not defined; ``seconds`` includes validation; ``resumed`` says that it was trained before
    a resume. ``informative`` is false after a validation that cannot tell which weights are better: its score
    is not a number, or was the same in all validations so far. Then the last weights count as the best.
    ``data_wait`` is the share of the time of its steps in which training waited for batches.
    """

    number: int
    step: int
    train_loss: float
    lr: float
    seconds: float
    val: dict[str, float] | None
    is_best: bool
    stopped_early: bool
    informative: bool = True
    data_wait: float = 0.0
    resumed: bool = False

    def to_row(self) -> dict[str, Any]:
        """Give plain values, from which :meth:`from_row` makes it again."""
        values = asdict(self)
        del values["resumed"]
        return values

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """Make an epoch of a training that is being resumed."""
        return cls(**row, resumed=True)

"""The judgement of a label map without truth: is it plausible, and what Dice is to be expected of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from medseg.errors import Code, Finding
from medseg.grid import Array, Grid
from medseg.infer.confidence_tally import ConfidenceTally
from medseg.model import domain, shapes
from medseg.model.calibration import Signs, mean_of
from medseg.model.description import Description
from medseg.model.domain import Domain


@dataclass(frozen=True)
class Judgement:
    """The structures of a label map that are implausible, and the Dice to expect of each structure.

    ``expected`` is empty for models without a calibration. Below ``review_below`` the mean of it asks for
    review. ``signs`` are those of failure that it was made from.
    """

    expected: Mapping[str, float] = field(default_factory=dict)
    review_below: float = 0.0
    implausible: tuple[Finding, ...] = ()
    signs: Mapping[str, Signs] = field(default_factory=dict)

    @property
    def mean(self) -> float | None:
        """The expected mean Dice over the structures; None without a calibration."""
        return mean_of(self.expected.values())

    def findings(self, where: object) -> list[Finding]:
        """Notes on the case: IMPLAUSIBLE, LOW_QUALITY."""
        notes = [Finding(one.code, str(where), one.details, one.how_to_fix) for one in self.implausible]
        if self.mean is not None and self.mean < self.review_below:
            name, dice = min(self.expected.items(), key=lambda item: item[1])
            details = f"predicted Dice {self.mean:.2f}, below {self.review_below:.2f}; {name} {dice:.2f}"
            notes.append(Finding(Code.LOW_QUALITY, str(where), details, "review the result"))
        return notes

    def to_json(self) -> dict[str, Any]:
        """The part of `<case>.json` on it; nothing without a calibration."""
        if self.mean is None:
            return {}
        return {
            "predicted_dice": round(self.mean, 4),
            "predicted_dice_by_class": {name: round(dice, 4) for name, dice in self.expected.items()},
        }


def tally_for(description: Description) -> ConfidenceTally | None:
    """A tally of the confidence for a model that has a calibration; otherwise nobody needs one."""
    classes = description.class_list()
    if description.calibration is None:
        return None
    return ConfidenceTally(len(classes), masks=classes.multilabel, first=int(classes.background))


def judge(
    labels: Array,
    grid: Grid,
    description: Description,
    measured: Mapping[str, Array],
    tally: ConfidenceTally | None,
) -> Judgement:
    """Judge labels (X, Y, Z) uint8, class indices or bits of masks, on the scan's own grid.

    ``measured`` are the scan's figures of the model's domain. A model that does not know the structures of
    its training, and one of images, cannot judge.
    """
    known = Domain.model_validate(description.domain).structures
    if not known or grid.unit == "px":
        return Judgement()
    shapes_by_name = shapes.measure(labels, grid, description.class_list())
    implausible = tuple(shapes.check(shapes_by_name, known, ""))
    if description.calibration is None or tally is None:
        return Judgement(implausible=implausible)
    of_case = signs_of(description, shapes_by_name, measured, tally)
    calibration = description.calibration
    return Judgement(calibration.expect(of_case), calibration.review_below, implausible, of_case)


def signs_of(
    description: Description,
    shapes_by_name: Mapping[str, shapes.Shape],
    measured: Mapping[str, Array],
    tally: ConfidenceTally,
) -> dict[str, Signs]:
    """The signs of failure of each structure, see :class:`medseg.model.calibration.Curve`.

    They say how unsure the network was, over all planes, flips and members that it joined; how far size,
    extent, pieces and surface are from those of the training; and how far the scan is.
    """
    known = Domain.model_validate(description.domain).structures
    of_scan = domain.distances(measured, description.domain)
    names = description.class_list().names
    unsure = dict(zip(names, tally.signs(), strict=True))
    return {
        name: {**unsure[name], **shapes.distances(shapes_by_name[name], known[name]), **of_scan}
        for name in known
        if name in shapes_by_name
    }

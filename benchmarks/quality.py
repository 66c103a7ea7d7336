"""Does a model know when it is wrong? Its predicted Dice and review flags on cases it never saw.

    python benchmarks/quality.py WORK [--rounds 5] [--out benchmarks/results/quality_hippocampus.json]

WORK is the work folder of a run with `predict.calibrate: true`. Its test cases are labelled as they are, and
with every rung of the fixed ladder of corruptions on some of them (medseg/synth/corruptions.py). Calibration
and threshold stand in the model folder and were fitted on validation cases: nothing is fitted here. The lines
printed are what has to hold: every case below Dice 0.7 flagged, at most a tenth of the clean cases above 0.8
flagged, a correlation of 0.8 on the ladder, and the expected calibration error before (the confidence as it
is) and after (the predicted Dice).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medseg import files
from medseg.errors import MedsegError
from medseg.metrics.reliability import expected_calibration_error
from medseg.model import folder as model_folder
from medseg.model.calibration import FAILED, GOOD, Sample
from medseg.synth.corruptions import LADDER
from pipelines.fold import calibration
from pipelines.workfolder import Work

SEED = 1000
"""Seed of the first corruption; those that calibrations are fitted on begin at 0."""

MOST_ALARMS = 0.1
LEAST_CORRELATION = 0.8


def measure(work: Work, role: str, rounds: int, device: str = "cpu") -> tuple[list[Sample], int]:
    """Label the cases of a role, clean and corrupted, with the calibrated model of a work folder.

    The number is of corrupted scans that were refused, which therefore have no label map to be wrong about.
    """
    model = model_folder.read(work.model)
    if model.description.calibration is None:
        raise SystemExit(f"{work.model} has no calibration: train with --set predict.calibrate=true")
    members = [member.name for member in model.members]
    planned = calibration.trials(work, members, role, rounds, seed=SEED)
    if not planned:
        raise SystemExit(f"{work.root} has no case of the role {role}")
    started = time.monotonic()

    def say(done: int, case: str) -> None:
        if done % 50 == 0:
            print(f"{done} of {len(planned)}, {time.monotonic() - started:.0f} s, {case}", flush=True)

    samples = list(calibration.label_trials(planned, work.model, device, say))
    return samples, len(planned) - len(samples)


def figures(samples: Sequence[Sample]) -> dict[str, Any]:
    """The numbers that have to hold, of samples whose model says what it expects."""
    pairs = [(s, d, s.expected) for s in samples if (d := s.mean_dice) is not None and s.expected is not None]
    failed = [s for s, dice, _ in pairs if dice < FAILED]
    good = [s for s, dice, _ in pairs if dice > GOOD and not s.corruption]
    ladder = [(dice, expected) for s, dice, expected in pairs if s.corruption]
    true, after = (np.array(column, float) for column in zip(*[(d, e) for _, d, e in pairs], strict=True))
    before = np.array([s.confidence for s, _, _ in pairs])
    clean = np.array([not s.corruption for s, _, _ in pairs])
    return {
        "cases": len({s.case for s in samples}),
        "label_maps": len(pairs),
        "failed": len(failed),
        "failed_flagged": sum(s.needs_review for s in failed),
        "missed": [
            f"{s.case}, {s.corruption or 'clean'}, Dice {s.mean_dice:.2f}"
            for s in failed
            if not s.needs_review
        ],
        "good_clean": len(good),
        "good_clean_flagged": sum(s.needs_review for s in good),
        "correlation_on_the_ladder": correlation(ladder),
        "calibration_error": {
            "all": {"before": error(before, true), "after": error(after, true)},
            "clean": {"before": error(before[clean], true[clean]), "after": error(after[clean], true[clean])},
        },
    }


def correlation(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Pearson's correlation of true and expected Dice; None where one of them does not vary."""
    values = np.array(pairs, float).reshape(-1, 2)
    if len(values) < 3 or (values.std(axis=0) == 0).any():
        return None
    return round(float(np.corrcoef(values.T)[0, 1]), 4)


def error(predicted: np.ndarray, true: np.ndarray) -> float | None:
    value = expected_calibration_error(predicted, true)
    return None if np.isnan(value) else round(value, 4)


def by_corruption(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """Mean true and expected Dice of each rung, and how many were flagged."""
    rows = []
    for name in dict.fromkeys(s.corruption for s in samples):
        of_rung = [s for s in samples if s.corruption == name and s.mean_dice is not None]
        if of_rung:
            rows.append(
                {
                    "corruption": name or "none",
                    "label_maps": len(of_rung),
                    "dice": round(float(np.mean([s.mean_dice for s in of_rung])), 3),
                    "predicted_dice": round(float(np.mean([s.expected for s in of_rung])), 3),
                    "flagged": sum(s.needs_review for s in of_rung),
                }
            )
    return rows


def lines(content: dict[str, Any]) -> list[str]:
    """The figures in words, each with whether it holds."""
    n, r = content, content["correlation_on_the_ladder"]
    alarms = n["good_clean_flagged"] / n["good_clean"] if n["good_clean"] else None
    errors = n["calibration_error"]
    all_flagged = holds(n["failed_flagged"] == n["failed"] if n["failed"] else None)
    flagged = f"flagged {n['failed_flagged']} of {n['failed']} label maps below Dice {FAILED:g}"
    of_good = f"flagged {n['good_clean_flagged']} of {n['good_clean']} clean cases above Dice {GOOD:g}"
    return [
        f"threshold fixed on validation cases: predicted Dice {n['threshold']:.3f}",
        f"{all_flagged} {flagged}",
        f"{holds(None if alarms is None else alarms <= MOST_ALARMS)} {of_good}"
        + ("" if alarms is None else f" ({alarms:.0%})"),
        f"{holds(r is not None and r >= LEAST_CORRELATION)} correlation on the ladder: {r}",
        f"     corrupted scans that were refused, and so not labelled: {n['refused']}",
        *(
            f"     calibration error, {name}: {e['before']} before, {e['after']} after"
            for name, e in errors.items()
        ),
    ]


def holds(is_true: bool | None) -> str:
    """The start of a line; None where no label map was of the kind that it is about, which proves nothing."""
    if is_true is None:
        return "?:  "
    return "yes:" if is_true else "NO: "


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", type=Path)
    parser.add_argument("--role", default="test", choices=("test", "val"))
    parser.add_argument(
        "--rounds", type=int, default=calibration.MOST_ROUNDS, help="cases each rung is tried on"
    )
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    work = Work(arguments.work)
    try:
        samples, refused = measure(work, arguments.role, arguments.rounds, arguments.device)
    except MedsegError as problem:
        raise SystemExit(str(problem)) from None
    fitted = model_folder.read(work.model).description.calibration
    content = {
        "model": model_folder.read(work.model).description.name,
        "role": arguments.role,
        "ladder": [str(step) for step in LADDER],
        "threshold": fitted.review_below if fitted else None,
        "fitted": fitted.fitted if fitted else None,
        "refused": refused,
        **figures(samples),
        "by_corruption": by_corruption(samples),
    }
    for row in content["by_corruption"]:
        print(
            "{corruption:<18} n {label_maps:>3}  Dice {dice:.3f}  predicted {predicted_dice:.3f}"
            "  flagged {flagged}".format(**row)
        )
    print("\n".join([*content["missed"], *lines(content)]))
    if arguments.out:
        files.write_json(arguments.out, content)


if __name__ == "__main__":
    main()

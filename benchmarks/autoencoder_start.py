"""A U-Net that starts from an auto-encoder of scans without labels, beside itself from random weights.

    python -m benchmarks.autoencoder_start path/to/ibsr18 --out benchmarks/results/autoencoder_start.json

The auto-encoder (recipe `ibsr18_autoencoder`) sees six scans of IBSR-18 without their labels, the U-Net
(`ibsr18_unet_quick`) the first one of them or all six with labels. It is trained for the same minutes from
both starts, and from random weights also for as long as both trainings together; the number of steps is
planned once. Four other scans are scored, and choose nothing: there is no validation. Work folders are kept,
so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.few_labels import SCANS, TESTED, scored
from medseg import files
from medseg.config.fitted.training import EPOCHS
from medseg.console import Reporter
from pipelines import run as pipeline
from pipelines.run import Request

ENCODER, NETWORK = "ibsr18_autoencoder", "ibsr18_unet_quick"
COUNTS = (1, 6)


def settings(count: int, seed: int, *length: str) -> tuple[str, ...]:
    """The `--set` values of a training on so many scans."""
    return (
        f"data.splits={{train: [{', '.join(SCANS[:count])}], test: [{', '.join(TESTED)}]}}",
        *length,
        f"train.seed={seed}",
        "train.threads=1",
        "tracking.enabled=false",
    )


def planned(minutes: float) -> tuple[str, ...]:
    """The `--set` values of a length that is planned for the recipe's time on this machine."""
    return ("train.epochs=null", "train.steps_per_epoch=null", f"train.minutes={minutes:g}")


def rows(data: Path, work: Path, first: float, then: float, seed: int) -> Iterator[dict[str, Any]]:
    """Train the auto-encoder for ``first`` minutes, and all U-Nets; give a row for each of these."""
    encoder = work / "autoencoder"
    pipeline.run(Request(ENCODER, data, encoder, settings(len(SCANS), seed, *planned(first))), Reporter())
    started, length = (f"network.init_from={encoder}",), planned(then)
    for count in COUNTS:
        for start, more, minutes in (
            ("auto-encoder", started, then),
            ("random", (), then),
            ("random, as long as both", (), first + then),
        ):
            folder = work / f"{count}_{start.replace(', ', '_').replace(' ', '_')}"
            steps = length if minutes == then else _longer(length, minutes / then)
            row = scored(data, folder, (*settings(count, seed, *steps), *more), NETWORK)
            if length == planned(then):  # the others have as many steps, however busy the machine is
                each = row["steps"] // EPOCHS
                length = ("train.minutes=null", f"train.epochs={EPOCHS}", f"train.steps_per_epoch={each}")
            classes = ", ".join(f"{name} {value:.3f}" for name, value in row["dice"].items())
            words = f"{count} scans, {start}, {minutes:g} min: mean {row['mean']:.3f} ({classes})"
            print(f"{words}, {row['steps']} steps", flush=True)
            yield {"scans": count, "start": start, "minutes": minutes, **row}


def _longer(length: tuple[str, ...], times: float) -> tuple[str, ...]:
    """A number of steps, that many times as long."""
    *other, steps = length
    key, _, each = steps.partition("=")
    return (*other, f"{key}={round(int(each) * times)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of IBSR-18")
    parser.add_argument("--first", type=float, default=4.0, help="minutes of the auto-encoder, default 4")
    parser.add_argument("--then", type=float, default=4.0, help="minutes of the U-Net after it, default 4")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("work/autoencoder_start"))
    parser.add_argument("--out", type=Path, help="write the table here as JSON")
    asked = parser.parse_args()
    content: dict[str, Any] = {"first": asked.first, "then": asked.then, "seed": asked.seed, "rows": []}
    for row in rows(asked.data, asked.work, asked.first, asked.then, asked.seed):
        content["rows"].append(row)
        if asked.out:
            files.write_json(asked.out, content)


if __name__ == "__main__":
    main()

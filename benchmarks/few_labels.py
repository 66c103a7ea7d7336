"""Few labelled scans: a recipe that starts from the model that comes with medseg, beside itself from scratch.

    python benchmarks/few_labels.py path/to/ibsr18 --out benchmarks/results/few_labels.json

The recipe `ibsr18_few_quick` trains on the first 1, 2, 4 and 6 training scans of IBSR-18's split, for the
same minutes each, and scores the other four labelled scans, which choose nothing. Work folders are kept, so
that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from medseg import files
from medseg.console import Reporter
from pipelines import run as pipeline
from pipelines.run import Request

RECIPE = "ibsr18_few_quick"
SCANS = ("IBSR_01", "IBSR_03", "IBSR_05", "IBSR_07", "IBSR_08", "IBSR_16")
TESTED = ("IBSR_04", "IBSR_06", "IBSR_09", "IBSR_18")
COUNTS = (1, 2, 4, 6)
STARTS = {"brain-tissue": "brain-tissue", "from scratch": "null"}


def settings(count: int, start: str, minutes: float, seed: int) -> tuple[str, ...]:
    """The `--set` values of a training on so many scans."""
    return (
        f"data.splits={{train: [{', '.join(SCANS[:count])}], test: [{', '.join(TESTED)}]}}",
        f"network.init_from={STARTS[start]}",
        f"train.minutes={minutes:g}",
        f"train.seed={seed}",
        "train.threads=1",
        "tracking.enabled=false",
    )


def scored(data: Path, work: Path, chosen: tuple[str, ...], recipe: str = RECIPE) -> dict[str, Any]:
    """Train and score once: Dice of each class and its mean over the tested scans, and the steps."""
    pipeline.run(Request(recipe, data, work, chosen), Reporter())
    of_test = files.read_json(work / "evaluation/summary.json")["sets"]["test"]
    dice = {name: values["dice"]["mean"] for name, values in of_test["classes"].items()}
    steps = int(files.read_csv(work / "train/0/history.csv")[-1]["step"])
    return {"dice": dice, "mean": of_test["over_classes"]["dice"]["mean"], "steps": steps}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of IBSR-18")
    parser.add_argument("--minutes", type=float, default=3.0, help="training of each, default 3")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("work/few_labels"))
    parser.add_argument("--out", type=Path, help="write the table here as JSON")
    asked = parser.parse_args()
    rows = []
    for count in COUNTS:
        for start in STARTS:
            work = asked.work / f"{count}_{start.replace(' ', '_')}"
            row = scored(asked.data, work, settings(count, start, asked.minutes, asked.seed))
            rows.append({"scans": count, "start": start, **row})
            classes = ", ".join(f"{name} {value:.3f}" for name, value in row["dice"].items())
            print(
                f"{count} scans, {start}: mean {row['mean']:.3f} ({classes}), {row['steps']} steps",
                flush=True,
            )
            if asked.out:
                content = {"recipe": RECIPE, "minutes": asked.minutes, "seed": asked.seed, "rows": rows}
                files.write_json(asked.out, content)


if __name__ == "__main__":
    main()

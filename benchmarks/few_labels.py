"""Few labelled scans: a recipe that starts from the model that comes with medseg, beside itself from scratch.

    python benchmarks/few_labels.py path/to/ibsr18 --out benchmarks/results/few_labels.json
    python benchmarks/few_labels.py --draw benchmarks/results/few_labels.json    # docs/few-labels.svg again

The recipe `ibsr18_few_quick` trains on the first 1, 2, 4 and 6 training scans of IBSR-18's split, for the
same minutes each, and scores the other four labelled scans, which choose nothing. Work folders are kept, so
that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
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
STYLES = {"brain-tissue": ("o-", "#1f4e79"), "from scratch": ("s--", "#c55a11")}
PICTURE = Path(__file__).parents[1] / "docs/few-labels.svg"


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


def table(data: Path, work: Path, minutes: float, seed: int) -> Iterator[dict[str, Any]]:
    """Train and score each number of scans from both starts; give its row."""
    for count in COUNTS:
        for start in STARTS:
            folder = work / f"{count}_{start.replace(' ', '_')}"
            row = scored(data, folder, settings(count, start, minutes, seed))
            classes = ", ".join(f"{name} {value:.3f}" for name, value in row["dice"].items())
            words = f"{count} scans, {start}: mean {row['mean']:.3f} ({classes}), {row['steps']} steps"
            print(words, flush=True)
            yield {"scans": count, "start": start, **row}


def draw(content: dict[str, Any], path: Path) -> None:
    """A curve for each start: mean Dice by the number of labelled scans; text stays text."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot as plt

    plain = {"svg.fonttype": "none", "svg.hashsalt": "medseg", "font.family": "sans-serif", "font.size": 9}
    with mpl.rc_context(plain):
        figure, ax = plt.subplots(figsize=(5.2, 3.2), layout="constrained")
        for start, (line, color) in STYLES.items():
            points = [(row["scans"], row["mean"]) for row in content["rows"] if row["start"] == start]
            ax.plot(*zip(*points, strict=True), line, color=color, markersize=4, label=start)
        ax.set_xlabel("labelled scans to train on")
        ax.set_ylabel("mean Dice of four other scans")
        ax.set_xticks(sorted({row["scans"] for row in content["rows"]}))
        ax.grid(color="#e5e5e5", linewidth=0.8)
        ax.spines[["top", "right"]].set_visible(False)
        ax.legend(frameon=False, loc="lower right")
        figure.savefig(path, metadata={"Date": None, "Creator": None})
        plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="?", help="folder of IBSR-18")
    parser.add_argument("--minutes", type=float, default=3.0, help="training of each, default 3")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("work/few_labels"))
    parser.add_argument("--out", type=Path, help="write the table here as JSON")
    parser.add_argument("--draw", type=Path, metavar="JSON", help="train nothing: draw this table's curves")
    asked = parser.parse_args()
    if asked.draw:
        draw(files.read_json(asked.draw), PICTURE)
        return
    if asked.data is None:
        parser.error("name the folder of IBSR-18, or a table with --draw")
    content: dict[str, Any] = {"recipe": RECIPE, "minutes": asked.minutes, "seed": asked.seed, "rows": []}
    for row in table(asked.data, asked.work, asked.minutes, asked.seed):
        content["rows"].append(row)
        if asked.out:
            files.write_json(asked.out, content)


if __name__ == "__main__":
    main()

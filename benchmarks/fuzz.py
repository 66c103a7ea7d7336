"""The fuzz run: mutated inputs through the readers as shipped; counts of codes, and every fault.

    python benchmarks/fuzz.py --count 12000 --seed 1

writes ``benchmarks/results/fuzz.json`` and the table of ``docs/hostile-input.md``; a run of fewer than 10,000
inputs prints its table and writes nothing. The same seed and the same
seeds (files of ``MEDSEG_TEST_DATA`` are among them where it is set) give the same inputs. Ends with 1 if an
input crashed a reader, took longer or more memory than its limit, or ended without a code.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from tests.helpers.fuzz import driver, seeds  # noqa: E402
from tests.helpers.fuzz.worker import LIMIT_MB, LIMIT_S  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "fuzz.json"
PAGE = ROOT / "docs" / "hostile-input.md"
BEGIN, END = "<!-- fuzz table -->", "<!-- end of fuzz table -->"
KEPT = 10_000
"""Inputs from which on a run is kept."""

SHARES = {
    "nifti": 4, "itk": 4, "image": 3, "dicom": 5, "compressed": 5, "archive": 3, "dicomdir": 1,
    "segmentation": 2, "table": 1, "dataset_json": 1, "model": 2, "graph": 2, "recipe": 1,
}  # fmt: skip
"""How the inputs are shared among the kinds: most for what parses binary files."""


def counts(total: int) -> dict[str, int]:
    """Inputs of each kind; at least ``total`` together."""
    whole = sum(SHARES.values())
    return {target: -(-total * share // whole) for target, share in SHARES.items()}


def table(results: Sequence[driver.Result]) -> str:
    """The results as a table of Markdown, the most frequent codes first."""
    lines = [
        "| input | number | faults | slowest | most memory | ends as |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for result in results:
        ordered = sorted(result.codes.items(), key=lambda pair: (-pair[1], pair[0]))
        ends = ", ".join(f"{code} {number}" for code, number in ordered[:8])
        rest = len(result.codes) - 8
        ends += f", and {rest} more" if rest > 0 else ""
        kind = result.target.replace("_", ".")
        lines.append(
            f"| {kind} | {result.inputs} | {len(result.faults)} | {result.slowest_s:.2f} s"
            f" | {result.most_mb:.0f} MB | {ends} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Run every kind, write both files, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    started, results = time.monotonic(), []
    assert set(SHARES) == set(seeds.TARGETS)  # noqa: S101
    for target, count in counts(given.count).items():
        results.append(driver.run(target, given.seed, count))
        print(f"{target}: {count} inputs, {len(results[-1].faults)} faults", flush=True)
    code = 1 if any(result.faults for result in results) else 0
    tree = {
        "seed": given.seed,
        "inputs": sum(result.inputs for result in results),
        "seconds": round(time.monotonic() - started),
        "limits": {"seconds": LIMIT_S, "mb": LIMIT_MB},
        "python": platform.python_version(),
        "real_seeds": bool(os.environ.get("MEDSEG_TEST_DATA")),
        "kinds": {
            result.target: {
                "inputs": result.inputs,
                "codes": dict(sorted(result.codes.items())),
                "faults": result.faults,
                "slowest_s": result.slowest_s,
                "most_mb": result.most_mb,
            }
            for result in results
        },
    }
    print(table(results))
    if tree["inputs"] < KEPT:
        print(f"nothing is written: fewer than {KEPT} inputs")
        return code
    RESULTS.write_text(json.dumps(tree, indent=1) + "\n", encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    before, after = page.partition(BEGIN)[0], page.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{table(results)}\n{END}{after}", encoding="utf-8")
    return code


if __name__ == "__main__":
    sys.exit(main())

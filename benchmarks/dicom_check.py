"""Files per second and peak memory of `medseg check --json` and `medseg convert` over a folder of exports.

    python benchmarks/dicom_check.py DATA/dicom [--runs 3]

Whole processes, from the start of the interpreter; the peak is that of the process and its helpers.
Prints medians, and the count of results by code. Ends with 1 if a command ends with a fault or a
traceback.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

PROGRAM = """
from pathlib import Path
from medseg.cli import main
try:
    main()
finally:
    lists = Path("/proc/self/task").glob("*/children")
    children = [pid for listed in lists for pid in listed.read_text().split()]
    status = [Path("/proc", pid, "status").read_text() for pid in ("self", *children)]
    peak = sum(int(text.split("VmHWM:")[1].split()[0]) for text in status) / 1024
    Path({!r}).write_text(str(peak))
"""
ENDS_WELL = (0, 3, 4)


def run(arguments: list[str], scratch: Path) -> tuple[float, float, str]:
    """Seconds, peak memory in MB, and the output of a command."""
    peak = scratch / "peak"
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(str(peak)), *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - started
    if ended.returncode not in ENDS_WELL or "Traceback" in ended.stderr:
        sys.exit(f"medseg {arguments[0]} ended with {ended.returncode}:\n{ended.stderr[-2000:]}")
    return seconds, float(peak.read_text()), ended.stdout


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    files = sum(path.is_file() for path in options.data.rglob("*"))
    for command in ("check", "convert"):
        figures = []
        for _ in range(options.runs):
            with tempfile.TemporaryDirectory() as scratch:
                more = ["--json"] if command == "check" else [str(Path(scratch, "out")), "--quiet"]
                figures.append(run([command, str(options.data), *more], Path(scratch)))
        seconds, peak = (statistics.median(row[n] for row in figures) for n in (0, 1))
        print(
            f"medseg {command}: {files} files in {seconds:.2f} s, {files / seconds:.0f} files/s,"
            f" peak {peak:.0f} MB"
        )
        if command == "check":
            results = json.loads(figures[0][2])["results"]
            counts = Counter(f"{row['verdict']} {row['code']}".strip() for row in results)
            print("  " + ", ".join(f"{count} {words}" for words, count in sorted(counts.items())))


if __name__ == "__main__":
    main()

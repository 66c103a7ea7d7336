"""Figures of the container image: its size, start-up, peak memory, and seconds for each scan.

    python benchmarks/container.py IMAGE SCANS MODEL [--engine podman] [--threads 2]

Needs an engine that runs the image. SCANS is a file or folder that `medseg segment` takes.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

LOCKED = (
    *("--network=none", "--read-only", "--user=12345:12345", "--cap-drop=ALL"),
    *("--security-opt=no-new-privileges", "--pids-limit=64"),
)
MEASURE = """
import json, resource, subprocess, sys, time
began = time.monotonic()
code = subprocess.run(["/opt/medseg/libexec/entrypoint", *sys.argv[1:]], stdout=subprocess.DEVNULL).returncode
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
seconds = round(time.monotonic() - began, 1)
print(json.dumps({"exit code": code, "seconds in all": seconds, "peak memory, MiB": peak}))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("image")
    parser.add_argument("scans", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--engine", default="podman")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory", default="2g")
    asked = parser.parse_args()
    run = [asked.engine, "run", "--rm", *LOCKED, f"--memory={asked.memory}"]
    inspect = [asked.engine, "image", "inspect", "--format={{.Size}}", asked.image]
    print(f"image: {int(subprocess.check_output(inspect)) / 1e6:.0f} MB")
    print(f"start: {startup_s([*run, asked.image, '--version']):.2f} s (median of 9 runs of --version)")
    for name, value in segment(run, asked.image, asked.scans, asked.model, asked.threads).items():
        print(f"{name}: {value}")


def startup_s(command: list[str]) -> float:
    """The median time of a container from its command to its end, in seconds."""
    times = []
    for _ in range(9):
        began = time.monotonic()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.monotonic() - began)
    return statistics.median(times)


def segment(run: list[str], image: str, scans: Path, model: Path, threads: int) -> dict[str, object]:
    """Segment the scans in a locked container; what it took."""
    with tempfile.TemporaryDirectory() as out:
        Path(out).chmod(0o777)
        source = "/in" if scans.is_dir() else f"/in/{scans.name}"
        done = subprocess.run(
            [
                *(*run, f"--env=OMP_NUM_THREADS={threads}", "--entrypoint=/opt/medseg/bin/python"),
                *(f"--volume={scans.resolve()}:{source}:ro", f"--volume={out}:/out"),
                *(f"--volume={model.resolve()}:/model:ro", image, "-c", MEASURE),
                *("segment", source, "/out", "--accept-domain", "--quiet"),
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        figures = json.loads(done.stdout)
        rows = list(csv.DictReader((Path(out) / "summary.csv").open(encoding="utf-8")))
    seconds = [float(row["seconds"]) for row in rows if row["seconds"]]
    return {
        **figures,
        "scans": f"{len(seconds)} of {len(rows)}",
        "seconds a scan": f"{statistics.mean(seconds):.2f}",
    }


if __name__ == "__main__":
    main()

"""40 brains: `ingest` against its own work, `preprocess` by one worker and by two."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import yaml

from benchmarks import ingest
from benchmarks.suite.options import Options
from benchmarks.suite.results import Measured, Way
from benchmarks.suite.timing import over


def run(options: Options) -> Measured:
    """Whole commands, each from nothing; the brains stay in the cache."""
    cases = options.pick(40, 2)
    data = options.cache / f"brains-{cases}"
    if not data.is_dir():
        part = data.with_name(f"{data.name}-unfinished")
        shutil.rmtree(part, ignore_errors=True)
        ingest.make(part, cases)
        part.rename(data)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipe = folder / "brains.yaml"
        recipe.write_text(yaml.safe_dump({**ingest.RECIPE, "preprocess": {"n4": False, "crop": False}}))
        rounds = [ingest.measure(recipe, data, folder / "work") for _ in range(options.pick(3, 1))]
    ways = {
        title: Way(tuple(one[key] for one in rounds))
        for title, key in {
            "ingest, whole command": "ingest_s",
            "ingest, its own work": "ingest_own_s",
            "preprocess, 1 worker": "preprocess_1_s",
            "preprocess, 2 workers": "preprocess_2_s",
        }.items()
    }
    return Measured(
        f"{cases} volumes of 256×128×256, four classes",
        ways,
        {
            "preprocess: time of one worker over that of two": over(
                ways["preprocess, 1 worker"], ways["preprocess, 2 workers"]
            ),
            "ingest: time of the whole command over its own work": over(
                ways["ingest, whole command"], ways["ingest, its own work"]
            ),
        },
        notes=["a processor for each worker; the rest of ingest is the start of Python, torch and MLflow"],
    )

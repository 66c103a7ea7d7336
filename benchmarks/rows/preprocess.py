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
            "preprocess, whole command, 1 worker": "preprocess_1_whole_s",
            "preprocess, whole command, 2 workers": "preprocess_2_whole_s",
            "start of Python with the libraries of reading": "start_s",
        }.items()
    }
    whole, own, start = (
        ways[name]
        for name in (
            "ingest, whole command",
            "ingest, its own work",
            "start of Python with the libraries of reading",
        )
    )
    return Measured(
        f"{cases} volumes of 256×128×256, four classes",
        ways,
        {
            "preprocess: time of one worker over that of two": over(
                ways["preprocess, 1 worker"], ways["preprocess, 2 workers"]
            ),
            "preprocess: the same of the whole commands": over(
                ways["preprocess, whole command, 1 worker"], ways["preprocess, whole command, 2 workers"]
            ),
            "ingest: time of the whole command over its own work": over(whole, own),
            "ingest: least ratio that the start of Python and of reading's libraries allows": 1
            + over(start, own),
            "ingest: time of the whole command over the 16 s that its own work took once": whole.median / 16,
        },
        notes=["a processor for each worker; the rest of ingest is the start of Python and of libraries"],
    )

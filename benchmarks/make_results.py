"""Train and evaluate the rows of docs/results.md, write their JSON and the page.

    python -m benchmarks.make_results DATA --row ibsr18_60min     one row, whatever stands there already
    python -m benchmarks.make_results DATA                        every row that is not there yet
    python -m benchmarks.make_results DATA --row NAME --repeat    the row again, which must come out the same
    python -m benchmarks.make_results --page                      the page alone, from the JSON files

DATA holds the data sets' folders (ibsr18, hippocampus). Each row has a work folder of its own below --work,
where `medseg run` keeps finished folds and checkpoints: killed at any moment, the same command goes on.
Before the training and after it the splits are checked (benchmarks/result_checks.py). Rows for a GPU are left
out where there is none, and stand as "not run". A repetition trains as long as the JSON says that the first
one did, in an empty work folder, changes no JSON, and ends with 1 where any number differs.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

import medseg
from benchmarks import result_checks, result_repeat, results_page
from benchmarks.result_rows import ROWS, Row
from medseg import device, files
from medseg.config import load
from medseg.errors import Code, ExitCode, MedsegError
from medseg.metrics import table
from pipelines import case_tables
from pipelines.workfolder import Work

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
METRICS = ("dice", "nsd", "hd95")
OF_IMAGES = ("G", "C", "mIoU", "BF")
"""Scores over all pixels of images, as their papers print them."""

REPEATED = "repeated"
"""Folder of the work folders of repetitions, below that of the rows."""

_PARTS_OF_THE_CODE = (
    *("medseg", "pipelines", "configs", "benchmarks", "constraints.txt"),
    ":(exclude)benchmarks/results",  # which the rows themselves write
)


def json_path(row: Row, seed: int) -> Path:
    return RESULTS / (f"{row.name}.json" if seed == 0 else f"{row.name}.seed{seed}.json")


def make(row: Row, data: Path, below: Path, seed: int) -> None:
    """Run one row to its end and write its JSON. Raises MedsegError for splits that flatter."""
    files.write_json(json_path(row, seed), _made(row, data, below, seed))


def repeat(row: Row, data: Path, below: Path, seed: int) -> list[str]:
    """Run one row again as its JSON says; what differs, in words. Raises as :func:`make` does, and USAGE for
    a row that was not made yet, or not in a way that can be repeated here.
    """
    path = json_path(row, seed)
    if not path.is_file():
        raise MedsegError(Code.USAGE, path, "the row was not made yet", "leave the repetition out")
    committed = files.read_json(path)
    if row.kind != "script" and committed["recipe"]["settings"] != row.sets(seed):
        details = "it is of other settings than the row has now"
        raise MedsegError(Code.USAGE, path, details, "make the row anew, without a repetition")
    result_repeat.prepare(committed, Work(work_folder(row, below / REPEATED, seed)), path)
    again = json.loads(json.dumps(_made(row, data, below / REPEATED, seed)))
    return list(result_repeat.differences(committed, again))


def _made(row: Row, data: Path, below: Path, seed: int) -> dict[str, Any]:
    """Run one row; the content of its JSON."""
    if row.kind == "script":
        return _run_script(row, data, below, seed)
    work = Work(work_folder(row, below, seed))
    _medseg(medseg_words(row, data, work.root, seed, stage="ingest"))
    result_checks.require_unseen(work)
    if row.kind == "baseline":
        _medseg(medseg_words(row, data, work.root, seed, stage="baseline"))
    else:
        _medseg(medseg_words(row, data, work.root, seed))
    result_checks.require_unseen(work)
    return content(row, data, work, seed)


def work_folder(row: Row, below: Path, seed: int) -> Path:
    return below / (row.name if seed == 0 else f"{row.name}_seed{seed}")


def medseg_words(row: Row, data: Path, work: Path, seed: int, stage: str = "run") -> list[str]:
    """The words of the medseg command that makes the row, after `medseg`."""
    words = [stage, row.recipe, "--data", str(data / row.data), "--work", str(work)]
    if row.folds and stage != "ingest":
        words += ["--fold", "all"]
    return words + [word for value in row.sets(seed) for word in ("--set", value)]


def _medseg(words: list[str]) -> None:
    print("medseg", shlex.join(words), flush=True)
    ended = subprocess.run([sys.executable, "-m", "medseg", *words], check=False)
    if ended.returncode != ExitCode.DONE:  # excluded cases, too: a row is about all of its cases
        raise SystemExit(ended.returncode)


def _run_script(row: Row, data: Path, below: Path, seed: int) -> dict[str, Any]:
    needed = next((other for other in ROWS if other.name == row.needs), row)
    written = below / json_path(row, seed).name
    written.parent.mkdir(parents=True, exist_ok=True)
    places = {"DATA": data / row.data, "WORK": work_folder(needed, below, seed), "JSON": written}
    places = {name: path.resolve() for name, path in places.items()}
    words = [str(places.get(word, word)) for word in row.script.split()]
    print("python", shlex.join(words), flush=True)
    started = time.monotonic()
    ended = subprocess.run([sys.executable, *words], cwd=ROOT, check=False)
    if ended.returncode:
        raise SystemExit(ended.returncode)
    minutes = {"whole_command": round((time.monotonic() - started) / 60, 1)}
    return {**origin(row, seed), "minutes": minutes, **files.read_json(written)}


def content(row: Row, data: Path, work: Work, seed: int) -> dict[str, Any]:
    """The JSON of a row that was trained, or of a baseline: everything that its section of the page says."""
    summary = files.read_json(work.evaluation / "summary.json")["sets"]["test"]
    scores = [one for one in table.read(work.evaluation / "scores.csv") if one.role == "test"]
    return {
        **origin(row, seed),
        "key": key(row, data, seed),
        "recipe": recipe_facts(row, seed),
        "data": {"name": row.data, "folds": split(work)},
        "minutes": minutes(work),
        **result_repeat.planned(work),
        "scores": {
            "cases": summary["cases"],
            "subjects": summary["subjects"],
            "missing": summary["missing"],
            "classes": {name: chosen(metrics) for name, metrics in summary["classes"].items()},
            "mean": chosen(summary["over_classes"]),
            "over_set": {"size_weighted_dice": summary["over_set"]["size_weighted_dice"]},
            **(
                {"of_images": chosen(summary["over_set"], OF_IMAGES)}
                if summary["length_unit"] == "px"
                else {}
            ),
        },
        "by_case": [
            {"fold": one.fold, "case": one.case, "subject": one.subject, "class": one.class_name}
            | {metric: getattr(one, metric) for metric in METRICS}
            for one in scores
        ],
        "published": [{**vars(one), "dice": dict(one.dice)} for one in row.published],
    }


def origin(row: Row, seed: int) -> dict[str, Any]:
    """The row, the code and the machine that a JSON is of."""
    return {
        "row": row.name,
        "title": row.title,
        "command": results_page.command(row, seed),
        "commit": _git("rev-parse", "HEAD"),
        "changed_since_commit": bool(_git("status", "--porcelain", "--", *_PARTS_OF_THE_CODE)),
        "medseg": medseg.__version__,
        "torch": torch.__version__,
        "seed": seed,
        "hardware": hardware(row.device),
    }


def hardware(kind: str) -> dict[str, Any]:
    return {
        "device": device.in_words(device.choose(kind)),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": device.threads(),
        "native_bf16": device.has_native_bf16(kind),
    }


def recipe_facts(row: Row, seed: int) -> dict[str, Any]:
    path = load.locate(row.recipe)
    return {
        "name": row.recipe,
        "sha256": files.sha256(path),
        "commit": _git("log", "-1", "--format=%H", "--", f"configs/{path.name}"),
        "settings": row.sets(seed),
    }


def key(row: Row, data: Path, seed: int) -> str:
    """The hash of what the resolved recipe sets, without the place of the data.

    Keys at their defaults are left out, so that a later version's new keys make no row again; nor does a
    default that changes, for which the JSON's commit has to be looked at.
    """
    recipe = load.load(row.recipe, row.sets(seed), data / row.data)
    tree = recipe.model_dump(mode="json", exclude_defaults=True)
    tree["data"].pop("path")
    return files.sha256_of_value([row.kind, tree])


def split(work: Work) -> list[dict[str, Any]]:
    """The cases of each fold by their role."""
    rows = case_tables.roles(work.ingest)
    return [
        {
            role: [r.case for r in rows if (r.fold, r.role) == (fold, role)]
            for role in ("train", "val", "test")
        }
        for fold in sorted({row.fold for row in rows})
    ]


def minutes(work: Work) -> dict[str, Any]:
    """Minutes of training by fold, and of the other stages; both also of a command that was interrupted."""
    by_fold = {}
    for name, path in work.histories.items():
        by_fold[name] = round(sum(float(one["seconds"]) for one in files.read_csv(path)) / 60, 1)
    records = [path for path in work.root.glob("*/stage.json") if path.parent.name != "train"]
    seconds = sum(float(files.read_json(path)["seconds"]) for path in records)
    return {"training": by_fold, "other_stages": round(seconds / 60, 1)}


def chosen(metrics: dict[str, Any], names: tuple[str, ...] = METRICS) -> dict[str, Any]:
    return {name: metrics[name] for name in names}


def _git(*words: str) -> str:
    ended = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return ended.stdout.strip()


def is_there(row: Row, data: Path, seed: int) -> bool:
    """True if the JSON of this very row is there."""
    path = json_path(row, seed)
    if not path.is_file():
        return False
    return row.kind == "script" or files.read_json(path).get("key") == key(row, data, seed)


def why_not(row: Row) -> str | None:
    """The reason for which a row cannot be run here."""
    if row.device not in device.at_hand():
        return f"needs {row.device}"
    if row.kind == "script":
        script = row.script.split()
        path = f"{script[1].replace('.', '/')}.py" if script[0] == "-m" else script[0]
        if not (ROOT / path).is_file():
            return f"needs {path}"
    return None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, nargs="?", help="folder of ibsr18 and hippocampus")
    parser.add_argument("--row", choices=[row.name for row in ROWS], help="this row alone, made anew")
    parser.add_argument("--work", type=Path, default=Path("work/results"), help="folder of the work folders")
    parser.add_argument("--seed", type=int, default=0, help="another seed gets a JSON of its own")
    parser.add_argument(
        "--repeat", action="store_true", help="make the row again and compare it with its JSON"
    )
    parser.add_argument("--page", action="store_true", help="write the page alone")
    parser.add_argument("--list", action="store_true", help="list the rows")
    asked = parser.parse_args()
    if asked.list:
        for row in ROWS:
            print(f"{row.name:<22}{row.title}")
        return
    if not asked.page:
        if asked.data is None:
            parser.error("name the folder of the data sets")
        if asked.repeat:
            if asked.row is None:
                parser.error("--repeat needs --row")
            raise SystemExit(_repeat(asked))
        _make_all(asked)
    results_page.write()


def _repeat(asked: argparse.Namespace) -> int:
    """Repeat the row and say what came out; the exit code."""
    (row,) = (row for row in ROWS if row.name == asked.row)
    try:
        changed = repeat(row, asked.data, asked.work, asked.seed)
    except MedsegError as problem:
        raise SystemExit(str(problem)) from None
    if changed:
        print(f"{row.name}: {len(changed)} values differ:", *changed[:20], sep="\n  ", flush=True)
    else:
        print(f"{row.name}: the same numbers as in {json_path(row, asked.seed).name}", flush=True)
    return int(bool(changed))


def _make_all(asked: argparse.Namespace) -> None:
    for row in ROWS:
        if asked.row not in (None, row.name):
            continue
        if (reason := why_not(row)) is not None:
            print(f"{row.name}: not run, {reason}", flush=True)
        elif asked.row is None and is_there(row, asked.data, asked.seed):
            print(f"{row.name}: is there, {json_path(row, asked.seed).name}", flush=True)
        else:
            try:
                make(row, asked.data, asked.work, asked.seed)
            except MedsegError as problem:
                raise SystemExit(str(problem)) from None
            results_page.write()


if __name__ == "__main__":
    main()

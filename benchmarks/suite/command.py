"""The command: run the rows one after another, keep each as it ends, and write the table."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.suite import table
from benchmarks.suite.goals import BY_NAME, ROWS, Row
from benchmarks.suite.options import Options
from benchmarks.suite.results import Book
from medseg import files
from medseg.errors import Code, ExitCode, MedsegError

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks/results/suite.json"
PAGE = ROOT / "docs/performance.md"
CACHE = ROOT / "work/benchmarks"
DESCRIPTION = """Measure medseg and its peers in turn on this machine, and write one table.

A run that was ended goes on with the rows that are missing, as long as machine and versions are the same;
--only measures some rows again. Peers come with the extra `bench`; a row without its peer says so."""


def main(arguments: Sequence[str]) -> int:
    """Run the suite; give the exit code."""
    asked = _parse(arguments)
    out = asked.out or _default_file(asked)
    try:
        if asked.render:
            table.render(out, out.with_suffix(".md"), PAGE if out == RESULT else None)
            return ExitCode.DONE
        return _run(asked, out)
    except MedsegError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nended; the same command goes on with the rows that are missing", file=sys.stderr)
        return ExitCode.INTERRUPTED


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=DESCRIPTION, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help=f"of {', '.join(BY_NAME)}")
    parser.add_argument("--again", action="store_true", help="do not go on with a run that was ended")
    parser.add_argument("--quick", action="store_true", help="small inputs: tries whether all rows run")
    parser.add_argument("--device", default="cpu", help="cpu (default), or cuda for the rows of a GPU")
    parser.add_argument(
        "--out", type=Path, help="JSON file, the table lies beside it (.md); default benchmarks/results/"
    )
    parser.add_argument("--cache", type=Path, default=CACHE, help="made data and trained models")
    parser.add_argument(
        "--render", action="store_true", help="write the tables of the results that are there"
    )
    return parser.parse_args(arguments)


def _default_file(asked: argparse.Namespace) -> Path:
    """A file for each kind of run; that of whole runs on a processor is the page's."""
    kind = asked.device.split(":")[0]
    words = ["suite", *([kind] if kind != "cpu" else []), *(["quick"] if asked.quick else [])]
    return RESULT.with_name(f"{'-'.join(words)}.json")


def _run(asked: argparse.Namespace, out: Path) -> int:
    if unknown := [name for name in asked.only if name not in BY_NAME]:
        known = ", ".join(BY_NAME)
        raise MedsegError(
            Code.USAGE, "--only", f"there is no row {', '.join(unknown)}", f"use some of {known}"
        )
    from medseg import device  # torch comes with it

    chosen = device.choose(asked.device)
    lock = asked.cache.absolute() / ".lock"
    with files.hold_lock(lock, asked.cache, "another run measures here", "wait for it to end"):
        return _measure_all(asked, out, chosen)


def _measure_all(asked: argparse.Namespace, out: Path, chosen: str) -> int:
    """Measure what is asked for and not there yet; write the file after each row, the tables at the end."""
    from benchmarks.suite import machine

    book = Book.open(out, machine.conditions(chosen, quick=asked.quick), asked.only, again=asked.again)
    rates = book.content.setdefault("rates", None) or machine.rates()
    book.content["rates"] = rates
    options = Options(asked.cache.absolute(), asked.quick, chosen, rates)
    names = asked.only or [row.name for row in ROWS]
    start = time.monotonic()
    for number, name in enumerate(names, 1):
        if book.rows.get(name, {}).get("status") == "done":
            print(f"[{number}/{len(names)}] {name}: kept", flush=True)
            continue
        print(f"[{number}/{len(names)}] {name}: {BY_NAME[name].work}", flush=True)
        row = measure(BY_NAME[name], options)
        book.keep(name, row)
        print("\n".join(f"    {line}" for line in table.in_short(name, row)), flush=True)
    book.finish([row.name for row in ROWS])
    table.render(out, out.with_suffix(".md"), PAGE if out == RESULT else None)
    print(f"{(time.monotonic() - start) / 60:.1f} minutes; table in {out.with_suffix('.md')}")
    return ExitCode.DONE


def measure(row: Row, options: Options) -> dict[str, Any]:
    """Run a row in a process of its own: what it measured, or why it was not run."""
    if why := obstacle(row, options):
        return {"status": "not run", "why": why}
    load, start = os.getloadavg()[0], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        result, error = _in_a_process(row, options, Path(folder))
    common = {"seconds": round(time.monotonic() - start, 1), "load_before": round(load, 1)}
    if result is None:
        return {"status": "failed", "why": error, **common}
    return {"status": "done", **common, **result}


def obstacle(row: Row, options: Options) -> str:
    """Say why a row cannot be run here; nothing where it can."""
    if row.reason:
        return row.reason
    kind = options.device.split(":")[0]
    if row.device == "cuda" and kind != "cuda":
        return "no GPU was at hand"
    if row.device == "cpu" and kind != "cpu":
        return "a row of the processor; this run is of a GPU"
    missing = [name for name in row.needs if not _is_installed(name)]
    return (
        f"{', '.join(missing)} not installed: pip install -c constraints.txt -e '.[dev,bench]'"
        if missing
        else ""
    )


def _is_installed(package: str) -> bool:
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True


def _in_a_process(row: Row, options: Options, folder: Path) -> tuple[dict[str, Any] | None, str]:
    """The row's result, or None and the reason: the last line of its error, or its time limit."""
    files.write_json(folder / "options.json", {**asdict(options), "cache": str(options.cache)})
    command = [sys.executable, "-m", "benchmarks.suite.one_row", row.name]
    environment = {"OMP_NUM_THREADS": "1", **os.environ}
    with (folder / "errors").open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [*command, str(folder / "options.json"), str(folder / "result.json")],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        try:
            process.wait(row.limit_s)
        except subprocess.TimeoutExpired:
            return None, f"ended after its limit of {row.limit_s} s"
        finally:
            _end_group(process)
    if process.returncode == 0:
        return files.read_json(folder / "result.json"), ""
    lines = (folder / "errors").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return None, lines[-1] if lines else f"its process ended with {process.returncode}"


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End a row's process with all that it started; nothing is left to disturb the next row."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()

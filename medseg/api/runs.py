"""Whole runs from Python: a recipe on a data folder, and what it leaves in the work folder."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medseg import files
from medseg.api.arguments import PathLike, in_python, path_of, require_kind
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, Finding, MedsegError
from medseg.extras import needs_extra

_WRONG_PATH = (FileExistsError, NotADirectoryError, IsADirectoryError, PermissionError)


@dataclass(frozen=True)
class Run:
    """A finished run, as `medseg.run` gives it: the files of its work folder, and its scores.

    `work` is the work folder; `complete` is False if cases were excluded or could not be scored.
    """

    work: Path
    complete: bool

    @property
    def model(self) -> Path:
        """The model folder, for `medseg.load_model`."""
        return self.work / "model"

    @property
    def report(self) -> Path:
        """The report: one HTML file that works offline."""
        return self.work / "report" / "report.html"

    @property
    def predictions(self) -> Path:
        """The folder of the label maps of the test and unlabelled cases."""
        return self.work / "predictions"

    @property
    def scores(self) -> list[dict[str, Any]]:
        """The rows of `evaluation/scores.csv`, one per case and class; `pandas.DataFrame` takes them.

        Columns are those of `medseg.evaluate`, and `fold`, `case`, `subject`, `role` (train, val or test),
        `class_name`, `length_unit` and `size_unit`; None stands where a number is undefined.
        """
        from medseg.metrics import table

        return [asdict(row) for row in table.read(self.work / "evaluation" / "scores.csv")]

    @property
    def summary(self) -> dict[str, Any]:
        """The content of `evaluation/summary.json`: mean, median and interval of metrics by set and class."""
        return dict(files.read_json(self.work / "evaluation" / "summary.json"))

    @property
    def excluded(self) -> list[dict[str, str]]:
        """Files that were excluded at ingest: case, file, code, details, how_to_fix."""
        return files.read_csv(self.work / "ingest" / "quarantine.csv")


def run(
    recipe: PathLike,
    data: PathLike | None = None,
    work: PathLike | None = None,
    set: Sequence[str] = (),  # noqa: A002 - as the option of the command is called
    *,
    fold: int | str | None = None,
    start: str | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> Run:
    """Run every stage of a recipe as `medseg run` does; a stage that is up to date is skipped.

    `recipe` is a YAML file or the name of a packaged recipe; `data` overrides `data.path`; `work` is by
    default `./work/<recipe>`; `set` overrides keys, `["train.epochs=5"]`; `fold` is a number or `all`. The
    stage `start` and all later ones are run again; `overwrite` moves a training with other settings aside.
    Progress goes to stderr and scores to stdout, unless `quiet`; `medseg.log` in the work folder has both.

    Raises MedsegError: RECIPE_INVALID with every problem, PATH_MISSING, SETTINGS_CHANGED, WORK_IN_USE,
    EXTRA_MISSING without the extra `[train]`, and all reasons for which the command ends.

    >>> quick = ["train.epochs=1", "train.steps_per_epoch=10", "tracking.enabled=false"]
    >>> ended = run("demo", data="work/demo/subjects", work="work/quick", set=quick, quiet=True)
    >>> ended.complete, sorted({row["case"] for row in ended.scores})
    (True, ['sub-11', 'sub-12'])
    """
    needs_extra("train")
    from medseg.config.load import RecipeError
    from pipelines import run as pipeline
    from pipelines.run import Request

    require_kind("set", set, list | tuple, 'give a list of texts: ["train.epochs=5"]')
    name = os.fspath(path_of("recipe", recipe))
    data_folder = None if data is None else path_of("data", data)
    work_folder = None if work is None else path_of("work", work)
    request = Request(name, data_folder, work_folder, tuple(set), None if fold is None else str(fold))
    places: list[tuple[object, str]] = [(name, "recipe"), (data_folder, "data"), (work_folder, "work")]
    places += [("data.path", "data"), ("--from", "start"), ("--fold", "fold")]
    try:
        folder = request.work_folder()
        results = io.StringIO() if quiet else sys.stdout
        say = Reporter(quiet=quiet, results=results, log=folder / "medseg.log")
        ended = pipeline.run(request, say, start=start, overwrite=overwrite)
    except RecipeError as error:
        raise _of_recipe(error.problems) from None
    except MedsegError as error:
        raise _naming_argument(error.finding, places) from None
    except _WRONG_PATH as error:
        how_to_fix = "name a folder that can be written"
        raise MedsegError(Code.USAGE, "work", f"{error.filename}: {error.strerror}", how_to_fix) from error
    return Run(folder, complete=ended == ExitCode.DONE)


def _of_recipe(problems: Sequence[Finding]) -> MedsegError:
    """The refusal of a recipe, or of `set`, with all problems; each is a note of a traceback, too."""
    argument = "set" if all(problem.where.startswith("--set") for problem in problems) else "recipe"
    details = "; ".join(f"{problem.where.removeprefix('--set ')}: {problem.details}" for problem in problems)
    error = MedsegError(Code.RECIPE_INVALID, argument, details, in_python(problems[0].how_to_fix))
    for problem in problems:
        error.add_note(in_python(str(problem)))
    return error


def _naming_argument(finding: Finding, places: Sequence[tuple[object, str]]) -> MedsegError:
    """The refusal with the argument that names its place; of another place as it is."""
    argument = next((name for place, name in places if finding.where == str(place)), None)
    is_path = argument is not None and not finding.where.startswith("--")
    details = f"{finding.where}: {finding.details}" if is_path else finding.details
    return MedsegError(finding.code, argument or finding.where, details, in_python(finding.how_to_fix))

"""Runs in MLflow: one experiment per recipe, one run per training, nested runs for folds.

Every call names its run, so nothing depends on what MLflow thinks is active.
"""

from __future__ import annotations

import hashlib
import json
import math
import platform
import subprocess
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import medseg
from medseg.grid import Array
from medseg.tracking import store
from medseg.tracking.buffered_client import UNSENT, BufferedClient
from medseg.tracking.experiments import open_experiment
from medseg.tracking.names import metric_name
from medseg.tracking.store import storing
from medseg.tracking.system_metrics import PREFIX, Sampler

Status = Literal["FINISHED", "FAILED", "KILLED"]

MAX_VALUE = 6000  # characters of a parameter
MAX_PARAMS = 100  # a batch
MAX_METRICS = 1000  # a batch

DIGITS = 4
"""Significant digits of metrics."""

# MLflow's pages show no tag whose name begins like this one: a digest is of no use to a reader.
_WORK_TAG = "mlflow.medseg.work"


@dataclass(frozen=True)
class DataSet:
    """Data of a training: its folder, a digest of its splits, columns (name → kind), counts by role."""

    name: str
    digest: str
    source: Path
    columns: Mapping[str, str]
    counts: Mapping[str, int]


class Tracker:
    """The runs of one recipe in one work folder; with `uri` None every call does nothing."""

    def __init__(self, uri: str | None, work: Path, experiment: str, *, warn: Callable[[str], None]) -> None:
        self._link = BufferedClient(uri, work / UNSENT, warn)
        self._work = _work_digest(work)
        self._own = uri is not None and store.is_own(uri, work)
        self._link.resend()
        place = None if uri is None else store.artifacts_beside(uri)
        self._experiment = self._link.ask(
            lambda client: open_experiment(client, experiment, place), default=""
        )

    def start(
        self,
        name: str,
        *,
        params: Mapping[str, Any] | None = None,
        tags: Mapping[str, str] | None = None,
        run_id: str | None = None,
        parent: Run | None = None,
    ) -> Run:
        """Start a run, or go on with `run_id` if the store still has it; `parent` nests it.

        If the store does not answer, the lines for `run_id` are kept for later; a new run stays untracked.
        """
        resumed = run_id is not None and self._link.ask(lambda client: _reopen(client, run_id), default=True)
        if not resumed:
            all_tags = {**_origin(), _WORK_TAG: self._work, **(tags or {})}
            if parent is not None and parent.id:
                all_tags["mlflow.parentRunId"] = parent.id
            run_id = self._link.ask(lambda client: self._create(client, name, all_tags), default="")
        run = Run(self._link, self._experiment, run_id or "", resumed=resumed)
        if resumed:
            run.tags(tags or {})
        run.params(params or {})
        return run

    def ended(self, run_id: str) -> Run:
        """Give a run that has ended, to add to it; it stays ended."""
        return Run(self._link, self._experiment, run_id, resumed=True)

    def has(self, run_id: str) -> bool:
        """True if the store still has a run; also if the store does not answer."""
        return self._link.ask(lambda client: _is_there(client, run_id), default=True)

    def _create(self, client: Any, name: str, tags: Mapping[str, str]) -> str:
        return str(client.create_run(self._experiment, tags=dict(tags), run_name=name).info.run_id)

    def mark_killed(self, keep: Collection[str] = ()) -> list[str]:
        """End runs of this work folder that a kill left RUNNING, but those to `keep`; return their ids."""
        where = "attributes.status = 'RUNNING'"
        if not self._own:
            where += f" AND tags.`{_WORK_TAG}` = '{self._work}'"
        left: list[Any] = self._link.ask(
            lambda client: list(client.search_runs([self._experiment], where)), default=[]
        )
        killed = [run.info.run_id for run in left if run.info.run_id not in keep]
        for run_id in killed:
            self._link.send({"kind": "status", "run_id": run_id, "status": "KILLED"})
        return killed


class _Sender:
    """Sends one run to its store, in batches that MLflow takes, and asks for what a resumed run has there."""

    def __init__(self, link: BufferedClient, run_id: str, *, resumed: bool) -> None:
        self.link, self.run_id, self.resumed = link, run_id, resumed
        self._steps: dict[str, int] = {}

    def line(self, content: Mapping[str, Any]) -> None:
        """Send one line of this run, or keep it for later."""
        if self.run_id:
            self.link.send({"run_id": self.run_id, **content})

    def rows(self, kind: str, rows: Sequence[tuple[Any, ...]], size: int) -> None:
        """Send rows of a kind, `size` at a time."""
        for start in range(0, len(rows), size):
            self.line({"kind": kind, "rows": rows[start : start + size]})

    def stored(self, what: Literal["params", "metrics"]) -> dict[str, Any]:
        """Parameters or metrics that the run has in the store."""
        nothing: dict[str, Any] = {}
        if not self.run_id:
            return nothing
        return self.link.ask(
            lambda client: dict(getattr(client.get_run(self.run_id).data, what)), default=nothing
        )

    def last_step(self, key: str) -> int:
        """The last step of a metric that a resumed run has in the store, -1 without any."""
        if not self.resumed or not self.run_id:
            return -1
        if key not in self._steps:
            history: list[Any] = self.link.ask(
                lambda client: list(client.get_metric_history(self.run_id, key)), default=[]
            )
            self._steps[key] = max((metric.step for metric in history), default=-1)
        return self._steps[key]


class Run(AbstractContextManager["Run"]):
    """One MLflow run; as a context it ends FINISHED, KILLED (by Ctrl-C or a signal) or FAILED."""

    def __init__(self, link: BufferedClient, experiment_id: str, run_id: str, *, resumed: bool) -> None:
        self.id = run_id
        self.experiment_id = experiment_id
        self.link = link
        self.resumed = resumed
        self.has_metrics = resumed  # of its training
        self._sender = _Sender(link, run_id, resumed=resumed)
        self._images: set[tuple[str, int]] | None = None if resumed else set()
        self._sampler: Sampler | None = None
        self._samples = 0

    def params(self, values: Mapping[str, Any]) -> None:
        """Log a nested dict as `a.b.c`; parameters that the run already has stay as they are."""
        known = self._sender.stored("params") if self.resumed else {}
        rows = [(key, text) for key, text in flatten(values) if key not in known]
        self._sender.rows("params", rows, MAX_PARAMS)

    def tags(self, values: Mapping[str, str]) -> None:
        """Set tags; `mlflow.note.content` is the run's description, in Markdown."""
        self._sender.rows("tags", list(values.items()), MAX_PARAMS)

    def watch(self, interval: float = 10.0) -> None:
        """Sample the machine every `interval` seconds from now on; the samples go along with the metrics."""
        if self.id and self._sampler is None:
            self._samples = self._sender.last_step(PREFIX + "cpu_utilization_percentage") + 1
            self._sampler = Sampler(interval)

    def metrics(self, values: Mapping[str, float | None], step: int) -> None:
        """Log one step's values, named `train/…`, `val/…` or `test/…`, but for None, NaN and infinities.

        A resumed run leaves out the steps that it already has, key by key.
        """
        self.has_metrics, now = True, _now()
        rows = [
            (key, value, now, step)
            for key, value in _finite(values).items()
            if step > self._sender.last_step(key)
        ]
        self._sender.rows("metrics", [*rows, *self._machine()], MAX_METRICS)

    def summary(self, values: Mapping[str, float | None], data: DataSet | None = None) -> None:
        """Log values that have no step, such as test scores; a changed value replaces the earlier one.

        With the `data` that they were measured on they also stand on the page of the run's newest model.
        """
        earlier, now = self._sender.stored("metrics"), _now()
        measured: tuple[str, ...] = ()
        if self.id and data is not None:
            model = self.link.ask(lambda client: newest_model(client, self.id), default=None)
            measured = () if model is None else (model, data.name, short(data.digest))
        rows = [
            (key, value, now, 0, *measured)
            for key, value in _finite(values).items()
            if earlier.get(key) != value
        ]
        self._sender.rows("metrics", rows, MAX_METRICS)

    def image(self, key: str, image: Array, step: int) -> None:
        """Add `image` (H, W, 3) uint8 to the image series `key` at `step`, unless it is there.

        Images are not kept for later when the store is lost.
        """
        name = metric_name(key, ascii_only=True)
        if self._images is None:
            none: set[tuple[str, int]] = set()
            self._images = self.link.ask(
                lambda client: set(_images(client, self.id)), default=none, stores_files=True
            )
        if self.id and (name, step) not in self._images:
            self._images.add((name, step))
            self.link.ask(
                lambda client: _log_image(client, self.id, image, name, step), default=None, stores_files=True
            )

    def artifact(self, path: Path, folder: str = "") -> None:
        """Copy a file, or the content of a folder, into the run's artifacts, below `folder`."""
        self._sender.line({"kind": "artifact", "path": str(path.resolve()), "folder": folder})

    def data(self, data: DataSet) -> None:
        """Log the data set as the run's input."""
        if self.id:
            self.link.ask(lambda client: client.log_inputs(self.id, [_input(data)]), default=None)

    def finish(self, status: Status = "FINISHED") -> None:
        """End the run. If the store was lost, try once more to send what was kept."""
        if self._sampler is not None:
            self._sampler.stop()
            self._sender.rows("metrics", self._machine(), MAX_METRICS)
            self._sampler = None
        self._sender.line({"kind": "status", "status": status})
        if self.link.lost or self.link.files_lost:
            self.link.resend()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.finish("FINISHED")
        else:
            self.finish("FAILED" if issubclass(kind, Exception) else "KILLED")

    def _machine(self) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        for moment, values in self._sampler.drain() if self._sampler is not None else []:
            rows += [(key, value, moment, self._samples) for key, value in _finite(values).items()]
            self._samples += 1
        return rows


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """List (`a.b.c`, text) of every leaf of a nested dict, names and texts as MLflow accepts them."""
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flatten(value, f"{name}.")
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
            yield metric_name(name), text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + "…"


def _is_there(client: Any, run_id: str | None) -> bool:
    from mlflow.exceptions import MlflowException

    try:
        return bool(client.get_run(run_id).info.lifecycle_stage != "deleted")
    except MlflowException as error:
        if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
            return False
        raise


def _reopen(client: Any, run_id: str | None) -> bool:
    if not _is_there(client, run_id):
        return False
    client.update_run(run_id, status="RUNNING")
    return True


def _finite(values: Mapping[str, float | None]) -> dict[str, float]:
    """Metrics under the names that MLflow takes, of `DIGITS` digits, without those that have no value."""
    return {
        metric_name(key): float(f"{float(value):.{DIGITS}g}")
        for key, value in values.items()
        if value is not None and math.isfinite(value)
    }


def _images(client: Any, run_id: str) -> Iterable[tuple[str, int]]:
    """List (key, step) of the image series that a run already has, from the names of their files."""
    with storing():
        listed = client.list_artifacts(run_id, "images")
    for entry in listed:
        parts = Path(entry.path).name.split("+")
        if len(parts) > 3 and parts[1] == "step":
            yield parts[0].replace("~", "/"), int(parts[2])


def _log_image(client: Any, run_id: str, image: Array, key: str, step: int) -> None:
    with storing():
        client.log_image(run_id, image, key=key, step=step)


def _input(data: DataSet) -> Any:
    from mlflow.entities import Dataset, DatasetInput, InputTag

    columns = [{"name": name, "type": kind, "required": True} for name, kind in data.columns.items()]
    entity = Dataset(
        name=data.name,
        digest=short(data.digest),
        source_type="local",
        source=json.dumps({"uri": str(data.source)}),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps(dict(data.counts)),
    )
    return DatasetInput(entity, [InputTag("mlflow.data.context", "training")])


def short(digest: str) -> str:
    """Shorten the digest of a data set to what MLflow's pages show."""
    return digest[:8]


def newest_model(client: Any, run_id: str) -> str | None:
    """Give the id of the model that a run logged last; None without one."""
    outputs = getattr(client.get_run(run_id).outputs, "model_outputs", None) or []
    models = [client.get_logged_model(output.model_id) for output in outputs]
    return str(max(models, key=lambda model: model.creation_timestamp).model_id) if models else None


def _origin() -> dict[str, str]:
    tags = {
        "mlflow.source.name": "medseg",
        "mlflow.source.type": "LOCAL",
        "version": medseg.__version__,
    }
    if commit := _git_commit():
        tags["mlflow.source.git.commit"] = commit
    return tags


def _git_commit() -> str:
    """Read the commit of the checkout that medseg runs from; empty when it is installed, or without git."""
    root = Path(medseg.__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return ""
    try:
        done = subprocess.run(
            ["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def _work_digest(work: Path) -> str:
    """Name the work folder on this machine so that a shared server learns neither."""
    return hashlib.sha256(f"{platform.node()}:{work.resolve()}".encode()).hexdigest()[:16]


def _now() -> int:
    return int(time.time() * 1000)

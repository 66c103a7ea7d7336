"""What a stage that runs alone loads and opens: only what its own work needs."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from pipelines import run as pipeline
from pipelines.run import Request
from tests.helpers.box_subjects import make_subjects
from tests.pipelines.test_run import tree


@pytest.mark.parametrize("stage", ["ingest", "preprocess", "evaluate"])
def test_stages_without_a_network_load_neither_torch_nor_mlflow(stage: str) -> None:
    code = f"import sys, pipelines.run, pipelines.stages.{stage}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "mlflow"} & set(done.stdout.split())


@pytest.mark.parametrize(
    ("unit", "too_heavy"),
    [
        ("pipelines.prepared_case", {"medseg.config", "rich", "scipy.ndimage", "SimpleITK", "torch"}),
        ("pipelines.fold.prediction", {"medseg.config", "scipy.ndimage", "SimpleITK", "skimage", "mlflow"}),
    ],
)
def test_a_worker_starts_without_what_few_cases_need(unit: str, too_heavy: set[str]) -> None:
    code = f"import sys, {unit}, pipelines.execution.worker; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not too_heavy & set(done.stdout.split())


@pytest.fixture
def request_of(tmp_path: Path) -> Request:
    make_subjects(tmp_path / "data", labelled=5)
    (tmp_path / "boxes.yaml").write_text(yaml.safe_dump(tree()))
    return Request(str(tmp_path / "boxes.yaml"), tmp_path / "data", tmp_path / "work")


def go(request: Request, stage: str) -> ExitCode:
    return pipeline.run(request, Reporter(stream=io.StringIO()), only=stage)


def test_a_run_is_opened_by_the_first_stage_that_logs(request_of: Request) -> None:
    work = request_of.work_folder()
    for stage in ("ingest", "preprocess"):
        assert go(request_of, stage) == ExitCode.DONE
        assert not (work / "mlflow.db").exists() and not (work / "tracking.json").exists()
    assert go(request_of, "train") == ExitCode.DONE
    run_id = files.read_json(work / "tracking.json")["run_id"]
    for stage in ("predict", "evaluate", "report"):
        assert go(request_of, stage) == ExitCode.DONE
        assert files.read_json(work / "tracking.json")["run_id"] == run_id


def test_a_server_that_does_not_answer_stops_stages_that_log_alone(request_of: Request) -> None:
    asked = Request(
        request_of.recipe, request_of.data, request_of.work, ("tracking.uri=http://127.0.0.1:9/none",)
    )
    assert go(asked, "ingest") == go(asked, "preprocess") == ExitCode.DONE
    with pytest.raises(MedsegError) as refused:
        go(asked, "train")
    assert refused.value.code == Code.TRACKING_UNREACHABLE

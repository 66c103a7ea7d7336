"""The service of `compose.yaml`: a command line of medseg, that ends as docs/container.md says."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import typer
import yaml

from medseg import networks
from medseg.errors import ExitCode
from medseg.model import folder as model_folder
from tests.helpers.model_folders import describe

ROOT = Path(__file__).parents[2]
WATCH = """
import sys
from medseg.cli import main
from pipelines.commands import segment_watch
segment_watch.LOOK_EVERY_S = 0.2
sys.exit(main())
"""


@pytest.fixture
def services() -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return dict(tree["services"])


@pytest.mark.parametrize("service", ["segment", "ui"])
def test_each_command_line_is_understood(service: str, services: dict[str, Any]) -> None:
    from medseg.cli import inspection, segment  # noqa: F401
    from medseg.cli.app import app

    name, *words = services[service]["command"]
    command = typer.main.get_command(app).commands[name]  # type: ignore[attr-defined]
    needs_model = [] if service == "ui" else ["--model", "/model"]
    context = command.make_context(name, [*words, *needs_model])
    folders = [str(value) for value in context.params.values() if str(value).startswith("/")]
    mounted = {volume["target"] for volume in services[service]["volumes"]}
    assert set(folders) <= mounted


def test_the_service_reads_inputs_and_model_and_writes_results_alone(services: dict[str, Any]) -> None:
    service = services["segment"]
    writable = [volume["target"] for volume in service["volumes"] if not volume.get("read_only")]
    assert writable == ["/out"]
    assert (service["network_mode"], service["read_only"], service["cap_drop"]) == ("none", True, ["ALL"])
    assert "MEDSEG_MODEL=/model" in (ROOT / "Dockerfile").read_text()


def test_a_watch_that_is_stopped_ends_with_143_and_its_tables(tmp_path: Path) -> None:
    scans, out, about = tmp_path / "in", tmp_path / "out", describe()
    scans.mkdir()
    network = networks.build("usegnet", 3, 3, seed=0, **about.keywords)
    model_folder.export(tmp_path / "model", {"fold0": network.state_dict()}, about)
    command = [sys.executable, "-c", WATCH, "segment", str(scans), str(out), "--watch"]
    environment = {**os.environ, "MEDSEG_MODEL": str(tmp_path / "model")}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        array = np.random.default_rng(0).integers(0, 200, (20, 24, 8)).astype(np.int16)
        for case in ("a", "b"):
            nib.Nifti1Image(array, np.eye(4)).to_filename(scans / f"{case}.nii.gz")
            wait_for(out / f"{case}.json")
        (scans / "bad.nii.gz").write_text("no scan")
        wait_for(out / "summary.csv", "bad,")
        process.terminate()
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == ExitCode.TERMINATED, said
    rows = (out / "summary.csv").read_text().splitlines()[1:]
    assert [row.split(",")[0] for row in rows] == ["a", "b", "bad"]
    assert "NOT_AN_IMAGE" in (out / "quarantine.csv").read_text()


def wait_for(path: Path, text: str = "") -> None:
    for _ in range(600):
        if path.exists() and text in path.read_text():
            return
        time.sleep(0.1)
    raise AssertionError(f"{path.name} has not come")

"""Two shards on the command line at once: every case once, one table, and the bytes of one command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from medseg import files
from medseg.errors import ExitCode
from tests.helpers.scan_files import save

CASES = [f"scan{n}" for n in range(8)]


def test_two_shards_at_once_give_what_one_command_gives(tmp_path: Path, make_model: Any, brain: Any) -> None:
    for number, name in enumerate(CASES):
        save(tmp_path / "in" / f"{name}.nii.gz", brain + number)
    (tmp_path / "in/bad.nii.gz").write_bytes(b"no gzip")
    command = [sys.executable, "-m", "medseg", "segment", str(tmp_path / "in")]
    options = ["--model", str(make_model()), "--device", "cpu", "--workers", "0", "--quiet"]
    both = [
        subprocess.Popen([*command, str(tmp_path / "two"), *options, "--shard", part], stderr=subprocess.PIPE)
        for part in ("1/2", "2/2")
    ]
    said = [process.communicate(timeout=300)[1] for process in both]
    assert sorted(process.returncode for process in both) == [ExitCode.DONE, ExitCode.SOME_EXCLUDED], said
    rows = {row["case"]: row["status"] for row in files.read_csv(tmp_path / "two/summary.csv")}
    assert sorted(rows) == ["bad", *CASES] and rows["bad"] == "excluded"
    assert files.read_json(tmp_path / "two/run.json")["shards"] == "2 of 2 have ended"

    subprocess.run([*command, str(tmp_path / "one"), *options], timeout=300, check=False)
    maps = {path.name: path.read_bytes() for path in (tmp_path / "one").glob("*.nii.gz")}
    assert len(maps) == len(CASES)
    assert maps == {path.name: path.read_bytes() for path in (tmp_path / "two").glob("*.nii.gz")}

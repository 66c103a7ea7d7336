"""`segment --mask` and `--strip`: each scan its own mask, another result for another mask, clear refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from pipelines.commands import segment
from pipelines.commands.segment import Settings
from tests.helpers.scan_files import save


def rows(out: Path) -> list[dict[str, str]]:
    return files.read_csv(out / "summary.csv")


def test_each_scan_has_the_mask_of_its_name(
    tmp_path: Path, brain: Any, make_model: Callable[..., Path], say: Reporter
) -> None:
    inside = np.zeros(brain.shape, np.uint8)
    inside[8:12, 8:12, 2:6] = 1
    for name in ("a", "b"):
        save(tmp_path / f"in/{name}.nii.gz", brain)
    save(tmp_path / "masks/a.nii.gz", inside)
    settings = Settings(make_model(), mask=str(tmp_path / "masks/{case}.nii.gz"))
    out = tmp_path / "out"
    assert segment.run([tmp_path / "in"], out, settings, say) == ExitCode.SOME_EXCLUDED
    assert [(row["case"], row["code"]) for row in rows(out) if row["status"] == "excluded"] == [
        ("b", Code.FILE_MISSING)
    ]
    before = (out / "a.nii.gz").read_bytes()
    assert segment.run([tmp_path / "in/a.nii.gz"], out, settings, say) == ExitCode.DONE
    assert rows(out)[0]["status"] == "skipped"
    inside[4:16, 5:19, 1:7] = 1
    save(tmp_path / "masks/a.nii.gz", inside)
    assert segment.run([tmp_path / "in/a.nii.gz"], out, settings, say) == ExitCode.DONE
    assert rows(out)[0]["status"] != "skipped" and (out / "a.nii.gz").read_bytes() != before


def test_a_mask_changes_nothing_where_it_keeps_everything(
    tmp_path: Path, brain: Any, make_model: Callable[..., Path], say: Reporter
) -> None:
    save(tmp_path / "in/a.nii.gz", brain)
    save(tmp_path / "mask.nii.gz", (brain > 0).astype(np.uint8))
    model = make_model()
    segment.run([tmp_path / "in"], tmp_path / "plain", Settings(model), say)
    segment.run(
        [tmp_path / "in"], tmp_path / "masked", Settings(model, mask=str(tmp_path / "mask.nii.gz")), say
    )
    plain, masked = (nib.load(tmp_path / name / "a.nii.gz") for name in ("plain", "masked"))
    np.testing.assert_array_equal(np.asarray(plain.dataobj), np.asarray(masked.dataobj))


def test_a_mask_and_stripping_exclude_each_other(
    tmp_path: Path, make_model: Callable[..., Path], say: Reporter
) -> None:
    with pytest.raises(MedsegError) as refused:
        segment.run([tmp_path], tmp_path / "out", Settings(make_model(), mask="a.nii", strip=True), say)
    assert refused.value.code == Code.USAGE

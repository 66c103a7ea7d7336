"""The code of docs/extend.md works: a copy of medseg gets its network, loss and reader, and trains."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
import yaml

from medseg.losses import build
from tests.helpers.box_runs import recipe_tree
from tests.helpers.box_subjects import make_subjects

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/extend.md").read_text()


def extended(folder: Path) -> Path:
    """A copy of the code with the files and changes of the page."""
    for name in ("medseg", "pipelines", "configs"):
        shutil.copytree(ROOT / name, folder / name)
    for path, code in re.findall(r"`(medseg/[\w/]+\.py)`:\n\n```python\n(.*?)```", PAGE, re.S):
        (folder / path).write_text(code)
    for path, diff in re.findall(r"`(medseg/[\w/]+\.py)`:\n\n```diff\n(.*?)```", PAGE, re.S):
        change(folder / path, diff.splitlines())
    return folder


def change(path: Path, diff: list[str]) -> None:
    """Apply lines of a diff: a `-` is replaced by the `+` after it, a `+` after a common line is inserted."""
    text = path.read_text()
    for old, new in zip(diff[::2], diff[1::2], strict=True):
        assert (old[0], new[0]) in {("-", "+"), (" ", "+")}
        assert text.count(old[1:] + "\n") == 1, f"{path.name} has no line {old[1:]!r}"
        kept = old[1:] + "\n" if old[0] == " " else ""
        text = text.replace(old[1:] + "\n", kept + new[1:] + "\n")
    path.write_text(text)


def as_npz(folder: Path) -> None:
    """Turn every NIfTI file below a folder into an archive."""
    for path in sorted(folder.rglob("*.nii.gz")):
        scan = nib.load(path)
        image = np.asarray(scan.dataobj)
        np.savez(path.with_name(path.name.replace(".nii.gz", ".npz")), image=image, affine=scan.affine)
        path.unlink()


def medseg(code: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """The command line of a copy of the code, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "medseg", *map(str, words)],
        cwd=code,
        env={**os.environ, "PYTHONPATH": str(code), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_network_a_loss_and_a_reader_of_the_page_work_together(tmp_path: Path) -> None:
    code = extended(tmp_path / "code")
    make_subjects(tmp_path / "data", 5)
    as_npz(tmp_path / "data")
    (tmp_path / "data/s4/s4.npz").write_bytes(b"PK no archive")
    tree = recipe_tree(
        network={"name": "dilated", "keywords": {"width": 4}},
        loss={"name": "tversky", "keywords": {"alpha": 0.4, "beta": 0.6}},
    )
    tree["data"] |= {"channels": {"t1": "{case}/{case}.npz"}, "label": "{case}/{case}_seg.npz"}
    tree["data"]["splits"] = {"train": ["s0", "s1"], "val": ["s2"], "test": ["s3", "s4"]}
    (tmp_path / "boxes.yaml").write_text(yaml.safe_dump(tree))
    work = tmp_path / "work"
    ended = medseg(code, "run", tmp_path / "boxes.yaml", "--data", tmp_path / "data", "--work", work)
    assert ended.returncode == 3, ended.stdout + ended.stderr
    assert "NOT_AN_IMAGE" in (work / "ingest/quarantine.csv").read_text()
    assert "dilated" in (work / "model/model.json").read_text()
    labels = nib.load(work / "predictions/s3.nii.gz")
    assert labels.shape == (20, 24, 6)
    assert (labels.affine == np.diag([1, 1, 2, 1])).all()


def test_with_equal_weights_the_loss_of_the_page_is_soft_dice() -> None:
    code = re.search(r"tversky\.py`:\n\n```python\n(.*?)```", PAGE, re.S)
    assert code
    names: dict[str, object] = {"__name__": "tversky"}
    exec(code[1], names)
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, generator=generator)
    labels = torch.randint(0, 3, (2, 4, 5), generator=generator)
    labels[0, 0] = 255
    loss = names["Tversky"](alpha=0.5, beta=0.5)  # type: ignore[operator]
    assert torch.allclose(loss(logits, labels), build("dice", background=False)(logits, labels))

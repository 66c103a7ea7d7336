"""`medseg export`: a work folder's model, checked, as a model folder of its own."""

from __future__ import annotations

import shutil
from pathlib import Path

from medseg import files
from medseg.errors import Code, MedsegError
from medseg.infer import modelfolder
from pipelines.reporter import Reporter
from pipelines.workfolder import Work


def run(work: Path, folder: Path, say: Reporter) -> None:
    """Load the model (every sha256 is checked), then copy it file by file, `model.json` last."""
    source = Work(work).model
    model = modelfolder.load(source)
    if folder.exists() and (
        not folder.is_dir() or (any(folder.iterdir()) and not (folder / "model.json").is_file())
    ):
        raise MedsegError(Code.USAGE, folder, "holds something else than a model", "name a new folder")
    names = sorted(p.name for p in source.iterdir() if p.suffix in {".safetensors", ".md"})
    for name in [*names, "model.json"]:
        with files.written_aside(folder / name) as part:
            shutil.copyfile(source / name, part)
    say.result(
        f"{folder}: {model.description.network}, {model.parameters:,} parameters, sha256 {model.sha256[:12]}"
    )

"""The models that ship with medseg: folders in `medseg/models/`, and what can be asked of them."""

from __future__ import annotations

from pathlib import Path

from medseg.errors import Code, MedsegError, choice

DEFAULT = "brain-tissue"
"""The model of `medseg segment` without `--model`."""

MODELS = Path(__file__).parents[1] / "models"
_MODEL_JSON = "model.json"


def names() -> list[str]:
    """The names of the models that ship with medseg."""
    return sorted(path.parent.name for path in MODELS.glob(f"*/{_MODEL_JSON}"))


def find(name: str) -> Path | None:
    """The folder of a packaged model, or of one of its conventions as `model/convention`; none if unknown."""
    parts = Path(name).parts
    folder = MODELS.joinpath(*parts)
    known = len(parts) in (1, 2) and parts[0] in names() and (folder / _MODEL_JSON).is_file()
    return folder if known else None


def default() -> Path:
    """The folder of the default model; raises USAGE where it does not ship, as in a checkout without it."""
    folder = find(DEFAULT)
    if folder is None:
        details = f"no model is named, and {DEFAULT} is not installed"
        raise MedsegError(Code.USAGE, "--model", details, "name a model folder with --model, or `make model`")
    return folder


def conventions(folder: Path) -> list[str]:
    """The conventions of a model folder: its folders with other classes of the same weights."""
    return sorted(path.parent.name for path in folder.glob(f"*/{_MODEL_JSON}"))


def with_convention(folder: Path, name: str) -> Path:
    """The folder of a model's convention; raises USAGE for one that it does not have."""
    known = conventions(folder)
    if name not in known:
        how_to_fix = choice(name, known) if known else "leave it out"
        raise MedsegError(Code.USAGE, f"--convention {name}", f"{folder.name} has no such one", how_to_fix)
    return folder / name

"""What a search for cases found, in a form that is easy to compare."""

from __future__ import annotations

from pathlib import Path

from medseg.errors import Code
from medseg.ingest.layouts import FolderContents


def pairs(found: FolderContents, root: Path) -> dict[str, tuple[list[str], str | None]]:
    """Case name → (channel paths, label path), relative to the root."""
    return {
        case.name: (
            [path.relative_to(root).as_posix() for path in case.channels.values()],
            case.label.relative_to(root).as_posix() if case.label else None,
        )
        for case in found.cases
    }


def strays(found: FolderContents) -> list[tuple[str, Code]]:
    return [(stray.case, stray.code) for stray in found.strays]

"""DICOM exports: files to frames, frames to volumes whose geometry is right, or to coded refusals."""

from __future__ import annotations

import importlib.util

from medseg.errors import Code, MedsegError


def require_packages() -> None:
    """Raise EXTRA_MISSING where the packages that read DICOM are not installed."""
    if absent := [name for name in ("pydicom", "highdicom") if importlib.util.find_spec(name) is None]:
        details = f"DICOM files need {', '.join(absent)}"
        raise MedsegError(Code.EXTRA_MISSING, "medseg", details, "pip install 'medseg[dicom]'")

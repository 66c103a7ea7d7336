"""Skull stripping of T1-weighted whole heads with deepbet (Fisch et al. 2024), and masks made elsewhere."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

import nibabel as nib
import numpy as np

from medseg import files
from medseg.errors import Code, MedsegError
from medseg.grid import Array
from medseg.volume import Volume

WEIGHTS = {
    "bbox_model.pt": "39a7b2b5f799faa1391ea97bfcdc0b9299f20d84f2316a4ff8918dc4685e40aa",
    "model.pt": "de8ee7c69654d0dd3935dc4a5d84571d8ecf4637a6bfc01df399c4c2bc86e0fd",
}
"""The files of weights that come with deepbet 1.0.2, and their sha256: TorchScript can run code."""

BRAIN_ML = (100.0, 2200.0)
"""Volumes between which a mask may be one of a brain."""

_PACKAGE = "deepbet"


def extract(scan: Volume) -> Array:
    """Find the brain in a whole head's first channel: a mask (X, Y, Z) bool on the scan's grid, on the CPU.

    Raises EXTRA_MISSING without deepbet, MODEL_TAMPERED where its weights are not those of the release that
    was tried, BRAIN_NOT_FOUND where the mask cannot be one of a brain.
    """
    _check_weights()
    from deepbet import BrainExtraction

    image = nib.Nifti1Image(scan.array[0].astype(np.float32), scan.grid.affine)
    try:
        _, mask_image, _ = BrainExtraction(no_gpu=True).run(image)
    except (AssertionError, ValueError) as error:  # it finds nothing that it could cut out
        raise _no_brain(type(error).__name__) from None
    mask: Array = np.asarray(mask_image.dataobj) > 0
    volume_ml = int(np.count_nonzero(mask)) * scan.grid.voxel_size / 1000
    if not BRAIN_ML[0] <= volume_ml <= BRAIN_ML[1]:
        raise _no_brain(f"a mask of {volume_ml:.0f} ml")
    return mask


def apply(scan: Volume, mask: Array) -> Volume:
    """Set each channel (X, Y, Z) outside a mask of that shape to 0, or to its lowest value if that is lower.

    The background is then filled with the lowest value, as in scans that were stripped elsewhere.
    """
    outside = np.asarray([min(0, channel.min()) for channel in scan.array], scan.array.dtype)
    return scan.with_array(np.where(mask[None], scan.array, outside[:, None, None, None]))


def identity() -> str:
    """The hash of what decides a mask: the weights of the release that was tried."""
    return files.sha256_of_value(WEIGHTS)


def version() -> str:
    """The name and version of the package that finds brains."""
    return f"{_PACKAGE} {importlib.metadata.version(_PACKAGE)}"


def _check_weights() -> None:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None or spec.origin is None:
        how_to_fix = "pip install 'medseg[strip]', or give a mask made elsewhere with --mask"
        raise MedsegError(Code.EXTRA_MISSING, "--strip", f"needs {_PACKAGE}", how_to_fix)
    folder = Path(spec.origin).parents[1] / "data" / "models"
    for name, sha256 in WEIGHTS.items():
        path = folder / name
        if not path.is_file() or files.sha256(path) != sha256:
            details = f"{name} is not the file of {_PACKAGE} 1.0.2 (sha256)"
            raise MedsegError(Code.MODEL_TAMPERED, "--strip", details, "install 'medseg[strip]' again")


def _no_brain(details: str) -> MedsegError:
    how_to_fix = "look at the scan; give a mask made elsewhere with --mask"
    return MedsegError(Code.BRAIN_NOT_FOUND, "--strip", details, how_to_fix)

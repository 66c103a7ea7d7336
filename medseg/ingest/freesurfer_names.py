"""Names in FreeSurfer's folders: the values of its subcortical segmentation (aseg), and its volumes."""

from __future__ import annotations

from collections.abc import Mapping

_SIDED = {
    "Cerebral-White-Matter": (2, 41),
    "Cerebral-Cortex": (3, 42),
    "Lateral-Ventricle": (4, 43),
    "Inf-Lat-Vent": (5, 44),
    "Cerebellum-White-Matter": (7, 46),
    "Cerebellum-Cortex": (8, 47),
    "Thalamus": (10, 49),
    "Caudate": (11, 50),
    "Putamen": (12, 51),
    "Pallidum": (13, 52),
    "Hippocampus": (17, 53),
    "Amygdala": (18, 54),
    "Accumbens-area": (26, 58),
    "VentralDC": (28, 60),
    "vessel": (30, 62),
    "choroid-plexus": (31, 63),
}
"""Name of a structure: its values on the left and on the right."""

ASEG: dict[int, str] = {
    **{left: f"Left-{name}" for name, (left, _) in _SIDED.items()},
    **{right: f"Right-{name}" for name, (_, right) in _SIDED.items()},
    14: "3rd-Ventricle",
    15: "4th-Ventricle",
    16: "Brain-Stem",
    24: "CSF",
    72: "5th-Ventricle",
    77: "WM-hypointensities",
    80: "non-WM-hypointensities",
    85: "Optic-Chiasm",
    251: "CC_Posterior",
    252: "CC_Mid_Posterior",
    253: "CC_Central",
    254: "CC_Mid_Anterior",
    255: "CC_Anterior",
}
"""Value → name."""

_VOLUMES = (
    *("orig", "T1", "nu", "orig_nu", "norm", "brain", "brainmask", "antsdn.brain", "brain.finalsurfs"),
    *("rawavg", "wm"),
)
"""Volumes that `recon-all` makes of one scan, the one to train on first: a new scan is most like `orig`."""


def is_its_own(path: str) -> bool:
    """True for a path as FreeSurfer writes it: in a folder ``mri``, or in its own format."""
    return "/mri/" in f"/{path}" or path.endswith((".mgz", ".mgh"))


def is_second(template: str) -> bool:
    """True for label maps in a folder ``mri`` that are not `aseg`, the one whose values have names here."""
    folder, _, name = template.rpartition("/")
    return folder.rpartition("/")[2] == "mri" and name != "aseg"


def is_made_from_another(template: str, images: Mapping[str, dict[frozenset[str], str]]) -> bool:
    """True for a volume of FreeSurfer's beside one of the same scan that comes first in its list.

    ``images`` are templates of paths without suffix, each with its files by case. FreeSurfer's are those in
    a folder ``mri`` or of the format MGZ; the other volume must be there for every case.
    """
    folder, slash, name = template.rpartition("/")
    own = images[template]
    if name not in _VOLUMES or not all(map(is_its_own, own.values())):
        return False
    earlier = (folder + slash + other for other in _VOLUMES[: _VOLUMES.index(name)])
    return any(other in images and images[other].keys() >= own.keys() for other in earlier)

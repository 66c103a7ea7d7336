"""Compile the modules that medseg's commands import, and no others: a fifth of the bytes of all of them.

The files hold a hash of their source instead of its time, and are not checked when they are loaded, so that
they are the same in every build.
"""

from __future__ import annotations

import importlib
import pkgutil
import py_compile
import sys

import medseg
import pipelines

LOADED_LATER = (
    "gdcm",
    "highdicom.seg",
    "highdicom.sr",
    "jpeg_ls",
    "nibabel",
    "pydicom.pixels",
    "scipy.ndimage",
    "SimpleITK",
    "tifffile",
    "PIL.Image",
    "rich.progress",
)
"""Modules that medseg imports inside functions."""


def main() -> None:
    """Import each module of medseg that needs no further extra, and compile all that came with them."""
    for package in (medseg, pipelines):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            load(module.name)
    for name in LOADED_LATER:
        load(name)
    files = {
        spec.origin for spec in [getattr(module, "__spec__", None) for module in sys.modules.values()] if spec
    }
    for file in sorted(
        file for file in files if file and file.startswith(sys.prefix) and file.endswith(".py")
    ):
        py_compile.compile(
            file, doraise=True, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
        )


def load(name: str) -> None:
    """Import a module, unless it belongs to an extra that is not installed."""
    if not name.endswith("__main__"):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            print(f"not compiled: {name} (no {error.name})")


if __name__ == "__main__":
    main()

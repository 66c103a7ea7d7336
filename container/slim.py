"""Remove from an installed environment what no program in it runs: tests, headers, symbols, second copies.

usage: slim.py /opt/medseg     (needs `strip` of binutils)

Licence texts stay: they lie in the packages' `*.dist-info` folders, which nothing here touches.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

UNUSED = ("torch/include", "torch/test", "torch/share", "torch/lib/*_test.so", "torch/bin/*")
"""Headers, tests and programs of torch, below site-packages."""

KEPT = "torch_shm_manager"
"""The one program of torch that must be there: `import torch` asks for it."""

STRIPPED = ("torch/lib/libtorch_cpu.so", "torch/lib/libtorch_python.so", "_CharLS.*.so")
"""Libraries with symbol tables that only a debugger reads. Others gain nothing, and those that auditwheel
has patched do not survive `strip`."""

LARGE = 100_000


def main(root: Path) -> None:
    """Slim the environment and print its size before and after, in MB."""
    before = size_mb(root)
    for packages in root.glob("lib/python*/site-packages"):
        remove_unused(packages)
        for pattern in STRIPPED:
            for library in packages.glob(pattern):
                subprocess.run(["strip", "--strip-unneeded", library], check=True)
        link_copies(packages)
    print(f"{root}: {before} MB, now {size_mb(root)} MB")


def remove_unused(packages: Path) -> None:
    """Remove tests and headers of all packages."""
    for path in [path for pattern in UNUSED for path in packages.glob(pattern) if path.name != KEPT]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for folder in [path for path in packages.rglob("tests") if path.is_dir()]:
        if not folder.is_relative_to(packages / "torch") and folder.parent != packages:
            shutil.rmtree(folder, ignore_errors=True)


def link_copies(packages: Path) -> None:
    """Replace large files by symbolic links where a folder holds the same content under several names."""
    for folder in {path.parent for path in packages.rglob("*.so.*")}:
        first: dict[str, Path] = {}
        for path in sorted(folder.glob("*.so*")):
            if path.is_symlink() or path.stat().st_size < LARGE:
                continue
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            original = first.setdefault(digest, path)
            if original != path:
                path.unlink()
                path.symlink_to(original.name)


def size_mb(root: Path) -> int:
    """Sum the sizes of a folder's files, links not followed, in MB (10^6 bytes)."""
    return sum(path.lstat().st_size for path in root.rglob("*") if not path.is_dir()) // 1_000_000


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""Measure one row in this process: ``python -m benchmarks.suite.one_row NAME OPTIONS.json RESULT.json``.

The suite starts it for each row, so that memory, threads and faults of a row are its own.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from pathlib import Path

from medseg.process import prepare


def main(name: str, options_file: str, result_file: str) -> None:
    """Import a row's module, run it, and write what it measured."""
    prepare()  # before torch is imported: the settings that commands have, for peers too
    warnings.simplefilter("ignore")
    import torch

    from benchmarks.suite.goals import BY_NAME
    from benchmarks.suite.options import Options
    from medseg import files

    torch.set_num_threads(1)
    given = files.read_json(Path(options_file))
    options = Options(**{**given, "cache": Path(given["cache"])})
    measured = importlib.import_module(f"benchmarks.rows.{name}").run(options)
    expected = {figure.name for figure in BY_NAME[name].figures}
    if unknown := set(measured.figures) - expected:
        raise ValueError(f"figures that the row {name} does not list: {sorted(unknown)}")
    files.write_json(Path(result_file), measured.to_json())


if __name__ == "__main__":
    main(*sys.argv[1:])

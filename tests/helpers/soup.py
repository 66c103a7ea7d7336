"""The list of third-party software (SOUP) in docs/medical-device.md, made from a table of this file.

    python -m tests.helpers.soup

writes the list anew: one row for each package that pyproject.toml names outside of [dev], [docs] and [bench],
with the version of constraints.txt. A package that is not in `USES` is a KeyError.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/medical-device.md"
HEADER = ("name", "version", "licence", "needed for", "used for", "verified by", "known anomalies")
NONE = "none met"


@dataclass(frozen=True)
class Use:
    """One package: its licence, its task, tests that run it for that, and faults that we met or read of."""

    licence: str
    purpose: str
    tests: tuple[str, ...]
    anomalies: str = NONE


USES = {
    "torch": Use(
        "BSD-3-Clause, with parts under Apache-2.0, BSD-2-Clause, BSL-1.0 and MIT",
        "networks, training, reading checkpoints",
        ("networks/test_every_network.py", "losses/test_losses.py", "long/test_kill.py"),
        "CVE-2026-24747 (`weights_only` below 2.10): minimum version; `tests/hostile/test_no_code.py`",
    ),
    "numpy": Use(
        "BSD-3-Clause, with parts under 0BSD, MIT, Zlib and CC0-1.0",
        "arrays",
        ("metrics/test_confusion_matrix.py", "preprocess/test_intensity.py"),
    ),
    "nibabel": Use(
        "MIT",
        "headers of NIfTI and MGH",
        ("io/test_nifti_read.py", "io/test_nifti_refused.py", "io/test_freesurfer.py"),
        "axes of MGH files without orientation, impossible header fields: `medseg/io/headers.py`",
    ),
    "SimpleITK": Use(
        "Apache-2.0",
        "MetaImage, NRRD, bias field, resampling",
        ("io/test_itk.py", "preprocess/test_geometry.py", "preprocess/test_intensity.py"),
        "text headers that crash its parsers: `medseg/io/itk_headers.py`, `tests/hostile/test_bombs.py`",
    ),
    "scipy": Use(
        "BSD-3-Clause",
        "distances, surfaces, CRF, resizing",
        ("metrics/test_surface.py", "infer/test_crf.py", "preprocess/test_resize2d.py"),
    ),
    "pydantic": Use("MIT", "checks of recipes", ("config/test_recipe.py",)),
    "PyYAML": Use(
        "MIT",
        "recipes (safe loader alone)",
        ("config/test_recipe.py",),
        "nesting and repeated anchors: limits, `tests/hostile/test_bombs.py`",
    ),
    "typer": Use("MIT", "command line", ("cli/test_exits.py",)),
    "rich": Use("MIT", "progress on a terminal", ("cli/test_scores_command.py",)),
    "safetensors": Use("Apache-2.0", "weights of model folders", ("model/test_folder.py",)),
    "pillow": Use(
        "MIT-CMU",
        "PNG, JPEG, BMP, GIF, most TIFF; figures",
        ("io/test_images.py", "infer/test_figure.py"),
        "16-bit PNG as 32 bits, TIFF of more than 8 bits a colour cut to 8: `medseg/io/images.py`",
    ),
    "filelock": Use("MIT", "one command at a time in a folder", ("files/test_files.py",)),
    "isal": Use(
        "PSF-2.0", "compression of NIfTI files", ("io/test_gzip_blocks.py", "io/test_nifti_write.py")
    ),
    "tifffile": Use("BSD-3-Clause", "TIFF that pillow cannot read", ("io/test_images.py",)),
    "pydicom": Use(
        "MIT",
        "DICOM data sets",
        ("io/dicom/test_plain.py", "io/dicom/test_series.py"),
        "warnings that quote values of the header: silenced, `tests/privacy/test_hostile_headers.py`",
    ),
    "highdicom": Use(
        "MIT",
        "DICOM SEG, SR, parametric maps",
        ("io/dicom/test_seg.py", "io/dicom/test_sr.py", "io/dicom/test_result_objects.py"),
        "none met; every SEG and map is read back and compared before it is kept",
    ),
    "python-gdcm": Use(
        "Apache-2.0 (GDCM itself: BSD-3-Clause)",
        "JPEG lossless, JPEG 2000 frames",
        ("io/dicom/test_jpeg.py", "io/dicom/test_series.py"),
        "ends the process on damaged frames: a helper's, `tests/io/dicom/test_decoder_ends.py`",
    ),
    "pyjpegls": Use("MIT (CharLS itself: BSD-3-Clause)", "JPEG-LS frames", ("io/dicom/test_series.py",)),
    "pynetdicom": Use("MIT", "C-STORE of `medseg push`", ("pipelines/test_push.py",)),
    "deepbet": Use(
        "MIT",
        "`--strip`",
        ("infer/test_brain.py",),
        "weights are TorchScript: read after their sha256, `tests/hostile/test_no_code.py`",
    ),
    "distributed": Use(
        "BSD-3-Clause",
        "`--executor dask`",
        ("execution/test_cluster.py",),
        "carries pickles, unencrypted by default: for a trusted network alone",
    ),
    "einops": Use(
        "MIT",
        "layers of MONAI's transformers",
        ("networks/test_monai_networks.py",),
    ),
    "monai": Use(
        "Apache-2.0",
        "its 2-D networks; the oracle of artefacts in augmentation",
        ("networks/test_monai_networks.py", "patches/test_artefacts.py"),
        "GHSA-9rg3-9pvr-6p27 (zip slip): minimum version; downloads of weights: refused",
    ),
    "lightning-fabric": Use("Apache-2.0", "several GPUs, precision", ("train/test_processes.py",)),
    "mlflow": Use(
        "Apache-2.0",
        "record of trainings",
        ("tracking/test_store.py", "tracking/test_tracker.py"),
        "telemetry: off; absolute paths in its store: rewritten; `tests/tracking/test_store.py`",
    ),
    "psutil": Use("BSD-3-Clause", "load of the machine during training", ("tracking/test_tracker.py",)),
    "matplotlib": Use("its own, after the PSF's", "figures of reports", ("report/test_charts.py",)),
    "jinja2": Use("BSD-3-Clause", "reports", ("report/test_html.py",)),
    "nilearn": Use("BSD-3-Clause", "anatomy of the demo", ("synth/test_tissues.py",)),
    "scikit-image": Use(
        "BSD-3-Clause",
        "class boundaries for scores and figures",
        ("metrics/test_boundary.py", "report/test_volume_overlay.py"),
    ),
    "onnx": Use("Apache-2.0", "exported graphs", ("model/test_onnx_graph.py",)),
    "onnxscript": Use("MIT", "exported graphs", ("model/test_onnx_graph.py",)),
    "onnxruntime": Use(
        "MIT",
        "exported graphs: written, compared with their networks, run",
        ("model/test_onnx_graph.py", "infer/test_runtimes.py"),
    ),
    "openvino": Use(
        "Apache-2.0",
        "exported graphs: run",
        ("infer/test_runtimes.py",),
        "its package for telemetry is never called; `tests/infer/test_runtimes.py`",
    ),
}


def main() -> None:
    """Write the list between its two marks."""
    PAGE.write_text(page_with_list(), encoding="utf-8")


def page_with_list() -> str:
    """Return the text of the page with the list made anew."""
    before, rest = PAGE.read_text(encoding="utf-8").split("<!-- soup list -->\n")
    _, after = rest.split("<!-- end of soup list -->")
    return f"{before}<!-- soup list -->\n{soup_list()}<!-- end of soup list -->{after}"


def soup_list() -> str:
    """Return the list as a table of Markdown."""
    versions = pins()
    rows = [HEADER, tuple("---" for _ in HEADER)]
    for name, extra in dependencies():
        use = USES[name]
        tests = ", ".join(f"`tests/{test}`" for test in use.tests)
        rows.append((name, versions[name.lower()], use.licence, extra, use.purpose, tests, use.anomalies))
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def dependencies() -> Iterator[tuple[str, str]]:
    """Yield (name, `core` or the extra) of all packages that the project names but for its development."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {f"[{name}]": packages for name, packages in project["optional-dependencies"].items()}
    for extra, requirements in {"core": project["dependencies"], **extras}.items():
        if extra not in ("[dev]", "[docs]", "[bench]"):
            yield from ((re.split(r"[<>=!~\[; ]", text)[0], extra) for text in requirements)


def pins() -> dict[str, str]:
    """Versions of constraints.txt by name in lower case."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").split()
    return {name.lower(): version for name, _, version in (line.partition("==") for line in lines)}


if __name__ == "__main__":
    main()

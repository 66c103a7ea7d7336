"""Small files of every kind that is read, made in code; real ones of MEDSEG_TEST_DATA where it is set."""

from __future__ import annotations

import gc
import gzip
import io
import json
import os
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from random import Random
from typing import Any, get_args

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813
from PIL import Image

from tests.helpers.fuzz.mutations import noise

AFFINE = np.diag([1.0, 1.5, 2.0, 1.0])
_LARGEST_REAL = 400_000
"""Bytes up to which a real file serves as a seed."""


@dataclass(frozen=True)
class Seed:
    """Files of one input by name; mutations hit one of ``hit``, which are of ``kind``."""

    name: str
    kind: str
    files: dict[str, bytes]
    hit: tuple[str, ...]


@cache
def of_target(target: str) -> tuple[Seed, ...]:
    """The seeds of a target, always in the same order."""
    return tuple(_MAKERS[target]())


def _one(name: str, kind: str, content: bytes) -> Seed:
    return Seed(name, kind, {name: content}, (name,))


def _real(folder: str, patterns: tuple[str, ...]) -> Iterator[tuple[str, bytes]]:
    root = os.environ.get("MEDSEG_TEST_DATA")
    if not root:
        return
    for pattern in patterns:
        for path in sorted(Path(root, folder).rglob(pattern)):
            if path.is_file() and 0 < path.stat().st_size <= _LARGEST_REAL:
                yield path.name, path.read_bytes()


def _nifti() -> Iterator[Seed]:
    array = noise(Random(1), (6, 5, 4))
    for kind, name in ((nib.Nifti1Image, "a.nii"), (nib.Nifti2Image, "b.nii")):
        image = kind(array.astype(np.int16), AFFINE)
        image.header.set_slope_inter(2.0, 1.0)
        yield _one(name, "nii", image.to_bytes())
        yield _one(f"{name}.gz", "gz", gzip.compress(image.to_bytes(), mtime=0))
    yield _one(
        "d.nii.gz",
        "gz",
        gzip.compress(nib.Nifti1Image(array[..., None].astype(np.float32), AFFINE).to_bytes()),
    )
    mgh = nib.MGHImage(array.astype(np.float32), AFFINE).to_bytes()
    yield _one("c.mgh", "mgh", mgh)
    yield _one("c.mgz", "mgz", gzip.compress(mgh, mtime=0))
    for name, content in _real("odd_nifti", ("*.nii.gz", "*.nii")):
        yield _one(name, "gz" if name.endswith(".gz") else "nii", content)


def _itk() -> Iterator[Seed]:
    image = sitk.GetImageFromArray(noise(Random(2), (4, 5, 6)))
    image.SetSpacing((1.0, 1.5, 2.0))
    with tempfile.TemporaryDirectory() as folder:
        for name, packed in (("a.mha", False), ("b.mha", True), ("c.nrrd", False), ("d.nrrd", True)):
            sitk.WriteImage(image, str(Path(folder, name)), useCompression=packed)
            yield _one(name, name[2:], Path(folder, name).read_bytes())
        for name in ("e.mhd", "f.nhdr"):
            own = Path(folder, name[0])
            own.mkdir()
            sitk.WriteImage(image, str(own / name), useCompression=False)
            files = {path.name: path.read_bytes() for path in sorted(own.iterdir())}
            yield Seed(name, name[2:], files, (name,))


def _images() -> Iterator[Seed]:
    grey = Image.fromarray((noise(Random(3), (12, 10)) % 256).astype(np.uint8))
    wide = Image.fromarray(noise(Random(4), (9, 8)))
    colour = Image.fromarray((noise(Random(5), (8, 9, 3)) % 256).astype(np.uint8))
    palette = grey.convert("P")
    for name, image, options in (
        ("grey.png", grey, {}), ("wide.png", wide, {}), ("colour.png", colour, {}),
        ("palette.png", palette, {}), ("grey.tif", grey, {}), ("wide.tif", wide, {}),
        ("lzw.tif", colour, {"compression": "tiff_lzw"}),
        ("deflate.tif", grey, {"compression": "tiff_adobe_deflate"}),
        ("jpeg.tif", grey, {"compression": "jpeg"}), ("colour.jpg", colour, {}), ("grey.bmp", grey, {}),
        ("grey.gif", grey, {}),
        ("one.tif", grey.convert("1"), {"compression": "group4"}),
    ):  # fmt: skip
        out = io.BytesIO()
        format_name = {"jpg": "JPEG", "tif": "TIFF", "png": "PNG", "bmp": "BMP", "gif": "GIF"}[name[-3:]]
        image.save(out, format_name, **options)
        yield _one(name, name[-3:], out.getvalue())
    for name, content in _real("cvc_clinicdb/odd_tiff", ("*.tif",)):
        yield _one(name, "tif", content)


def _series(syntax: str | None = None, **tags: Any) -> dict[str, bytes]:
    from tests.helpers.dicom_files import slice_dataset

    pixels = noise(Random(6), (16, 12, 3))
    files = {}
    for index in range(3):
        dataset = slice_dataset(
            pixels, AFFINE, index, series="1.2.3.4", EchoTime="5", SeriesDescription="t1", **tags
        )
        if syntax in (_RLE, _JPEG_LS):
            dataset.compress(syntax, generate_instance_uid=False)
        out = io.BytesIO()
        dataset.save_as(out, enforce_file_format=True)
        files[f"{index}.dcm"] = _with_gdcm(out.getvalue(), syntax) if syntax in _GDCM else out.getvalue()
    return files


_RLE, _JPEG_LS = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.80"
_GDCM = ("1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2")


def _with_gdcm(content: bytes, syntax: str | None) -> bytes:
    """The same data set in another transfer syntax (JPEG lossless, JPEG 2000, big endian, implicit)."""
    import gdcm

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source"), Path(folder, "target")
        source.write_bytes(content)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(source))
        reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
        change.SetInput(reader.GetImage())
        if not change.Change():
            raise ValueError(f"gdcm cannot write {syntax}")
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(target))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        writer.Write()
        return target.read_bytes()


def _dicom() -> Iterator[Seed]:
    from tests.helpers.dicom_files import enhanced_dataset

    for name, syntax in (
        ("plain", None), ("rle", _RLE), ("jpegls", _JPEG_LS), ("lossless", _GDCM[0]), ("j2k", _GDCM[1]),
        ("big", _GDCM[2]), ("implicit", _GDCM[3]),
    ):  # fmt: skip
        files = _series(syntax)
        yield Seed(name, "dcm", files, tuple(files))
    out = io.BytesIO()
    enhanced = enhanced_dataset([noise(Random(7), (8, 8, 3)), noise(Random(8), (8, 8, 3))], AFFINE)
    enhanced.SeriesInstanceUID, enhanced.StudyInstanceUID = "1.2.3.5", "1.2.3"
    enhanced.save_as(out, enforce_file_format=True)
    yield _one("enhanced.dcm", "dcm", out.getvalue())
    for name, content in _real("dicom/broken_misc", ("*",)):
        yield _one(f"{name}.dcm", "dcm", content)
    for name, content in _real("dicom", ("mosaic_*/*", "syntax_mr_small/*", "compressed_j*/*", "enh_*/*")):
        yield _one(f"{name}.dcm", "dcm", content)


def _compressed() -> Iterator[Seed]:
    for name, syntax in (("rle", _RLE), ("jpegls", _JPEG_LS), ("lossless", _GDCM[0]), ("j2k", _GDCM[1])):
        files = _series(syntax)
        yield Seed(name, "frame", files, tuple(files))
    for name, content in _real("dicom", ("compressed_j*/*", "mosaic_siemens_jpeg*/*", "syntax_mr_small/*")):
        if b"\xe0\x7f\x10\x00OB\x00\x00\xff\xff" in content:
            yield _one(f"{name}.dcm", "frame", content)


def _zips() -> Iterator[Seed]:
    files = _series()
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", method) as archive:
            for name, content in files.items():
                archive.writestr(f"study/{name}", content)
        yield _one(f"{method}.zip", "zip", out.getvalue())
    nested = io.BytesIO()
    with zipfile.ZipFile(nested, "w") as archive:
        archive.writestr("../../evil.dcm", files["0.dcm"])
        archive.writestr("inner.zip", out.getvalue())
        archive.writestr("packed.gz", gzip.compress(files["1.dcm"]))
    yield _one("nested.zip", "zip", nested.getvalue())
    packed = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in files.items()}
    yield Seed("gzipped", "dcm.gz", packed, tuple(packed))


def _dicomdir() -> Iterator[Seed]:
    from pydicom.fileset import FileSet

    with tempfile.TemporaryDirectory() as folder:
        own, written = FileSet(), Path(folder, "media")
        for name, content in _series(
            PatientID="p", StudyID="1", StudyDate="20200101", StudyTime="10", SeriesNumber="1"
        ).items():
            path = Path(folder, name)
            path.write_bytes(content)
            own.add(path)
        own.write(written)
        with warnings.catch_warnings():  # pydicom leaves its folder to the collector, which warns of it
            warnings.simplefilter("ignore", ResourceWarning)
            del own
            gc.collect()
        paths = sorted(path for path in written.rglob("*") if path.is_file())
        files = {path.relative_to(written).as_posix(): path.read_bytes() for path in paths}
    yield Seed("dicomdir", "seg", files, ("DICOMDIR",))


def _segmentations() -> Iterator[Seed]:
    from medseg.classes import ClassList
    from medseg.io.dicom import seg
    from medseg.io.dicom.series import read_export

    labels = np.zeros((16, 12, 3), np.uint8)
    labels[2:8, 3:9], labels[9:12, 3:9] = 1, 2
    classes = ClassList.from_names({0: "background", 1: "csf", 2: "gm"})
    with tempfile.TemporaryDirectory() as folder:
        for name, content in _series(SeriesNumber="1").items():
            Path(folder, name).write_bytes(content)
        volume = read_export(Path(folder)).volumes[0]
        for kind in ("BINARY", "LABELMAP"):
            path = Path(folder, f"{kind}.seg")
            seg.write(labels, volume, classes, path, algorithm=("tiny", "1"), kind=kind)
            yield _one(f"{kind}.seg.dcm", "seg", path.read_bytes())


def _tables() -> Iterator[Seed]:
    scan = nib.Nifti1Image(noise(Random(9), (4, 4, 4)).astype(np.int16), AFFINE).to_bytes()
    rows = "case,image,label,subject,role\n" + "".join(
        f"c{n},scans/{n}.nii,scans/{n}_seg.nii,s{n},{role}\n"
        for n, role in enumerate(("train", "val", "test"))
    )
    files = {f"scans/{n}{end}.nii": scan for n in range(3) for end in ("", "_seg")}
    yield Seed("table", "csv", {"cases.csv": rows.encode(), **files}, ("cases.csv",))


def _models() -> Iterator[Seed]:
    from medseg.model import folder as model_folder
    from medseg.networks import build
    from tests.helpers.model_folders import describe

    description = describe()
    network = build("usegnet", 3, 3, width=2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model")
        model_folder.export(path, {"fold0": network.state_dict()}, description)
        files = {part.name: part.read_bytes() for part in sorted(path.iterdir())}
    yield Seed("model", "json", files, ("model.json",))
    yield Seed("weights", "safetensors", files, ("fold0.safetensors",))


def _graphs() -> Iterator[Seed]:
    """Model folders with an exported graph: a convolution, and all that is in a U-Net once."""
    from medseg.model import folder as model_folder
    from medseg.model.graphs import GraphRuntime
    from tests.helpers.graphs import add_graph, conv_graph, skip_graph
    from tests.helpers.model_folders import describe

    network = model_folder.build_network(describe())
    with tempfile.TemporaryDirectory() as folder:
        for make, runtime in product((conv_graph, skip_graph), get_args(GraphRuntime)):
            name = f"{make.__name__}.{runtime}"
            path = Path(folder, name)
            model_folder.export(path, {"fold0": network.state_dict()}, describe())
            hit = add_graph(path, make(network.in_channels), runtime).name
            files = {part.name: part.read_bytes() for part in sorted(path.iterdir())}
            yield Seed(name, "onnx", files, (hit,))
            yield Seed(f"row of {name}", "json", files, ("model.json",))


def _recipes() -> Iterator[Seed]:
    from medseg.config.load import packaged

    for name in ("demo", "ibsr18_quick", "voc_fcn8s", "brats_masks_quick"):
        content = (packaged() / f"{name}.yaml").read_bytes()
        yield _one(f"{name}.yaml", "yaml", content)


def _dataset_json() -> Iterator[Seed]:
    scan = nib.Nifti1Image(noise(Random(9), (4, 4, 4)).astype(np.int16), AFFINE).to_bytes()
    tree = {
        "name": "set", "modality": {"0": "MRI"}, "labels": {"0": "background", "1": "a"},
        "training": [{"image": f"./imagesTr/c{n}.nii", "label": f"./labelsTr/c{n}.nii"} for n in range(2)],
        "test": ["./imagesTs/c2.nii"],
    }  # fmt: skip
    files = {f"{part}/c{n}.nii": scan for part in ("imagesTr", "labelsTr") for n in range(2)}
    content = json.dumps(tree, indent=1).encode()
    yield Seed("decathlon", "json", {"dataset.json": content, **files}, ("dataset.json",))


_MAKERS = {
    "nifti": _nifti,
    "itk": _itk,
    "image": _images,
    "dicom": _dicom,
    "compressed": _compressed,
    "archive": _zips,
    "dicomdir": _dicomdir,
    "segmentation": _segmentations,
    "table": _tables,
    "dataset_json": _dataset_json,
    "model": _models,
    "graph": _graphs,
    "recipe": _recipes,
}

TARGETS = tuple(_MAKERS)

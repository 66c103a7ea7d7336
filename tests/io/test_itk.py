from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 (the name its users know)

from medseg.errors import Code, MedsegError
from medseg.grid import Array
from medseg.io import itk
from medseg.volume import Volume

SUFFIXES = [".mha", ".mhd", ".nrrd", ".nhdr"]
LPS = (-1, 0, 0, 0, -1, 0, 0, 0, 1)
"""The direction, in ITK's LPS, of axes that point to R, A, S."""


def image_of(array: Array, direction: tuple[float, ...] = LPS) -> Any:
    """An ITK image whose index (x, y, z) holds array[x, y, z]."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.T))
    image.SetSpacing((2.0, 3.0, 4.0)[: array.ndim])
    image.SetOrigin((10.0, 20.0, 30.0)[: array.ndim])
    if array.ndim == 3:
        image.SetDirection(direction)
    return image


def written(path: Path, image: Any, *, compressed: bool = False) -> Path:
    sitk.WriteImage(image, str(path), compressed)
    return path


def codes(volume: Volume) -> set[Code]:
    return {note.code for note in volume.notes}


def refused(path: Path, **keywords: Any) -> Code:
    with pytest.raises(MedsegError) as caught:
        itk.read(path, **keywords)
    return caught.value.code


@pytest.fixture
def noise() -> Array:
    return np.random.default_rng(0).integers(0, 999, (5, 6, 7)).astype(np.int16)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("compressed", [False, True])
def test_axes_are_x_y_z_and_the_affine_is_ras(
    tmp_path: Path, ramp: Array, suffix: str, compressed: bool
) -> None:
    volume = itk.read(written(tmp_path / f"a{suffix}", image_of(ramp), compressed=compressed))
    np.testing.assert_array_equal(volume.array[0], ramp)
    assert volume.array[0].flags.f_contiguous
    expected = [[2, 0, 0, -10], [0, 3, 0, -20], [0, 0, 4, 30], [0, 0, 0, 1]]
    np.testing.assert_allclose(volume.grid.affine, expected)
    assert codes(volume) == set()
    assert volume.source is None


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_dtype_is_kept(tmp_path: Path, ramp: Array, dtype: str) -> None:
    volume = itk.read(written(tmp_path / "a.mha", image_of(ramp.astype(dtype))))
    assert volume.array.dtype == np.dtype(dtype)


def test_itks_own_axes_are_flipped_for_us(tmp_path: Path, ramp: Array) -> None:
    volume = itk.read(written(tmp_path / "a.mha", image_of(ramp, (1, 0, 0, 0, 1, 0, 0, 0, 1))))
    (note,) = volume.notes
    assert (note.code, note.details) == (Code.FLIPPED, "axes LPS")


def test_agrees_with_itks_own_positions(tmp_path: Path, ramp: Array) -> None:
    c, s = np.cos(0.2), np.sin(0.2)
    image = image_of(ramp, (c, -s, 0, s, c, 0, 0, 0, 1))
    volume = itk.read(written(tmp_path / "a.nrrd", image))
    lps = np.array(image.TransformIndexToPhysicalPoint((2, 1, 3)))
    np.testing.assert_allclose(volume.grid.affine @ [2, 1, 3, 1], [-lps[0], -lps[1], lps[2], 1], atol=1e-5)
    assert codes(volume) == {Code.OBLIQUE, Code.FLIPPED}


def test_nrrd_without_a_space(tmp_path: Path, ramp: Array) -> None:
    head = b"NRRD0004\ntype: int16\ndimension: 3\nsizes: 3 4 5\nspacings: 1 2 3\n"
    head += b"endian: little\nencoding: raw\n\n"
    path = tmp_path / "a.nrrd"
    path.write_bytes(head + ramp.tobytes(order="F"))
    volume = itk.read(path)
    assert Code.NO_ORIENTATION in codes(volume)
    assert volume.grid.spacing == (1, 2, 3)
    np.testing.assert_array_equal(volume.array[0], ramp)


def test_two_dimensional_image_is_one_slice(tmp_path: Path, ramp: Array) -> None:
    volume = itk.read(written(tmp_path / "a.mha", image_of(ramp[:, :, 0])))
    assert volume.grid.shape == (3, 4, 1)
    np.testing.assert_array_equal(volume.array[0, :, :, 0], ramp[:, :, 0])


def test_fourth_axis(tmp_path: Path) -> None:
    array = np.arange(120, dtype=np.int16).reshape(3, 4, 5, 2)
    image = sitk.JoinSeries([image_of(array[..., i]) for i in range(2)])
    path = written(tmp_path / "a.mha", image)
    assert refused(path) is Code.FOUR_D
    np.testing.assert_array_equal(itk.read(path, channels_last=True).array, np.moveaxis(array, -1, 0))
    single = itk.read(written(tmp_path / "b.mha", sitk.JoinSeries([image_of(array[..., 0])])))
    assert Code.SINGLETON_AXIS in codes(single)
    assert single.grid.shape == (3, 4, 5)


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_vectors_and_complex_numbers(tmp_path: Path, ramp: Array, suffix: str) -> None:
    vector = sitk.Compose([image_of(ramp)] * 3)
    assert refused(written(tmp_path / f"a{suffix}", vector)) is Code.NOT_SCALAR
    real = image_of(ramp.astype(np.float32))
    assert refused(written(tmp_path / f"b{suffix}", sitk.RealAndImaginaryToComplex(real, real))) in {
        Code.NOT_SCALAR,
        Code.FOUR_D,
    }


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
@pytest.mark.parametrize("compressed", [False, True])
def test_every_way_to_cut_a_file(
    tmp_path: Path, noise: Array, suffix: str, compressed: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / f"a{suffix}", image_of(noise), compressed=compressed)
    whole = path.read_bytes()
    for length in (0, len(whole) * 2 // 3, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert refused(path) is Code.TRUNCATED, length
    path.write_bytes(whole[:60])
    assert refused(path) in {Code.NOT_AN_IMAGE, Code.TRUNCATED}
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", [".mha", ".nrrd"])
def test_damaged_byte_in_compressed_voxels(tmp_path: Path, noise: Array, suffix: str) -> None:
    path = written(tmp_path / f"a{suffix}", image_of(noise), compressed=True)
    whole = path.read_bytes()
    for position in (len(whole) * 2 // 3, len(whole) - 5 if suffix == ".nrrd" else len(whole) - 2):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0xFF]) + whole[position + 1 :])
        assert refused(path) is Code.TRUNCATED


@pytest.mark.parametrize(("header", "voxels"), [(".mhd", ".raw"), (".nhdr", ".raw")])
def test_voxels_in_a_file_beside(tmp_path: Path, ramp: Array, header: str, voxels: str) -> None:
    path = written(tmp_path / f"a{header}", image_of(ramp))
    beside = path.with_suffix(voxels)
    beside.write_bytes(beside.read_bytes()[:-1])
    assert refused(path) is Code.TRUNCATED
    beside.unlink()
    assert refused(path) is Code.FILE_MISSING


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_something_else(tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"a{suffix}"
    for content in (b"hello", b"ElementDataFile = LOCAL\nhello", b"NRRD0004\nnonsense\n\n"):
        path.write_bytes(content)
        assert refused(path) is Code.NOT_AN_IMAGE
    assert capfd.readouterr().err == ""


def test_places_and_sizes(tmp_path: Path, ramp: Array) -> None:
    path = written(tmp_path / "a.mha", image_of(ramp))
    assert refused(path, max_voxels=59) is Code.TOO_LARGE
    assert refused(written(tmp_path / "b.mha", image_of(ramp[:, :1, :1]))) is Code.TOO_SMALL
    text = path.read_bytes().replace(b"-1 0 0 0 -1 0 0 0 1", b"-1 0 0 0.5 -1 0 0 0 1")
    path.write_bytes(text)
    assert refused(path) is Code.SHEARED


def test_missing_and_unreadable(tmp_path: Path) -> None:
    assert refused(tmp_path / "absent.mha") is Code.FILE_MISSING
    (tmp_path / "folder.mha").mkdir()
    assert refused(tmp_path / "folder.mha") is Code.FILE_UNREADABLE


def in_subfolder(tmp_path: Path, ramp: Array, suffix: str, old: str, new: str) -> Path:
    """A header in a folder of its own, its voxels one folder up; the name of their file is ``new``."""
    beside = written(tmp_path / f"a{suffix}", image_of(ramp))
    header = tmp_path / "inner" / f"a{suffix}"
    header.parent.mkdir()
    text = beside.read_text()
    assert old in text
    header.write_text(text.replace(old, new))
    return header


OUTSIDE = ["../a.raw", "{absolute}", "x/../../a.raw", "~/a.raw", "..\\a.raw", "C:\\a.raw", "LIST\n../a.raw"]


@pytest.mark.parametrize(("suffix", "key"), [(".mhd", "ElementDataFile = "), (".nhdr", "data file: ")])
@pytest.mark.parametrize("name", [*OUTSIDE, "../a%d.raw 1 5 1"])
def test_voxels_outside_the_headers_folder(
    tmp_path: Path, ramp: Array, suffix: str, key: str, name: str
) -> None:
    name = name.replace("{absolute}", str(tmp_path / "a.raw"))
    path = in_subfolder(tmp_path, ramp, suffix, f"{key}a.raw", f"{key}{name}\n")
    with pytest.raises(MedsegError) as caught:
        itk.read(path)
    assert caught.value.code is Code.DATA_FILE_OUTSIDE
    assert "a" in caught.value.finding.details and "beside the header" in caught.value.finding.how_to_fix


@pytest.mark.parametrize(
    "line", ["  ElementDataFile : ../a.raw\nElementDataFile = b.raw", "ElementDataFile=../a.raw"]
)
def test_other_spellings_of_a_file_outside(tmp_path: Path, ramp: Array, line: str) -> None:
    path = in_subfolder(tmp_path, ramp, ".mhd", "ElementDataFile = a.raw", line)
    assert refused(path) is Code.DATA_FILE_OUTSIDE


@pytest.mark.parametrize("blank", ["", " ", "\t ", "\r", "\x0b", " \x0c "])
@pytest.mark.parametrize(("suffix", "key"), [(".mhd", "ElementDataFile ="), (".nhdr", "data file:")])
def test_a_header_that_names_no_file_of_voxels(
    tmp_path: Path, ramp: Array, suffix: str, key: str, blank: str
) -> None:
    path = in_subfolder(tmp_path, ramp, suffix, f"{key} a.raw", f"{key}{blank}")
    (path.parent / "next").write_bytes(b"")
    for following in ("", "\n", "\nnext\n"):  # the line after it is no value of its own
        path.write_bytes(path.read_bytes().rstrip() + following.encode())
        assert refused(path) is Code.NOT_AN_IMAGE


@pytest.mark.parametrize("suffix", [".mhd", ".nhdr"])
def test_voxels_in_a_folder_below_the_header_are_read(tmp_path: Path, ramp: Array, suffix: str) -> None:
    path = written(tmp_path / f"a{suffix}", image_of(ramp))
    (tmp_path / "voxels").mkdir()
    (tmp_path / "a.raw").rename(tmp_path / "voxels" / "a.raw")
    path.write_text(path.read_text().replace("a.raw", "voxels/a.raw"))
    np.testing.assert_array_equal(itk.read(path).array[0], ramp)


@pytest.mark.parametrize("value", ["LIST\n{0}\n{1}\n{2}\n{3}\n{4}", "slice%d.raw 0 4 1"])
def test_a_list_of_slices_is_read_and_must_be_whole(tmp_path: Path, ramp: Array, value: str) -> None:
    names = [f"slice{z}.raw" for z in range(5)]
    for z, name in enumerate(names):
        (tmp_path / name).write_bytes(ramp[:, :, z].tobytes(order="F"))
    path = written(tmp_path / "a.mhd", image_of(ramp))
    path.write_text(path.read_text().replace("a.raw", value.format(*names)))
    np.testing.assert_array_equal(itk.read(path).array[0], ramp)
    (tmp_path / names[3]).write_bytes(b"\0" * 23)
    assert refused(path) is Code.TRUNCATED
    (tmp_path / names[3]).unlink()
    assert refused(path) is Code.FILE_MISSING


@pytest.mark.parametrize(
    "value", ["%s.raw 1 3 1", "%s.raw", "x %n.raw", "%099999999d 1 2", "a%d.raw x 3", "a%d.raw 1 3 0"]
)
def test_an_impossible_pattern_of_files_is_no_image(tmp_path: Path, ramp: Array, value: str) -> None:
    path = written(tmp_path / "a.mhd", image_of(ramp))
    path.write_text(path.read_text().replace("a.raw", value))
    (tmp_path / value).write_bytes(ramp.tobytes())
    assert refused(path) is Code.NOT_AN_IMAGE


def nrrd(tmp_path: Path, ramp: Array, fields: str) -> Path:
    path = tmp_path / "a.nrrd"
    head = f"NRRD0005\ntype: int16\ndimension: 3\nsizes: 3 4 5\n{fields}\nendian: little\nencoding: raw\n\n"
    path.write_bytes(head.encode() + ramp.tobytes(order="F"))
    return path


SPACE = "space: RAS\nspace directions: (2,0,0) (0,3,0) (0,0,4)\nspace origin: (5,6,7)\n"


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("mm", 1), ("", 1), ("um", 0.001), ("µm", 0.001), ("microns", 0.001), ("Meter", 1000), ("cm", 10)],
)
def test_space_units_of_nrrd_become_mm(tmp_path: Path, ramp: Array, unit: str, factor: float) -> None:
    volume = itk.read(nrrd(tmp_path, ramp, SPACE + f'space units: "{unit}" "{unit}" "{unit}"'))
    expected = np.diag([2.0, 3, 4, 1])
    expected[:3, 3] = 5, 6, 7
    expected[:3] *= factor
    np.testing.assert_allclose(volume.grid.affine, expected)
    assert codes(volume) == ({Code.UNITS_CONVERTED} if factor != 1 else set())


def test_units_of_nrrds_axes_become_mm(tmp_path: Path, ramp: Array) -> None:
    volume = itk.read(nrrd(tmp_path, ramp, 'spacings: 200 300 4\nunits: "um" "um" "mm"'))
    np.testing.assert_allclose(volume.grid.spacing, (0.2, 0.3, 4))
    assert Code.UNITS_CONVERTED in codes(volume)


def test_an_unknown_unit_is_refused(tmp_path: Path, ramp: Array) -> None:
    assert refused(nrrd(tmp_path, ramp, SPACE + 'space units: "ell" "ell" "ell"')) is Code.UNITS_UNKNOWN


@pytest.mark.parametrize(("unit", "factor"), [("um", 0.001), ("mm", 1), ("cm", 10), ("?", 1)])
def test_distance_units_of_metaimage_become_mm(tmp_path: Path, ramp: Array, unit: str, factor: float) -> None:
    path = written(tmp_path / "a.mha", image_of(ramp))
    path.write_bytes(
        path.read_bytes().replace(b"ElementType", f"DistanceUnits = {unit}\nElementType".encode())
    )
    np.testing.assert_allclose(itk.read(path).grid.spacing, np.array([2, 3, 4]) * factor)

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

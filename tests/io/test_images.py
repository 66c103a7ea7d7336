"""Pictures become one-slice volumes in px; damaged ones a code, never a crash."""

from __future__ import annotations

import struct
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from medseg.errors import Code, MedsegError
from medseg.io import images, scans
from tests.helpers.images import draw, save, stripes, truncate

RGB = draw()
LUMA = np.asarray(Image.fromarray(RGB).convert("L"))
NOISE = draw(1, (60, 80))


def code_of(path: Path, **keywords: int) -> Code:
    with pytest.raises(MedsegError) as caught:
        images.read(path, **keywords)
    return caught.value.code


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".TIFF"])
def test_colours_are_channels_and_rows_come_first(tmp_path: Path, suffix: str) -> None:
    volume = scans.read(save(tmp_path / f"a{suffix}", RGB), channels_last=True)
    assert volume.array.shape == (3, 12, 16, 1) and volume.array.dtype == np.uint8
    assert (volume.grid.shape, volume.grid.unit, volume.grid.spacing) == ((12, 16, 1), "px", (1, 1, 1))
    np.testing.assert_array_equal(volume.array[..., 0], np.moveaxis(RGB, -1, 0))


def test_a_gif_is_its_greys_or_indices_and_one_frame_alone(tmp_path: Path) -> None:
    path = save(tmp_path / "a.GIF", LUMA)
    np.testing.assert_array_equal(images.read(path).array[0, ..., 0], LUMA)
    np.testing.assert_array_equal(images.read_values(path).array[0, ..., 0], LUMA)
    image = Image.fromarray(LUMA % 3)
    image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    image.save(tmp_path / "palette.gif")
    np.testing.assert_array_equal(images.read_values(tmp_path / "palette.gif").array[0, ..., 0], LUMA % 3)
    assert images.read_palette(path) is None and images.read_palette(tmp_path / "palette.gif") is not None
    image.save(tmp_path / "moving.gif", save_all=True, append_images=[Image.fromarray(255 - LUMA)])
    with pytest.raises(MedsegError) as caught:
        images.read(tmp_path / "moving.gif")
    assert caught.value.code is Code.FOUR_D and caught.value.finding.details == "2 frames"


def test_jpeg_is_near_what_was_saved(tmp_path: Path) -> None:
    smooth = np.broadcast_to(np.arange(0, 160, 10, np.uint8)[:, None], (12, 16, 3))
    read = images.read(save(tmp_path / "a.JPG", smooth), channels_last=True).array
    assert np.abs(read[..., 0].astype(int) - np.moveaxis(smooth, -1, 0)).max() <= 4


def test_one_channel_of_colours_is_their_luma(tmp_path: Path) -> None:
    np.testing.assert_array_equal(images.read(save(tmp_path / "a.png", RGB)).array[0, ..., 0], LUMA)


def test_a_grey_picture_in_colours_is_itself_three_times(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", LUMA)
    np.testing.assert_array_equal(images.read(path, channels_last=True).array[..., 0], [LUMA] * 3)
    assert images.is_grey(path) and not images.is_grey(save(tmp_path / "b.png", RGB))
    assert not images.is_grey(tmp_path / "absent.png")


def test_alpha_is_dropped(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.dstack([RGB, LUMA]))
    np.testing.assert_array_equal(
        images.read(path, channels_last=True).array[..., 0], np.moveaxis(RGB, -1, 0)
    )
    np.testing.assert_array_equal(
        images.read(save(tmp_path / "b.png", np.dstack([LUMA, LUMA]))).array[0, ..., 0], LUMA
    )


def test_a_palette_is_seen_as_colours_and_stored_as_indices(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", stripes([0, 1, 2]), palette=[(0, 0, 0), (128, 0, 0), (0, 128, 0)])
    assert images.read(path, channels_last=True).array[:, 0, 1, 0].tolist() == [128, 0, 0]
    np.testing.assert_array_equal(images.read_values(path).array[0, ..., 0], stripes([0, 1, 2]))
    shown = images.read_values(path, palette_as_colours=True).array
    assert shown[:, 0, 2, 0].tolist() == [0, 128, 0]


def test_sixteen_bits_stay(tmp_path: Path) -> None:
    deep = np.arange(192, dtype=np.uint16).reshape(12, 16) * 300
    for name in ("a.png", "a.tif"):
        volume = images.read(save(tmp_path / name, deep))
        assert volume.array.dtype == np.uint16
        np.testing.assert_array_equal(volume.array[0, ..., 0], deep)


@pytest.mark.parametrize(
    ("dtype", "scale"),
    [(np.int32, -(2**23)), (np.uint32, 2**24), (np.int16, -100), (np.float32, 1e30), (np.float64, 1e300)],
)
def test_large_values_of_a_tiff_stay(tmp_path: Path, dtype: type, scale: float) -> None:
    deep = (np.arange(192).reshape(12, 16) * scale).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", deep)
    volume = images.read(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume.array[0, ..., 0], deep)


@pytest.mark.parametrize(("dtype", "top"), [(np.uint16, 65535), (np.uint32, 2**32 - 1), (np.int16, -32768)])
def test_the_luma_of_white_is_white_in_every_dtype(tmp_path: Path, dtype: type, top: int) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((12, 16, 3), top, dtype), photometric="rgb")
    assert np.unique(images.read(tmp_path / "a.tif").array).tolist() == [top]


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.float32])
def test_the_luma_of_blocks_is_that_of_all_pixels_at_once(
    dtype: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (9, 7, 3)).astype(dtype)
    whole = images._luma(pixels, Path("a.tif"))
    monkeypatch.setattr(images, "_BLOCK", 10)
    np.testing.assert_array_equal(images._luma(pixels, Path("a.tif")), whole)
    assert whole.dtype == dtype and whole.shape == (9, 7)


def test_complex_pixels_are_no_grey_values(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.ones((12, 16), np.complex64))
    assert code_of(tmp_path / "a.tif") is Code.NOT_SCALAR


def test_one_bit_is_black_and_white_or_0_and_1(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", stripes([0, 1]).astype(bool))
    assert np.unique(images.read(path).array).tolist() == [0, 255]
    assert np.unique(images.read_values(path).array).tolist() == [0, 1]


def test_tifffile_takes_what_pillow_cannot(tmp_path: Path) -> None:
    colours = draw().astype(np.uint16) * 200
    tifffile.imwrite(tmp_path / "a.tif", colours, photometric="rgb")
    tifffile.imwrite(
        tmp_path / "b.tif", np.moveaxis(colours, -1, 0), photometric="rgb", planarconfig="separate"
    )
    for name in ("a.tif", "b.tif"):
        volume = images.read(tmp_path / name, channels_last=True)
        assert volume.array.dtype == np.uint16
        np.testing.assert_array_equal(volume.array[..., 0], np.moveaxis(colours, -1, 0))
    grey = images.read(tmp_path / "a.tif").array
    assert grey.dtype == np.uint16 and grey.max() > 255


def test_exif_orientation_turns_the_picture_with_a_note(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned right when shown
    for name in ("a.png", "a.tif"):
        Image.fromarray(RGB).save(tmp_path / name, exif=exif)
        volume = images.read(tmp_path / name, channels_last=True)
        assert [note.code for note in volume.notes] == [Code.TURNED_UPRIGHT]
        np.testing.assert_array_equal(volume.array[..., 0], np.moveaxis(np.rot90(RGB, -1), -1, 0))
        mask = images.read_values(tmp_path / name)
        assert mask.grid.shape == (16, 12, 1)


def test_the_content_counts_not_the_suffix(tmp_path: Path) -> None:
    Image.fromarray(RGB).save(tmp_path / "a.jpg", format="PNG")
    assert images.read(tmp_path / "a.jpg", channels_last=True).array.shape == (3, 12, 16, 1)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".tif", ".gif"])
@pytest.mark.parametrize("share", [0.2, 0.6, 0.95])
def test_a_truncated_picture_has_its_code(tmp_path: Path, suffix: str, share: float) -> None:
    path = truncate(save(tmp_path / f"a{suffix}", NOISE), share)
    assert code_of(path) in {Code.TRUNCATED, Code.NOT_AN_IMAGE}


def test_a_flipped_byte_in_a_png_is_found(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", NOISE)
    held = bytearray(path.read_bytes())
    held[len(held) // 2] ^= 1
    path.write_bytes(held)
    assert code_of(path) is Code.TRUNCATED


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text.png").write_text("hello, this is no picture")
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.tif").symlink_to(tmp_path / "gone.tif")
    (tmp_path / "short.tif").write_bytes(b"II*\0\x08\0\0\0")
    codes = {name: code_of(tmp_path / name) for name in ("text.png", "empty.jpg", "folder.png", "link.tif")}
    assert codes == {
        "text.png": Code.NOT_AN_IMAGE,
        "empty.jpg": Code.TRUNCATED,
        "folder.png": Code.FILE_UNREADABLE,
        "link.tif": Code.FILE_UNREADABLE,
    }
    assert code_of(tmp_path / "absent.png") is Code.FILE_MISSING
    assert code_of(tmp_path / "short.tif") in {Code.NOT_AN_IMAGE, Code.TRUNCATED}


def test_sizes_and_pages_are_refused_before_memory_is_taken(tmp_path: Path) -> None:
    with pytest.raises(MedsegError) as caught:
        images.read(save(tmp_path / "row.png", RGB[:1]))
    assert caught.value.code is Code.TOO_SMALL
    assert caught.value.finding.details == "1×16 pixels" and "two rows" in caught.value.finding.how_to_fix
    assert code_of(save(tmp_path / "a.png", RGB), max_voxels=100) is Code.TOO_LARGE
    head = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    data = b"IDAT" + zlib.compress(bytes(1000))
    (tmp_path / "bomb.png").write_bytes(
        start + struct.pack(">I", len(data) - 4) + data + struct.pack(">I", zlib.crc32(data))
    )
    assert code_of(tmp_path / "bomb.png") is Code.TOO_LARGE
    Image.fromarray(RGB).save(tmp_path / "two.tif", save_all=True, append_images=[Image.fromarray(RGB)])
    assert code_of(tmp_path / "two.tif") is Code.FOUR_D


def test_a_large_picture_is_refused_without_a_warning_in_many_threads(tmp_path: Path) -> None:
    head = b"IHDR" + struct.pack(
        ">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0
    )  # pillow warns, it does not refuse
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    (tmp_path / "large.png").write_bytes(
        start + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    )
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(code_of, [tmp_path / "large.png"] * 20)) == {Code.TOO_LARGE}


def test_channels_of_other_counts_have_no_grey_value(tmp_path: Path) -> None:
    tifffile.imwrite(
        tmp_path / "a.tif", np.zeros((12, 16, 5), np.float64), photometric="minisblack", planarconfig="contig"
    )
    assert images.read(tmp_path / "a.tif", channels_last=True).array.shape == (5, 12, 16, 1)
    assert code_of(tmp_path / "a.tif") is Code.NOT_SCALAR


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(("a.png", True), ("a.JPEG", True), ("a.tif", True), ("a.nii.gz", False), ("a.txt", False)),
        *((".a.png", False), (".part-a.png", False)),
    ],
)
def test_pictures_are_told_from_scans_by_name(name: str, expected: bool) -> None:
    assert (scans.detect_kind(Path("folder", name)) == "px") is expected

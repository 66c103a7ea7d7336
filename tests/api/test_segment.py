"""`medseg.segment`: every form of one scan gives the label map that `medseg segment` writes."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

import medseg
from medseg import files
from medseg.console import Reporter
from medseg.errors import Code
from medseg.io.dicom.series import read_export
from pipelines.commands import segment as command
from pipelines.commands.segment import Settings
from tests.api.conftest import MakeModel
from tests.helpers.dicom_files import write_series
from tests.helpers.scan_files import STEP, save


def labels_of(result: medseg.Segmentation) -> Any:
    return np.asarray(result.labels.dataobj)


@pytest.fixture
def written(scan: Path, make_model: MakeModel, tmp_path: Path) -> Any:
    """The label map and confidence map that the command writes, and its JSON."""
    say = Reporter(stream=io.StringIO(), results=io.StringIO())
    command.run([scan], tmp_path / "out", Settings(make_model(), device="cpu", confidence=True), say)
    labels, confidence = (nib.load(tmp_path / f"out/scan{end}.nii.gz") for end in ("", "_confidence"))
    return labels, confidence, files.read_json(tmp_path / "out/scan.json")


def test_every_form_of_a_scan_gives_what_the_command_writes(
    scan: Path, brain: Any, model: medseg.Model, written: Any, tmp_path: Path
) -> None:
    labels, confidence, content = written
    before = brain.copy()
    forms: list[tuple[Any, Any]] = [(scan, None), (str(scan), None), (nib.load(scan), None), (brain, STEP)]
    forms += [(nib.Nifti1Image(brain, STEP), None), (nib.MGHImage(brain.astype(np.int32), STEP), None)]
    there = sorted(tmp_path.rglob("*"))
    assert len(np.unique(labels.dataobj)) > 1
    for given, affine in forms:
        result = medseg.segment(given, model, affine=affine)
        assert np.array_equal(labels_of(result), labels.dataobj)
        assert result.confidence is not None
        assert np.array_equal(result.confidence.dataobj, confidence.dataobj)
        assert result.labels.shape == brain.shape
        np.testing.assert_allclose(result.labels.affine, labels.affine)
        assert {name: round(ml, 4) for name, ml in result.volumes_ml.items()} == content["sizes"]
        assert round(result.quality, 6) == content["quality"]
    assert np.array_equal(brain, before)
    assert sorted(tmp_path.rglob("*")) == there  # nothing was written


def test_probabilities_are_read_as_shares_that_agree_with_the_labels(
    scan: Path, model: medseg.Model, tmp_path: Path
) -> None:
    result = medseg.segment(scan, model, probabilities=True)
    image = result.probabilities
    assert image is not None and medseg.segment(scan, model).probabilities is None
    shares, labels = image.get_fdata(), labels_of(result)
    assert image.shape == (*labels.shape, len(result.classes))
    assert np.array_equal(np.array(list(result.classes))[shares.argmax(axis=-1)], labels)
    assert np.abs(shares.sum(axis=-1) - 1).max() < 1e-6
    np.testing.assert_allclose(image.affine, result.labels.affine)
    result.save(tmp_path / "out/a.nii.gz")
    saved = nib.load(tmp_path / "out/a_probabilities.nii.gz")
    assert np.array_equal(saved.get_fdata(), shares)


@pytest.mark.parametrize("scaling", [None, (0.37, -5.0), (2.5e-7, 1000.0)])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_an_image_of_a_scaled_or_big_endian_file_is_the_file(
    tmp_path: Path, brain: Any, model: medseg.Model, scaling: Any, suffix: str
) -> None:
    header = nib.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    image = nib.Nifti1Image(brain, STEP, header)
    if scaling:
        image.header.set_slope_inter(*scaling)
        image = nib.Nifti1Image(brain * scaling[0] + scaling[1], STEP, image.header)
        image.header.set_data_dtype(np.int16)
    path = tmp_path / f"a{suffix}"
    image.to_filename(path)
    of_file, of_image = medseg.segment(path, model), medseg.segment(nib.load(path), model)
    assert np.array_equal(labels_of(of_file), labels_of(of_image))
    assert of_file.quality == of_image.quality
    assert [note.code for note in of_file.notes] == [note.code for note in of_image.notes]
    assert Code.BIG_ENDIAN in [note.code for note in of_image.notes]
    assert {note.where for note in of_image.notes} == {"scan"}


def test_an_oblique_image_keeps_its_place(brain: Any, model: medseg.Model) -> None:
    turn = nib.eulerangles.euler2mat(0.1, 0.2, 0.05)
    affine = nib.affines.from_matvec(turn @ np.diag([-1.0, 1.2, 2.0]), [10, -20, 30])
    result = medseg.segment(brain, model, affine=affine)
    np.testing.assert_array_equal(result.labels.affine, affine)
    assert {note.code for note in result.notes} >= {Code.OBLIQUE, Code.FLIPPED}


def test_channels_are_named_or_along_the_fourth_axis(brain: Any, make_model: MakeModel) -> None:
    model = medseg.load_model(make_model(channels=("t1", "flair")))
    flair = np.ascontiguousarray(brain[::-1])
    by_name = medseg.segment({"flair": flair, "t1": brain}, model, affine=STEP)
    in_one = medseg.segment(np.stack([brain, flair], axis=-1), model, affine=STEP)
    swapped = medseg.segment({"t1": flair, "flair": brain}, model, affine=STEP)
    assert np.array_equal(labels_of(by_name), labels_of(in_one))
    assert not np.array_equal(labels_of(by_name), labels_of(swapped))
    with pytest.raises(
        medseg.MedsegError, match=r"CHANNEL_MISSING scan: channels t1; the model's are t1, fl"
    ):
        medseg.segment({"t1": brain}, model, affine=STEP)
    bad = np.full(brain.shape, 7)
    with pytest.raises(medseg.MedsegError, match=r"CONSTANT scan\['flair'\]: every voxel is 7"):
        medseg.segment({"t1": brain, "flair": bad}, model, affine=STEP)


def test_a_dicom_folder_and_its_series_are_scans(tmp_path: Path, brain: Any, model: medseg.Model) -> None:
    affine = np.array([[-1.0, 0, 0, 9], [0, 1.5, 0, -12], [0, 0, 2, 5], [0, 0, 0, 1]])
    folder = tmp_path / "DOE^JANE"
    write_series(folder / "a", brain.astype(np.uint16), affine)
    result = medseg.segment(folder, model)
    (volume,) = read_export(folder).volumes
    assert np.array_equal(labels_of(result), labels_of(medseg.segment(volume, model)))
    np.testing.assert_allclose(np.abs(result.labels.affine[:3, :3]).max(axis=0), [1, 1.5, 2])
    write_series(folder / "b", brain.astype(np.uint16), affine)
    with pytest.raises(medseg.MedsegError, match="SERIES_AMBIGUOUS scan: 2 series fit the model") as caught:
        medseg.segment(folder, model)
    assert "DOE" not in str(caught.value)


def test_a_folder_without_a_series_is_refused(tmp_path: Path, scan: Path, model: medseg.Model) -> None:
    with pytest.raises(medseg.MedsegError, match="NOTHING_USABLE scan: a folder without DICOM series"):
        medseg.segment(scan.parent, model)


def test_a_result_is_saved_as_the_command_saves_it(
    scan: Path, model: medseg.Model, written: Any, tmp_path: Path
) -> None:
    result = medseg.segment(scan, model)
    assert result.save(str(tmp_path / "saved/deep/a.nii.gz")) == tmp_path / "saved/deep/a.nii.gz"
    assert (tmp_path / "saved/deep/a.nii.gz").read_bytes() == (tmp_path / "out/scan.nii.gz").read_bytes()
    names = sorted(path.name for path in (tmp_path / "saved/deep").iterdir())
    assert names == ["a.json", "a.nii.gz", "a_confidence.nii.gz"]
    content = files.read_json(tmp_path / "saved/deep/a.json")
    assert (content["case"], content["model_sha256"]) == ("a", model.sha256)
    assert content["sizes"] == written[2]["sizes"]
    for path, code in (("a.nii", Code.USAGE), (".nii.gz", Code.USAGE), (3, Code.USAGE)):
        with pytest.raises(medseg.MedsegError) as caught:
            result.save(path)  # type: ignore[arg-type]
        assert (caught.value.code, caught.value.finding.where) == (code, "path")
    with pytest.raises(medseg.MedsegError, match="USAGE path: "):
        result.save(scan / "a.nii.gz")  # below a file


def test_overlapping_masks_lie_along_the_last_axis(brain: Any, make_model: MakeModel, tmp_path: Path) -> None:
    from medseg.classes import ClassList

    masks = ClassList.of_masks({"whole": [], "core": []})
    about: dict[str, Any] = {"classes": tuple(masks.to_json())}
    result = medseg.segment(brain, medseg.load_model(make_model(**about)), affine=STEP)
    assert result.labels.shape == (*brain.shape, 2)
    assert result.classes == {0: "whole", 1: "core"}
    assert set(np.unique(result.labels.dataobj)) <= {0, 1}
    sizes = np.count_nonzero(result.labels.dataobj, axis=(0, 1, 2)) * 2.0 / 1000
    np.testing.assert_allclose(sizes, list(result.volumes_ml.values()))
    result.save(tmp_path / "masks/a.nii.gz")
    assert (tmp_path / "masks/a_core.nii.gz").is_file()
    with pytest.raises(medseg.MedsegError, match="USAGE prediction: masks that may overlap"):
        medseg.evaluate(brain > 0, result, affine=STEP)


def test_the_figure_is_a_png_of_three_planes(brain: Any, model: medseg.Model) -> None:
    result = medseg.segment(brain, model, affine=STEP)
    figure = Image.open(io.BytesIO(result.figure()))
    assert figure.format == "PNG"
    assert figure.width > 3 * 100
    assert result._repr_png_() == result.figure()
    assert repr(result).startswith("Segmentation(csf ")


def test_images_are_paths_and_have_areas(tmp_path: Path, brain: Any, make_model: MakeModel) -> None:
    model = medseg.load_model(make_model(channels=("grey",), unit="px", depth=1))
    Image.fromarray(brain[:, :, 3].astype(np.uint8)).save(tmp_path / "a.png")
    result = medseg.segment(tmp_path / "a.png", model)
    assert (result.size_unit, result._repr_png_()) == ("px", None)
    assert sum(result.sizes.values()) == np.count_nonzero(result.labels.dataobj)
    for ask in (lambda: result.volumes_ml, result.figure):
        with pytest.raises(medseg.MedsegError, match="UNIT_MISMATCH"):
            ask()
    assert result.save(tmp_path / "o/a.png").is_file()
    scores = medseg.evaluate(tmp_path / "o/a.png", result)
    assert [values["dice"] for values in scores.values()] == [1, 1]
    assert "bf" in scores["csf"]
    with pytest.raises(medseg.MedsegError, match="UNIT_MISMATCH scan: a grid in mm"):
        medseg.segment(brain, model, affine=STEP)


def test_a_damaged_file_behind_an_image_is_truncated(tmp_path: Path, brain: Any, model: medseg.Model) -> None:
    path = save(tmp_path / "a.nii.gz", brain)
    image = nib.load(path)
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes())[:-500]))
    with pytest.raises(medseg.MedsegError, match="TRUNCATED scan: "):
        medseg.segment(image, model)

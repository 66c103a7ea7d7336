"""`medseg segment` on good scans, oddities and broken files together: every input is accounted for."""

from __future__ import annotations

import errno
import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.infer import batch
from medseg.io import nifti_writer
from pipelines.commands import segment
from pipelines.commands.segment import Settings
from tests.helpers.scan_files import STEP, save

MakeModel = Callable[..., Path]


def mixed(folder: Path, brain: Any) -> dict[str, str]:
    """Write one scan of every kind; name → its expected code ('' for done)."""
    rotated = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.3, 0.1, 0.2)) @ STEP
    sheared = STEP.copy()
    sheared[0, 1] = 0.3
    moved = STEP.copy()
    moved[0, 3] = 5.0
    save(folder / "good.nii.gz", brain)
    save(folder / "singleton.nii.gz", brain[..., None])
    save(folder / "oblique.nii.gz", brain, rotated)
    save(folder / "flipped.nii.gz", brain, np.diag([-1.0, -1.0, 2.0, 1.0]))
    save(folder / "sform_only.nii.gz", brain, qform=0)
    save(folder / "no_form.nii.gz", brain, qform=0, sform=0)
    scaled = nib.Nifti1Image(brain.astype(np.float32) * 0.5, STEP)
    scaled.header.set_slope_inter(0.5, 1.0)
    scaled.set_data_dtype(np.int16)
    scaled.to_filename(folder / "scaled.nii.gz")
    nib.Nifti1Image(brain, STEP, nib.Nifti1Header(endianness=">")).to_filename(folder / "big_endian.nii")
    save(folder / "forms_apart.nii.gz", brain, qaffine=moved)
    save(folder / "sheared.nii.gz", brain, sheared, qform=0)
    holes = brain.astype(np.float32)
    holes[5, 5, 5] = np.nan
    save(folder / "nan.nii.gz", holes)
    save(folder / "constant.nii.gz", np.full_like(brain, 7))
    save(folder / "four_d.nii.gz", np.stack([brain, brain], axis=-1))
    rgb = np.zeros(brain.shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.Nifti1Image(rgb, STEP).to_filename(folder / "rgb.nii.gz")
    whole = (folder / "good.nii.gz").read_bytes()
    (folder / "truncated.nii.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "text.nii.gz").write_bytes(gzip.compress(b"no image at all"))
    return {
        "good": "",
        "singleton": "SINGLETON_AXIS",
        "oblique": "OBLIQUE",
        "flipped": "FLIPPED",
        "sform_only": "ONE_FORM",
        "no_form": "NO_ORIENTATION",
        "scaled": "SCALED",
        "big_endian": "BIG_ENDIAN",
        "forms_apart": "SFORM_QFORM_DISAGREE",
        "sheared": "SHEARED",
        "nan": "NAN_OR_INF",
        "constant": "CONSTANT",
        "four_d": "FOUR_D",
        "rgb": "NOT_SCALAR",
        "truncated": "TRUNCATED",
        "text": "NOT_AN_IMAGE",
    }


GOOD = 8


def test_every_input_is_segmented_or_set_aside_with_its_code(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter
) -> None:
    expected = mixed(tmp_path / "in", brain)
    out = tmp_path / "out"
    ended = segment.run([tmp_path / "in"], out, Settings(make_model()), say)
    assert ended == ExitCode.SOME_EXCLUDED
    rows = {r["case"]: r for r in files.read_csv(out / "summary.csv")}
    assert rows.keys() == expected.keys()
    for name, code in expected.items():
        assert code in rows[name]["code"], rows[name]
    excluded = {r["case"]: r["code"] for r in files.read_csv(out / "quarantine.csv")}
    assert len(excluded) == len(expected) - GOOD
    assert files.read_json(out / "run.json")["inputs"] == len(expected)
    for name in expected:
        assert (out / f"{name}.nii.gz").exists() == (name not in excluded)


def test_label_maps_lie_on_their_scans_own_grid(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter
) -> None:
    mixed(tmp_path / "in", brain)
    out = tmp_path / "out"
    segment.run([tmp_path / "in"], out, Settings(make_model(), confidence=True), say)
    for made in (p for p in out.glob("*.nii.gz") if "_confidence" not in p.name):
        (source,) = (tmp_path / "in").glob(made.name.removesuffix(".gz") + "*")
        scan, label = nib.load(source), nib.load(made)
        assert label.shape == scan.shape[:3]
        assert label.get_data_dtype() == np.uint8
        np.testing.assert_array_equal(label.affine, scan.affine)
        for form in ("sform_code", "qform_code"):
            assert label.header[form] == scan.header[form]
        confidence = nib.load(out / made.name.replace(".nii.gz", "_confidence.nii.gz"))
        assert 0 <= np.asarray(confidence.dataobj).min() <= np.asarray(confidence.dataobj).max() <= 1


def test_a_second_run_skips_what_is_done_and_redoes_what_changed(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter
) -> None:
    for name in "abc":
        save(tmp_path / "in" / f"{name}.nii.gz", (brain + (brain > 0) * ord(name)).astype(np.int16))
    model, out = make_model(), tmp_path / "out"
    segment.run([tmp_path / "in"], out, Settings(model), say)
    before = {p.name: p.read_bytes() for p in out.glob("*.nii.gz")}
    save(tmp_path / "in" / "b.nii.gz", brain * 2)
    (out / "c.nii.gz").write_bytes(b"damaged")
    segment.run([tmp_path / "in"], out, Settings(model), say)
    status = {r["case"]: r["status"] for r in files.read_csv(out / "summary.csv")}
    assert status["a"] == "skipped"
    assert status["b"] != "skipped"
    assert (out / "c.nii.gz").read_bytes() == before["c.nii.gz"]
    segment.run([tmp_path / "in"], out, Settings(model, mode="vote"), say)
    assert all(r["status"] != "skipped" for r in files.read_csv(out / "summary.csv"))


def test_equal_names_get_their_folder_and_label_files_are_left_out(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter
) -> None:
    save(tmp_path / "in/one/t1.nii.gz", brain)
    save(tmp_path / "in/two/t1.nii.gz", brain)
    save(tmp_path / "in/two/t1_seg.nii.gz", brain)
    (tmp_path / "in/readme.txt").write_text("hello")
    model = make_model()
    segment.run([tmp_path / "in"], tmp_path / "out", Settings(model), say)
    assert {r["case"] for r in files.read_csv(tmp_path / "out/summary.csv")} == {"one_t1", "two_t1"}
    left_out = files.read_json(tmp_path / "out/run.json")["left_out"]
    assert sorted(Path(p).name for p in left_out) == ["readme.txt", "t1_seg.nii.gz"]
    asked = Settings(model, include_labels=True)
    segment.run([tmp_path / "in"], tmp_path / "all", asked, say)
    assert len(files.read_csv(tmp_path / "all/summary.csv")) == 3


def test_two_channels_are_found_by_their_endings_and_a_missing_one_is_coded(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter
) -> None:
    for name in ("a_flair", "a_t1", "b_flair"):
        save(tmp_path / "in" / f"{name}.nii.gz", brain)
    model = make_model(channels=("flair", "t1"))
    ended = segment.run([tmp_path / "in"], tmp_path / "out", Settings(model), say)
    rows = {r["case"]: r for r in files.read_csv(tmp_path / "out/summary.csv")}
    assert ended == ExitCode.SOME_EXCLUDED
    assert rows["a"]["status"].startswith("done")
    assert rows["b"]["code"] == "CHANNEL_MISSING"


def test_nothing_usable_ends_with_its_own_code(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter
) -> None:
    save(tmp_path / "in/constant.nii.gz", np.full_like(brain, 3))
    model = make_model()
    assert segment.run([tmp_path / "in"], tmp_path / "out", Settings(model), say) == ExitCode.NOTHING_USABLE
    (tmp_path / "empty").mkdir()
    with pytest.raises(MedsegError) as caught:
        segment.run([tmp_path / "empty"], tmp_path / "out", Settings(model), say)
    assert caught.value.code == Code.NOTHING_USABLE
    with pytest.raises(MedsegError) as caught:
        segment.run([tmp_path / "nowhere"], tmp_path / "out", Settings(model), say)
    assert caught.value.code == Code.PATH_MISSING


def breaking(way: str, scan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a scan unusable for the next command."""
    if way == "cut short":
        scan.write_bytes(scan.read_bytes()[:100])
    elif way == "unreachable":
        scan.rename(scan.with_name("elsewhere"))
        scan.symlink_to(scan.with_name("not_mounted") / scan.name)
    else:
        monkeypatch.setattr(batch, "predict_case", lambda *_, **__: (_ for _ in ()).throw(MemoryError()))


@pytest.mark.parametrize("way", ["cut short", "unreachable", "memory"])
def test_an_earlier_result_outlives_a_scan_that_cannot_be_used_now(
    tmp_path: Path,
    brain: Any,
    make_model: MakeModel,
    say: Reporter,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
) -> None:
    scan = save(tmp_path / "in/a.nii.gz", brain)
    model, out = make_model(), tmp_path / "out"
    segment.run([scan], out, Settings(model, confidence=True), say)
    before = {p.name: p.read_bytes() for p in out.glob("a*")}
    assert len(before) == 3
    with monkeypatch.context() as patch:
        breaking(way, scan, patch)
        asked = Settings(model, mode="vote")  # another mode, so that the earlier result would not do
        assert segment.run([scan], out, asked, say) == ExitCode.NOTHING_USABLE
    assert {p.name: p.read_bytes() for p in out.glob("a*")} == before
    for table, column in (("summary.csv", "note"), ("quarantine.csv", "details")):
        (row,) = files.read_csv(out / table)
        assert row[column].endswith("the earlier result a.nii.gz is kept")


def test_no_earlier_result_is_named_where_there_is_none(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter
) -> None:
    scan = save(tmp_path / "in/a.nii.gz", np.full_like(brain, 7))
    segment.run([scan], tmp_path / "out", Settings(make_model()), say)
    (row,) = files.read_csv(tmp_path / "out/quarantine.csv")
    assert "kept" not in row["details"]


def test_a_full_disk_ends_the_command_and_keeps_what_is_there(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = save(tmp_path / "in/a.nii.gz", brain)
    model, out = make_model(), tmp_path / "out"
    segment.run([scan], out, Settings(model), say)
    before = {p.name: p.read_bytes() for p in out.glob("a*")}

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(nifti_writer, "_write_stream", full)
    with pytest.raises(MedsegError) as caught:
        segment.run([scan], out, Settings(model, mode="vote"), say)
    assert caught.value.code == Code.DISK_FULL
    assert {p.name: p.read_bytes() for p in out.glob("a*")} == before
    assert not [p for p in out.iterdir() if files.is_part(p)]


def test_one_command_at_a_time_writes_to_a_folder(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter
) -> None:
    scan = save(tmp_path / "in/a.nii.gz", brain)
    model, out = make_model(), tmp_path / "out"
    with batch.lock(out), pytest.raises(MedsegError) as refused:
        segment.run([scan], out, Settings(model), say)
    assert refused.value.code == Code.WORK_IN_USE
    assert not list(out.glob("a*"))
    assert segment.run([scan], out, Settings(model), say) == ExitCode.DONE
    assert files.read_json(out / "a.json")["sha256"] == files.sha256(out / "a.nii.gz")


def test_the_confidence_map_of_an_earlier_result_goes_with_it(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter
) -> None:
    scan = save(tmp_path / "in/a.nii.gz", brain)
    model, out = make_model(), tmp_path / "out"
    confidence = out / "a_confidence.nii.gz"
    for wanted in (True, False, True):
        segment.run([scan], out, Settings(model, confidence=wanted), say)
        assert confidence.exists() == wanted
    confidence.unlink()
    segment.run([scan], out, Settings(model, confidence=True), say)
    assert confidence.exists()


def test_probabilities_agree_with_the_label_map_and_come_and_go_with_it(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter
) -> None:
    turned = np.diag([-1.0, -1.0, 2.0, 1.0])
    scan = save(tmp_path / "in/a.nii.gz", brain, turned)
    model, out = make_model(crop=True, crop_margin=1), tmp_path / "out"
    segment.run([scan], out, Settings(model), say)
    plain = (out / "a.nii.gz").read_bytes()
    segment.run([scan], out, Settings(model, probabilities=True), say)
    assert (out / "a.nii.gz").read_bytes() == plain
    path, labels = out / "a_probabilities.nii.gz", nib.load(out / "a.nii.gz")
    stored, content = nib.load(path), files.read_json(out / "a.json")
    np.testing.assert_array_equal(stored.affine, labels.affine)
    assert stored.get_data_dtype() == np.uint8
    assert stored.shape == (*brain.shape, len(content["probabilities"]))
    classes = files.read_json(out / "labels.json")
    assert [c["name"] for c in classes] == content["probabilities"]
    values = np.array([c["value"] for c in classes])
    shares = stored.get_fdata()
    np.testing.assert_array_equal(values[shares.argmax(axis=-1)], labels.dataobj)
    np.testing.assert_allclose(shares.sum(axis=-1), 1, atol=1e-6)

    before, stamp = path.read_bytes(), files.stamp(path)
    segment.run([scan], out, Settings(model, probabilities=True), say)
    assert files.stamp(path) == stamp  # skipped
    for damage in (lambda: path.unlink(), lambda: path.write_bytes(before[:-9])):
        damage()
        segment.run([scan], out, Settings(model, probabilities=True), say)
        assert path.read_bytes() == before
    segment.run([scan], out, Settings(model), say)
    assert not path.exists()
    assert "probabilities" not in files.read_json(out / "a.json")


@pytest.mark.parametrize("text", ["", "{", "{}", "[]", '{"made_from": 1}', "without sizes"])
def test_a_damaged_json_means_that_the_case_is_done_again(
    tmp_path: Path, brain: Any, make_model: MakeModel, say: Reporter, text: str
) -> None:
    scan = save(tmp_path / "in/a.nii.gz", brain)
    model, about = make_model(), tmp_path / "out/a.json"
    segment.run([scan], about.parent, Settings(model), say)
    whole = files.read_json(about)
    if text == "without sizes":
        files.write_json(about, {k: v for k, v in whole.items() if k != "sizes"})
    else:
        about.write_text(text)
    assert segment.run([scan], about.parent, Settings(model), say) == ExitCode.DONE
    assert files.read_json(about)["sizes"] == whole["sizes"]
    segment.run([scan], about.parent, Settings(model), say)
    (row,) = files.read_csv(about.parent / "summary.csv")
    assert row["status"] == "skipped"

"""Series are told apart by coded words and times, chosen by rules, and never by repeating free text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medseg.errors import Code, MedsegError
from medseg.io.dicom.contrast import contrast_of
from medseg.io.dicom.rules import SeriesRules, against, against_all, described, escaped, like, reason_of
from medseg.io.dicom.series import SeriesVolume, read_export
from tests.helpers.dicom_files import enhanced_dataset, write_series

AFFINE = np.array([[-1.0, 0, 0, 9], [0, 1.5, 0, -12], [0, 0, -2, 5], [0, 0, 0, 1]])
PIXELS = np.arange(5 * 6 * 7, dtype=np.uint16).reshape(5, 6, 7)


def volume(folder: Path, affine: Any = AFFINE, **tags: Any) -> SeriesVolume:
    write_series(folder, PIXELS, affine, **tags)
    (only,) = read_export(folder).volumes
    return only


@pytest.mark.parametrize(
    ("sequence", "echo", "repetition", "inversion", "contrast"),
    [
        ("SE", 9.5, 500, None, "t1"),
        ("SE", 92, 4000, None, "t2"),
        ("SE", 12, 4000, None, "pd"),
        ("SE", 45, 2000, None, None),
        (["SE", "IR"], 90, 10000, 2600, "flair"),
        (["SE", "IR"], 20, 2000, 860, "t1"),
        ("GR", 2.5, 1800, 900, "t1"),
        ("GR", 20, 700, None, "t2star"),
        ("EP", 30, 3000, None, "other"),
        ("RM", 3.4, 6.2, None, None),
        ("SE", None, 500, None, None),
    ],
)
def test_the_times_of_a_sequence_tell_its_contrast(
    tmp_path: Path, sequence: Any, echo: Any, repetition: Any, inversion: Any, contrast: Any
) -> None:
    tags = {"ScanningSequence": sequence, "EchoTime": echo, "RepetitionTime": repetition}
    tags |= {"InversionTime": inversion} if inversion else {}
    assert contrast_of(volume(tmp_path, **tags)) == contrast


def test_agents_maps_and_parts_of_the_signal_are_told(tmp_path: Path) -> None:
    t1 = {"ScanningSequence": "SE", "EchoTime": 9, "RepetitionTime": 500}
    assert contrast_of(volume(tmp_path / "a", ContrastBolusAgent="10 ml", **t1)) == "t1ce"
    assert contrast_of(volume(tmp_path / "b", ContrastBolusAgent="NONE", **t1)) == "t1"
    described_agent = Dataset()
    described_agent.ContrastBolusVolume = "10"
    agent = {"ContrastBolusAgentSequence": Sequence([described_agent])}
    assert contrast_of(volume(tmp_path / "e", **agent, **t1)) == "t1ce"
    adc = ["DERIVED", "PRIMARY", "ADC", "NONE"]
    assert contrast_of(volume(tmp_path / "c", ImageType=adc, **t1)) == "other"
    phase = ["ORIGINAL", "PRIMARY", "P", "NONE"]
    assert contrast_of(volume(tmp_path / "d", ImageType=phase, **t1)) == "other"


def test_coded_words_of_enhanced_objects_come_first(tmp_path: Path) -> None:
    dataset = enhanced_dataset([PIXELS], AFFINE, EchoTime=9, RepetitionTime=500, ScanningSequence="SE")
    kind = Dataset()
    kind.AcquisitionContrast = "FLUID_ATTENUATED"
    dataset.SharedFunctionalGroupsSequence[0].MRImageFrameTypeSequence = Sequence([kind])
    dataset.save_as(tmp_path / "a", enforce_file_format=True)
    (only,) = read_export(tmp_path).volumes
    assert contrast_of(only) == "flair"


def test_each_rule_names_itself_and_the_value_that_it_refuses(tmp_path: Path) -> None:
    scan = volume(tmp_path, ScanningSequence="SE", EchoTime=9, RepetitionTime=500, SeriesDescription="Canary")
    assert against(scan, SeriesRules()) == ""
    assert against(scan, SeriesRules(modality=("CT",))) == "modality: MR; taken are CT"
    assert against(scan, SeriesRules(plane=("sagittal",))) == "plane: axial; taken are sagittal"
    assert against(scan, SeriesRules(min_slices=8)) == "min_slices: 7 slices; at least 8 are taken"
    assert against(scan, SeriesRules(min_slices=7, max_spacing_mm=2)) == ""
    assert "voxels of up to 2 mm" in against(scan, SeriesRules(max_spacing_mm=1.9))
    assert against(scan, SeriesRules(contrast=("t2", "pd"))) == "contrast: t1; taken are t2, pd"
    assert against(scan, SeriesRules(description=("*CANARY*",))) == ""
    assert "anary" not in against(scan, SeriesRules(description=("*t1*",)))
    without = against(scan, SeriesRules(without=("x", "*canary")))
    assert without == "without: the description matches a pattern"
    assert described(scan) == "MR, t1, axial, 7 slices, 1 × 1.5 × 2 mm"


@pytest.mark.parametrize(
    ("rules", "rule"),
    [
        ({"description": ("*mprage*",)}, ""),
        ({"description": ("*flair*", "t1*")}, ""),
        ({"description": (" t1 MPRAGE sag",)}, ""),
        ({"description": ("mprage",)}, "description"),
        ({"description": ("t1*",), "without": ("*SAG",)}, "without"),
        ({"without": ("*cor*",)}, ""),
        ({"without": "*sag*"}, "without"),
        ({"modality": "mr"}, ""),
        ({"modality": "CT", "description": "x"}, "modality"),
        ({"modality": ()}, ""),
        ({"min_slices": 7, "plane": "axial"}, ""),
        ({"min_slices": 8}, "min_slices"),
    ],
)
def test_all_rules_must_be_met_and_one_value_is_no_list(
    tmp_path: Path, rules: dict[str, Any], rule: str
) -> None:
    scan = volume(tmp_path, SeriesDescription="T1 MPRAGE sag ")
    assert against(scan, SeriesRules(**rules)).partition(":")[0] == rule


def test_the_reason_names_the_channels_where_there_are_several(tmp_path: Path) -> None:
    scan = volume(tmp_path)
    rules = {"t1": SeriesRules(modality=("CT",)), "t2": SeriesRules(min_slices=8)}
    reason = reason_of(against_all(scan, rules))
    assert reason == "t1: modality: MR; taken are CT; t2: min_slices: 7 slices; at least 8 are taken"
    assert reason_of(against_all(scan, {"t1": rules["t1"]})) == "modality: MR; taken are CT"


def test_a_refused_volume_is_held_against_the_rules_of_its_header(tmp_path: Path) -> None:
    write_series(tmp_path, PIXELS, AFFINE, SeriesDescription="scout")
    next(path for path in tmp_path.iterdir() if dcmread(path).ImagePositionPatient[2] == 1).unlink()
    (scan,) = read_export(tmp_path).volumes
    assert scan.grid is None and scan.refusal is not None and scan.refusal.code == Code.SLICES_MISSING
    assert against(scan, SeriesRules(plane=("sagittal",), max_spacing_mm=0.1, min_slices=6)) == ""
    assert against(scan, SeriesRules(min_slices=7)) == "min_slices: 6 slices; at least 7 are taken"
    assert against(scan, SeriesRules(without="scout")).startswith("without")


@pytest.mark.parametrize("text", ["a*b", "t1 [axial]", "what?", "plain"])
def test_an_escaped_text_means_itself_alone(text: str) -> None:
    assert like(text.upper(), escaped(text)) and not like(text + "x", escaped(text))
    assert not like("aXb", escaped("a*b"))


def test_free_text_where_a_coded_word_belongs_is_not_repeated(tmp_path: Path) -> None:
    scan = volume(tmp_path, Modality="ZZMEIER")
    assert against(scan, SeriesRules()) == "modality: unknown; taken are MR"
    assert "ZZ" not in described(scan)


def test_planes_follow_the_slices(tmp_path: Path) -> None:
    sagittal = np.array([[0, 0, 2.0, 0], [1.0, 0, 0, 0], [0, -1.0, 0, 0], [0, 0, 0, 1]])
    assert "sagittal" in described(volume(tmp_path, sagittal))


def test_rules_are_put_into_words() -> None:
    assert SeriesRules().words() == "modality MR" and SeriesRules(modality=()).words() == "any"
    rules = SeriesRules(contrast=("t1", "t1ce"), min_slices=10, max_spacing_mm=1.5)
    assert rules.words() == "modality MR; contrast t1 or t1ce; min_slices 10; max_spacing_mm 1.5"


def test_rules_are_changed_by_name_and_lifted() -> None:
    rules = SeriesRules(contrast=("t1",), min_slices=10)
    assert rules.changed("contrast=t2,flair").contrast == ("t2", "flair")
    assert rules.changed("modality=ct").modality == ("CT",)
    assert rules.changed("contrast=any").contrast == () and rules.changed("min_slices=any").min_slices == 1
    assert rules.changed("max_spacing_mm=1.5").max_spacing_mm == 1.5
    assert rules.changed("without=*loc*,*cor*").without == ("*loc*", "*cor*")
    for wrong in ("contrast", "contrast=", "contrast=t9", "min_slices=few", "slices=3", "plane=oblique"):
        with pytest.raises(MedsegError) as refused:
            rules.changed(wrong)
        assert refused.value.code == Code.USAGE

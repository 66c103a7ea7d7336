"""Whatever a header holds where a term is due, `convert`, `check` and `segment` show none of it."""

from __future__ import annotations

import io
import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword
from pydicom.dataelem import DataElement

from medseg.console import Reporter
from medseg.errors import MedsegError
from medseg.io.dicom import terms
from medseg.io.dicom.frames import _TAGS
from medseg.io.dicom.series import read_export
from pipelines.commands import check, convert
from tests.helpers.dicom_files import write_series
from tests.helpers.leaks import Words, leaks
from tests.helpers.planted_exports import AFFINE

PIXELS = np.random.default_rng(0).integers(0, 4000, (5, 4, 4)).astype(np.uint16)
WORDS = Words.of(["ZZMEIER", "Hans^Canary", "19700101", "CANARY7"], ["ZZ[A-Z]{2,}"])

TEXTS = st.sampled_from(
    ["ZZMEIER", "ZZMEIER^HANS", "Hans^Canary", "CANARY7", "19700101", "ZZMEIER\\ZZHUBER", "ORIGINAL\\ZZMEIER"]
)
FIELDS = sorted(
    tag
    for tag in {*_TAGS, "PatientName", "PatientID", "SequenceName", "ScanOptions", "ProtocolName"}
    if dictionary_VR(tag_for_keyword(tag) or 0) not in ("SQ", "US", "FD", "US or SS")
)
"""Attributes that are read and hold a text, be it of a number."""


def planted(path: Path, values: dict[str, str]) -> None:
    """Set attributes of a file to texts, valid or not."""
    dataset = dcmread(path, force=True)
    for keyword, text in values.items():
        tag = tag_for_keyword(keyword)
        assert tag is not None and keyword_for_tag(tag) == keyword
        vr = dictionary_VR(tag)
        shown_as = vr if vr in ("LO", "CS", "UI", "TM", "DT", "SH", "DA") else "LO"  # IS and DS refuse
        dataset[tag] = DataElement(
            tag, shown_as, text.split("\\") if "\\" in text else text, already_converted=True
        )
    dataset.save_as(path, enforce_file_format=False)


def everything(folder: Path) -> tuple[Path, str]:
    """Convert and check a folder; give the output and the screen."""
    screen, out = io.StringIO(), folder.parent / "out"
    say = Reporter(stream=screen, results=screen, verbose=True, log=out / "medseg.log")
    for command in (
        lambda: convert.run([folder], out, convert.Settings(index=False), say),
        lambda: check.run(folder, None, say, as_json=True),
    ):
        try:
            command()
        except MedsegError as error:
            screen.write(str(error))
    return out, screen.getvalue()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.dictionaries(st.sampled_from(FIELDS), TEXTS, min_size=1, max_size=4),
    files=st.sets(st.integers(0, 3), min_size=1),
)
def test_no_text_of_a_header_is_shown(values: dict[str, str], files: set[int]) -> None:
    with tempfile.TemporaryDirectory() as root, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        paths = write_series(folder := Path(root, "ZZMEIER"), PIXELS, AFFINE)
        for number in files:
            planted(paths[number], values)
        out, screen = everything(folder)
        assert leaks(out, WORDS, screen) == {}, values


def test_repetitions_are_told_apart_by_numbers_where_their_texts_may_be_names(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, kind in enumerate(("ZZMEIER", "CANARY7", "M")):
            tags = {"ImageType": ["ORIGINAL", "PRIMARY", kind]}
            write_series(tmp_path / str(number), PIXELS + number, AFFINE, series="1.2.3", **tags)
        labels = [volume.label for volume in read_export(tmp_path).volumes]
    assert sorted(labels) == [
        "component None, image type no. 1",
        "component None, image type no. 2",
        "component magnitude",
    ]


@pytest.mark.parametrize("keyword", ["AcquisitionDateTime", "AcquisitionTime", "ContentTime"])
def test_dates_and_times_are_counted(keyword: str, tmp_path: Path) -> None:
    day = "19700101" if keyword == "AcquisitionDateTime" else ""
    for number in range(2):
        tags = {keyword: f"{day}10111{number}"}
        write_series(tmp_path / str(number), PIXELS + number, AFFINE, series="1.2.3", **tags)
    labels = sorted(volume.label for volume in read_export(tmp_path).volumes)
    assert [label[-5:] for label in labels] == ["no. 1", "no. 2"]


def test_defined_terms_and_numbers_are_shown() -> None:
    assert terms.shown("MR", terms.MODALITIES, "unknown") == "MR"
    assert terms.shown("ZZMEIER", terms.MODALITIES, "unknown") == "unknown"
    assert terms.shown("ZZMEIER", terms.PHOTOMETRIC) == "an undefined value of 7 characters"
    assert terms.shown("", terms.PHOTOMETRIC) == ""
    known: list[Any] = [("ORIGINAL", "PRIMARY", "M"), ("ORIGINAL", "PRIMARY", "P")]
    assert list(terms.words(known).values()) == ["ORIGINAL PRIMARY M", "ORIGINAL PRIMARY P"]
    assert terms.words(["1", "2"]) == {"1": "1", "2": "2"} and terms.words([1.5, None]) == {
        1.5: "1.5",
        None: "None",
    }
    assert terms.words(["19700101", "7"]) == {"19700101": "no. 1", "7": "no. 2"}


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"BurnedInAnnotation": "YES"}, "BurnedInAnnotation"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, "a secondary capture"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.2"}, "a secondary capture"),
        ({"ConversionType": "WSD"}, "a secondary capture"),
        ({"Modality": "SC"}, "a secondary capture"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "a copy of a screen"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, ""),
        ({"BurnedInAnnotation": "NO"}, ""),
        ({}, ""),
    ],
)
@pytest.mark.parametrize("slices", [[0, 1, 2, 3], [0]], ids=["volume", "one slice"])
def test_captures_of_a_screen_are_flagged(
    tags: dict[str, Any], reason: str, slices: list[int], tmp_path: Path
) -> None:
    write_series(tmp_path / "in", PIXELS, AFFINE, slices=slices, **tags)
    out, screen = everything(tmp_path / "in")
    warning = f"text may be burned into the pixels ({reason})"
    for text in ((out / "summary.csv").read_text(), screen):
        assert ("burned" in text.lower()) == bool(reason)
    assert (warning in (out / "summary.csv").read_text()) == bool(reason)
    results = json.JSONDecoder().raw_decode(screen, screen.index('{\n "results"'))[0]["results"]
    assert any(warning in finding["details"] for r in results for finding in r["findings"]) == bool(reason)

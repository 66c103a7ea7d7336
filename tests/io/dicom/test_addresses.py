"""Addresses of servers and credentials: taken apart, or refused without being repeated."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from medseg.errors import Code, MedsegError
from medseg.io.dicom import addresses, credentials
from medseg.io.dicom.addresses import Node, Study, WebServer

SECRET = "hush-SECRET"


def refused(error: pytest.ExceptionInfo[MedsegError]) -> bool:
    """True for a USAGE error that repeats no secret and no UID."""
    text = str(error.value)
    return error.value.code is Code.USAGE and SECRET not in text and "1.2.3" not in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("dicomweb://h/dicom-web/studies/1.2.3", Study(WebServer("h", 80, False, "/dicom-web"), "1.2.3")),
        ("dicomwebs://h/studies/1.2.3/", Study(WebServer("h", 443, True, ""), "1.2.3")),
        (
            "dicomweb://[::1]:8042/a/b/studies/1.2.3/series/4.5",
            Study(WebServer("::1", 8042, False, "/a/b"), "1.2.3", "4.5"),
        ),
    ],
)
def test_a_study_is_taken_apart(text: str, expected: Study) -> None:
    assert addresses.parse_study(text, "IN 1") == expected


def test_the_request_of_a_study() -> None:
    study = addresses.parse_study("dicomweb://h/x/studies/1.2/series/3", "IN 1")
    assert study.path == "/x/studies/1.2/series/3"


@pytest.mark.parametrize(
    "text",
    [
        f"dicomweb://me:{SECRET}@h/studies/1.2.3",
        f"dicomweb://me:{SECRET}/x@h/studies/1.2.3",
        f"dicomweb://{SECRET}@h/studies/1.2.3",
        f"dicomweb://h/studies/1.2.3?token={SECRET}",
        f"dicomweb://h/studies/1.2.3#{SECRET}",
        "dicomweb://h/studies/1.2.3/instances/4",
        "dicomweb://h/studies/",
        "dicomweb://h/studies/1.2.3x",
        "dicomweb:///studies/1.2.3",
        "dicomweb://h:0/studies/1.2.3",
        "dicomweb://h:99999/studies/1.2.3",
        "dicomweb://h:x/studies/1.2.3",
        "dicomweb://[h/studies/1.2.3",
        "dicomweb://h/a b/studies/1.2.3",
        "https://h/studies/1.2.3",
        "ftp://h/studies/1.2.3",
    ],
)
def test_another_address_is_no_study(text: str) -> None:
    with pytest.raises(MedsegError) as caught:
        addresses.parse_study(text, "IN 1")
    assert refused(caught)


def test_a_target_is_a_service_or_an_application_entity() -> None:
    service = WebServer("h", 443, True, "/dicom-web")
    for text in ("https://h/dicom-web", "https://h:443/dicom-web/", "dicomwebs://h/dicom-web/studies"):
        assert addresses.parse_target(text, "--to") == service
    assert addresses.parse_target("dicom://PACS@h:104", "--to") == Node("PACS", "h", 104)
    assert (service.address, Node("A", "h", 1).address) == ("https://h:443/dicom-web", "dicom://A@h:1")


@pytest.mark.parametrize(
    "text",
    [
        f"https://me:{SECRET}@h/dicom-web",
        f"https://h/dicom-web?key={SECRET}",
        f"dicom://PACS:{SECRET}@h:104",
        "dicom://h:104",
        "dicom://PACS@h",
        "dicom://TITLE-LONGER-THAN-16@h:104",
        "dicom://PACS@h:104/x",
        "PACS@h:104",
        "/some/folder",
        "ldap://h",
    ],
)
def test_another_address_is_no_target(text: str) -> None:
    with pytest.raises(MedsegError) as caught:
        addresses.parse_target(text, "--to")
    assert refused(caught)


def test_loopback_and_tls_are_not_exposed() -> None:
    exposed = {
        text: addresses.parse_target(text, "--to").is_exposed
        for text in ("http://h/x", "https://h/x", "http://127.0.0.1/x", "http://localhost/x", "dicom://A@h:1")
    }
    assert [*exposed.values()] == [True, False, False, False, True]


def write(path: Path, content: object, mode: int = 0o600) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    path.chmod(mode)
    return path


def test_credentials_come_from_a_private_file_before_the_environment(tmp_path: Path) -> None:
    environment = {"MEDSEG_DICOMWEB_TOKEN": "abc.def=="}
    path = write(tmp_path / "c", {"user": "me", "password": SECRET})
    pair = base64.b64encode(f"me:{SECRET}".encode()).decode()
    loaded = credentials.load(path, environment)
    assert loaded is not None and loaded.authorization == f"Basic {pair}"
    assert SECRET not in repr(loaded) and pair not in repr(loaded)
    from_environment = credentials.load(None, environment)
    assert from_environment is not None and from_environment.authorization == "Bearer abc.def=="
    assert credentials.load(None, {"MEDSEG_DICOMWEB_TOKEN": ""}) is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(MedsegError) as caught:
        credentials.load(write(tmp_path / "c", {"token": SECRET}, mode), {})
    assert refused(caught) and f"{mode:03o}" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        SECRET,
        [SECRET],
        {},
        {"user": "me"},
        {"user": "me", "password": 7},
        {"user": "a:b", "password": SECRET},
        {"user": "me", "password": SECRET, "token": SECRET},
        {"token": f"{SECRET}\r\nX: y"},
        {"token": f"é{SECRET}"},
        {"pass": SECRET},
    ],
)
def test_other_contents_are_refused(tmp_path: Path, content: object) -> None:
    with pytest.raises(MedsegError) as caught:
        credentials.load(write(tmp_path / "c", content), {})
    assert refused(caught)


def test_half_of_the_variables_or_no_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MedsegError) as caught:
        credentials.load(None, {"MEDSEG_DICOMWEB_PASSWORD": SECRET})
    assert refused(caught) and "MEDSEG_DICOMWEB_USER" in str(caught.value)
    with pytest.raises(MedsegError) as caught:
        credentials.load(tmp_path / "none", {})
    assert caught.value.code is Code.PATH_MISSING

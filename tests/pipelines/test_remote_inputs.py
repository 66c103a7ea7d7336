"""Inputs `dicomweb://…` are fetched into a private folder and removed; a bad server is one coded line."""

from __future__ import annotations

import socket
import ssl
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import generate_uid

from medseg import files
from medseg.errors import ExitCode
from medseg.io.dicom import dicomweb, web_request
from pipelines.commands import convert
from tests.helpers.commands import Ended, run_command
from tests.helpers.dicom_files import write_series
from tests.helpers.dicomweb_server import MULTIPART, Answer, Request, multipart, serving, study_of

AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])
STUDY = "1.2.840.99.77"
SECRET = "hush-SECRET-7"

Run = Callable[..., Ended]


@pytest.fixture
def slices(tmp_path: Path, brain: Any) -> list[Path]:
    tags = {"StudyInstanceUID": STUDY, "PatientName": "CANARY"}
    return write_series(tmp_path / "source", brain.astype(np.uint16), AFFINE, **tags)


@pytest.fixture
def medseg(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("MEDSEG_DICOMWEB_USER", "me")
    monkeypatch.setenv("MEDSEG_DICOMWEB_PASSWORD", SECRET)
    return lambda *words: run_command([*words], capfd, monkeypatch)


def study_at(host: str) -> str:
    return f"dicomweb://{host}/dicom-web/studies/{STUDY}"


def test_a_study_is_fetched_for_the_run_alone(
    slices: list[Path], tmp_path: Path, medseg: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int, list[int]]] = []
    run = convert.run

    def spy(paths: list[Path], out: Path, *rest: Any) -> ExitCode:
        modes = [path.stat().st_mode & 0o777 for path in paths[0].iterdir()]
        seen.append((out.joinpath("private").stat().st_mode & 0o777, paths[0].stat().st_mode & 0o777, modes))
        return run(paths, out, *rest)

    monkeypatch.setattr(convert, "run", spy)
    out = tmp_path / "out"
    with serving(lambda _: study_of(slices)) as (host, requests):
        for status in ("done", "skipped"):
            assert medseg("convert", study_at(host), out).code == ExitCode.DONE
            assert [row["status"] for row in files.read_csv(out / "summary.csv")] == [status]
    assert seen == [(0o700, 0o700, [0o600] * 8)] * 2
    assert requests[0].path == f"/dicom-web/studies/{STUDY}"
    assert requests[0].headers["authorization"].startswith("Basic ")
    assert "transfer-syntax=*" in requests[0].headers["accept"]
    assert not (out / "private/fetched").exists()


def test_a_second_command_into_one_folder_is_refused(slices: list[Path], tmp_path: Path, medseg: Run) -> None:
    with serving(lambda _: study_of(slices)) as (host, _):
        with files.hold_lock(tmp_path / "out/private/.lock", "out", "busy", "wait"):
            ended = medseg("convert", study_at(host), tmp_path / "out")
        assert ended.code == ExitCode.USAGE and "WORK_IN_USE" in ended.text
        left = tmp_path / "out/private/fetched"
        left.mkdir()
        (left / "of-a-killed-run").touch()
        assert medseg("convert", study_at(host), tmp_path / "out").code == ExitCode.DONE
    assert not left.exists()


def test_check_leaves_nothing_behind(
    slices: list[Path], tmp_path: Path, medseg: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    with serving(lambda _: study_of(slices)) as (host, _):
        ended = medseg("check", study_at(host))
    assert ended.code == ExitCode.DONE and "1 usable" in ended.text
    assert not [*(tmp_path / "tmp").iterdir()]


def redirect(place: str, status: int = 302) -> Answer:
    return Answer(status, headers={"Location": place})


BAD: dict[str, tuple[Callable[[list[bytes]], Answer], str, str]] = {
    "401": (lambda _: Answer(401), "SERVER_REFUSED", "HTTP 401"),
    "403": (lambda _: Answer(403), "SERVER_REFUSED", "HTTP 403"),
    "404": (lambda _: Answer(404, b"<html>" + STUDY.encode()), "SERVER_REFUSED", "HTTP 404"),
    "500": (lambda _: Answer(500), "SERVER_REFUSED", "HTTP 500"),
    "part of the study": (
        lambda c: Answer(206, multipart(c), {"Content-Type": MULTIPART}),
        "SERVER_REFUSED", "HTTP 206: the server gives a part",
    ),
    "page": (lambda _: Answer(200, b"<html>", {"Content-Type": "text/html"}), "ANSWER_INVALID", "multipart"),
    "no type": (lambda _: Answer(200, b"x"), "ANSWER_INVALID", "multipart"),
    "pictures": (
        lambda c: Answer(200, multipart(c, "image/jpeg"), {"Content-Type": MULTIPART}),
        "ANSWER_INVALID", "no DICOM file",
    ),
    "empty": (
        lambda _: Answer(200, multipart([]), {"Content-Type": MULTIPART}), "ANSWER_INVALID", "no files"
    ),
    "truncated": (
        lambda c: Answer(200, multipart(c)[:-3000], {"Content-Type": MULTIPART}),
        "ANSWER_INVALID", "last boundary",
    ),
    "broken off": (
        lambda c: Answer(200, multipart(c)[:-3000], {"Content-Type": MULTIPART}, length=10**6),
        "ANSWER_INVALID", "",
    ),
    "compressed": (
        lambda c: Answer(200, multipart(c), {"Content-Type": MULTIPART, "Content-Encoding": "gzip"}),
        "ANSWER_INVALID", "compressed",
    ),
    "other host": (lambda _: redirect("http://127.0.0.2:1/x"), "SERVER_REFUSED", "redirects"),
    "other scheme": (lambda _: redirect("https://127.0.0.1/x", 307), "SERVER_REFUSED", "redirects"),
    "file": (lambda _: redirect("file:///etc/passwd"), "SERVER_REFUSED", "redirects"),
    "broken redirect": (lambda _: redirect("http://[x"), "SERVER_REFUSED", "redirects"),
    "circle": (lambda _: redirect("/again"), "SERVER_REFUSED", "redirects"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_answer_is_one_line_with_its_code(
    kind: str, slices: list[Path], tmp_path: Path, medseg: Run
) -> None:
    respond, code, details = BAD[kind]
    contents = [path.read_bytes() for path in slices]
    with serving(lambda _: respond(contents)) as (host, _):
        ended = medseg("convert", study_at(host), tmp_path / "out")
    assert (ended.code, ended.text.count("\n")) == (ExitCode.USAGE, 1), ended.text
    assert ended.text.startswith(f"{code} IN 1: ") and details in ended.text
    assert STUDY not in ended.text and host not in ended.text and SECRET not in ended.text
    assert not (tmp_path / "out/private/fetched").exists()


def test_credentials_do_not_follow_a_redirect_to_another_server(
    slices: list[Path], tmp_path: Path, medseg: Run
) -> None:
    with (
        serving(lambda _: study_of(slices)) as (other, requests),
        serving(lambda _: redirect(f"http://{other}/dicom-web/studies/{STUDY}")) as (host, _),
    ):
        assert medseg("convert", study_at(host), tmp_path / "out").code == ExitCode.USAGE
    assert requests == []


def test_a_redirect_on_the_same_server_is_followed(slices: list[Path], tmp_path: Path, medseg: Run) -> None:
    def respond(request: Request) -> Answer:
        return study_of(slices) if request.path == "/rs/x?y=1" else redirect("/rs/x?y=1", 308)

    with serving(respond) as (host, _):
        assert medseg("convert", study_at(host), tmp_path / "out").code == ExitCode.DONE


def test_a_file_of_another_study_is_refused(slices: list[Path], tmp_path: Path, medseg: Run) -> None:
    with serving(lambda _: study_of(slices)) as (host, _):
        for end in ("9", f"{STUDY}/series/{generate_uid()}"):
            ended = medseg("convert", f"dicomweb://{host}/dicom-web/studies/{end}", tmp_path / "out")
            assert ended.code == ExitCode.USAGE and "another study or series" in ended.text


@pytest.mark.parametrize("limit", ["MAX_FILE_BYTES", "MAX_STUDY_BYTES", "MAX_ENTRIES"])
def test_more_than_the_limits_is_refused(
    limit: str, slices: list[Path], tmp_path: Path, medseg: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = slices[0].stat().st_size
    most = {"MAX_FILE_BYTES": size - 1, "MAX_STUDY_BYTES": 3 * size, "MAX_ENTRIES": 3}[limit]
    monkeypatch.setattr(dicomweb, limit, most)
    with serving(lambda _: study_of(slices)) as (host, _):
        ended = medseg("convert", study_at(host), tmp_path / "out")
    assert ended.code == ExitCode.USAGE and ended.text.startswith("TOO_LARGE IN 1: ")
    assert not (tmp_path / "out/private/fetched").exists()


def test_silence_a_refused_connection_and_an_unknown_host_are_unreachable(
    tmp_path: Path, medseg: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_request, "TIMEOUT_S", 0.2)

    def slow(_: Request) -> Answer:
        time.sleep(1)
        return Answer(404)

    with serving(slow) as (host, _):
        silent = medseg("convert", study_at(host), tmp_path / "out")
    refused = medseg("convert", study_at(host), tmp_path / "out")

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    nameless = medseg("convert", study_at("localhost:1"), tmp_path / "out")
    for ended, details in ((silent, "0.2 s"), (refused, "refused"), (nameless, "name is not known")):
        assert ended.code == ExitCode.USAGE and ended.text.startswith("SERVER_UNREACHABLE IN 1: ")
        assert details in ended.text and ended.text.count("\n") == 1


def test_tls_that_fails_is_one_line(tmp_path: Path, medseg: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda _: Answer(404)) as (host, _):  # which speaks no TLS
        ended = medseg("convert", study_at(host).replace("dicomweb:", "dicomwebs:"), tmp_path / "out")
    assert ended.text.startswith("SERVER_UNREACHABLE IN 1: TLS") and ended.text.count("\n") == 1

    def untrusted(_: object) -> None:
        raise ssl.SSLCertVerificationError(1, "self-signed certificate of secret.host")

    monkeypatch.setattr(web_request.http.client.HTTPSConnection, "connect", untrusted)
    ended = medseg("convert", study_at("h").replace("dicomweb:", "dicomwebs:"), tmp_path / "out")
    assert "certificate is not trusted" in ended.text and "secret.host" not in ended.text


def test_an_interrupted_fetch_leaves_nothing(
    slices: list[Path], tmp_path: Path, medseg: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(dicomweb, "_require_study", interrupted)
    with serving(lambda _: study_of(slices)) as (host, _):
        assert medseg("convert", study_at(host), tmp_path / "out").code == ExitCode.INTERRUPTED
    assert not (tmp_path / "out/private/fetched").exists()


def test_a_wrong_model_is_refused_before_anything_is_fetched(
    slices: list[Path], tmp_path: Path, medseg: Run
) -> None:
    with serving(lambda _: study_of(slices)) as (host, requests):
        ended = medseg("segment", study_at(host), tmp_path / "out", "--model", tmp_path)
    assert ended.text.startswith("NOT_A_MODEL") and requests == []


def test_an_address_with_a_password_is_refused_without_repeating_it(tmp_path: Path, medseg: Run) -> None:
    for address in (f"dicomweb://me:{SECRET}@h/studies/1.2", f"https://me:{SECRET}@h/dicom-web"):
        ended = medseg("convert", address, tmp_path / "out")
        assert ended.code == ExitCode.USAGE and "user name or password" in ended.text
        assert SECRET not in ended.text and not (tmp_path / "out").exists()


def test_credentials_without_a_server_are_refused(slices: list[Path], tmp_path: Path, medseg: Run) -> None:
    ended = medseg("convert", slices[0].parent, tmp_path / "out", "--credentials", tmp_path / "c")
    assert ended.code == ExitCode.USAGE and ended.text.startswith("USAGE --credentials")


def test_no_socket_is_opened_without_an_address(
    slices: list[Path],
    tmp_path: Path,
    medseg: Run,
    make_model: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    opened: list[Any] = []

    class Guard(socket.socket):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            opened.append(arguments)
            super().__init__(*arguments, **options)

    monkeypatch.setattr(socket, "socket", Guard)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **_: opened.append(arguments))
    here = ("--workers", "0")  # a worker process would not have the guard
    ended = medseg("segment", slices[0].parent, tmp_path / "out", "--model", make_model(), *here)
    assert ended.code == ExitCode.DONE and opened == []
    socket.socket().close()
    assert opened == [()]  # the guard sees what is opened
    opened.clear()
    ended = medseg("segment", slices[0].parent, tmp_path / "out2", "--model", make_model("model2"))
    assert ended.code == ExitCode.DONE
    assert {pair[0] for pair in opened} == {socket.AF_UNIX}  # workers are talked to by nameless pairs

"""`medseg push`: each result ends as sent, already there or failed with a code; no password is written."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from medseg import files
from medseg.errors import ExitCode
from medseg.io.dicom import store
from tests.helpers.commands import Ended, run_command
from tests.helpers.dicom_files import write_series
from tests.helpers.dicomweb_server import Answer, Request, serving, stored

SECRET = "hush-SECRET-7"
PAIR = base64.b64encode(f"me:{SECRET}".encode()).decode()

Run = Callable[..., Ended]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that `medseg segment` wrote: two DICOM files of one case."""
    from medseg import networks
    from medseg.console import Reporter
    from medseg.model import folder as model_folder
    from pipelines.commands import segment
    from tests.helpers.model_folders import describe

    folder, description = tmp_path_factory.mktemp("segmented"), describe()
    state = networks.build("usegnet", 3, 3, seed=0, width=2).state_dict()
    model_folder.export(folder / "model", {"fold0": state}, description)
    pixels = np.zeros((20, 24, 8), np.uint16)
    pixels[4:16, 5:19, 1:7] = np.random.default_rng(0).integers(50, 200, (12, 14, 6))
    write_series(folder / "in", pixels, np.diag([1.0, 2.0, 3.0, 1.0]), PatientName="CANARY")
    settings = segment.Settings(folder / "model")
    assert segment.run([folder / "in"], folder / "out", settings, Reporter(quiet=True)) == ExitCode.DONE
    return folder / "out"


@pytest.fixture
def out(results: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(results, tmp_path / "out"))


@pytest.fixture
def medseg(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    return lambda *words: run_command([*words], capfd, monkeypatch)


def dataset_in(request: Request) -> pydicom.Dataset:
    """The one file in a request."""
    _, _, rest = request.body.partition(b"\r\n\r\n")
    return pydicom.dcmread(BytesIO(rest.rpartition(b"\r\n--")[0]))


def uid_in(request: Request) -> str:
    return str(dataset_in(request).SOPInstanceUID)


def takes_all(request: Request) -> Answer:
    return stored([uid_in(request)])


def table(out: Path) -> list[tuple[str, str, str]]:
    return [
        (row["file"].partition(".")[2], row["status"], row["code"])
        for row in files.read_csv(out / "push.csv")
    ]


SENT = [("seg.dcm", "sent", ""), ("sr.dcm", "sent", "")]
THERE = [("seg.dcm", "already there", ""), ("sr.dcm", "already there", "")]


def test_files_arrive_whole_and_a_second_run_sends_nothing(out: Path, medseg: Run) -> None:
    with serving(takes_all) as (host, requests):
        command = ("push", out, "--to", f"http://{host}/dicom-web/")
        assert medseg(*command).code == ExitCode.DONE and table(out) == SENT
        for request, path in zip(requests, sorted(out.glob("*.dcm")), strict=True):
            assert request.path == "/dicom-web/studies" and path.read_bytes() in request.body
            assert request.headers["content-type"].startswith('multipart/related; type="application/dicom"')
        assert medseg(*command).code == ExitCode.DONE and table(out) == THERE
        assert len(requests) == 2
    record = out / "private/pushed.json"
    assert record.stat().st_mode & 0o777 == 0o600
    record.write_text("damaged")
    with serving(takes_all) as (host, requests):
        assert medseg("push", out, "--to", f"http://{host}").code == ExitCode.DONE
        assert len(requests) == 2


def test_another_server_gets_the_files_too(out: Path, medseg: Run) -> None:
    for _ in range(2):
        with serving(takes_all) as (host, requests):
            medseg("push", out, "--to", f"http://{host}/dicom-web")
            assert len(requests) == 2


def test_a_file_that_the_server_refuses_is_named_with_its_reason(out: Path, medseg: Run) -> None:
    def partly(request: Request) -> Answer:
        sent = dataset_in(request)
        uid = str(sent.SOPInstanceUID)
        return stored(failed=[(uid, 0x0122)]) if sent.Modality == "SEG" else stored([uid])

    with serving(partly) as (host, requests):
        command = ("push", out, "--to", f"http://{host}/dicom-web")
        ended = medseg(*command)
        assert ended.code == ExitCode.SOME_EXCLUDED and "0122H: it does not take this kind" in ended.text
        assert table(out) == [("seg.dcm", "failed", "NOT_STORED"), ("sr.dcm", "sent", "")]
        medseg(*command)
        assert table(out) == [("seg.dcm", "failed", "NOT_STORED"), ("sr.dcm", "already there", "")]
        assert len(requests) == 3


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (lambda uid: stored(failed=[(uid, 0x0111)]), "already there"),
        (lambda uid: stored(failed=[(uid, 0xA700)], status=200), "NOT_STORED"),
        (lambda uid: stored(failed=[(uid, 0xB000)]), "NOT_STORED"),
        (lambda uid: stored(["1.2.3"]), "NOT_STORED"),
        (lambda uid: stored([uid], [("1.2.3", 0x0110)]), "sent"),
        (lambda uid: stored([uid], status=202), "sent"),
        (lambda uid: Answer(200, b"<xml/>"), "sent"),
        (lambda uid: Answer(200, b'{"00081198": 7, "00081199": {"Value": "x"}}'), "sent"),
        (lambda uid: Answer(409, b"[]"), "NOT_STORED"),
        (lambda uid: Answer(202, b""), "NOT_STORED"),
        (lambda uid: Answer(500, b"oops"), "NOT_STORED"),
        (lambda uid: Answer(413), "NOT_STORED"),
        (lambda uid: Answer(200, b"{", length=99), "ANSWER_INVALID"),
    ],
)
def test_the_answer_decides(out: Path, medseg: Run, answer: Callable[[str], Answer], status: str) -> None:
    with serving(lambda request: answer(uid_in(request))) as (host, requests):
        ended = medseg("push", out, "--to", f"http://{host}/dicom-web")
    assert {row[2] or row[1] for row in table(out)} == {status} and len(requests) == 2
    assert ended.code == (ExitCode.DONE if status in ("sent", "already there") else ExitCode.NOTHING_USABLE)
    assert "Traceback" not in ended.text


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Answer(401), "SERVER_REFUSED"),
        (Answer(404), "SERVER_REFUSED"),
        (Answer(503), "SERVER_REFUSED"),
        (Answer(307, headers={"Location": "http://127.0.0.2:1/"}), "SERVER_REFUSED"),
        (Answer(307, headers={"Location": "/elsewhere"}), "SERVER_REFUSED"),
    ],
)
def test_a_server_that_refuses_is_asked_once(out: Path, medseg: Run, answer: Answer, code: str) -> None:
    with serving(lambda _: answer) as (host, requests):
        ended = medseg("push", out, "--to", f"http://{host}/dicom-web")
    assert (ended.code, len(requests)) == (ExitCode.NOTHING_USABLE, 1)
    assert table(out) == [("seg.dcm", "failed", code), ("sr.dcm", "failed", code)]


# pynetdicom leaves a socket open that it could not connect
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("address", ["http://127.0.0.1:{}/dicom-web", "dicom://PACS@127.0.0.1:{}"])
def test_a_server_that_is_not_there_is_unreachable(out: Path, medseg: Run, address: str) -> None:
    with serving(lambda _: Answer()) as (host, _):
        port = host.partition(":")[2]
    ended = medseg("push", out, "--to", address.format(port))
    assert ended.code == ExitCode.NOTHING_USABLE and "Traceback" not in ended.text
    assert {row[2] for row in table(out)} == {"SERVER_UNREACHABLE"}
    assert len(ended.text.splitlines()) == 3  # one for each file, and the sum


def test_changed_lost_and_foreign_files_are_not_sent(out: Path, medseg: Run) -> None:
    seg, sr = sorted(out.glob("*.dcm"))
    seg.write_bytes(seg.read_bytes() + b"\0")
    sr.unlink()
    (out / "foreign.dcm").write_bytes(b"x")
    with serving(takes_all) as (host, requests):
        ended = medseg("push", out, "--to", f"http://{host}")
    assert (ended.code, requests) == (ExitCode.NOTHING_USABLE, [])
    codes = sorted(row[2] for row in table(out))
    assert codes == ["FILE_MISSING", "RESULT_CHANGED", "RESULT_CHANGED"]


def test_a_json_cannot_name_a_file_elsewhere(out: Path, medseg: Run) -> None:
    path = next(path for path in out.glob("mr-*.json"))
    (out.parent / "other.dcm").write_bytes(b"x")
    metadata = files.read_json(path)
    metadata["files_sha256"] = {"../other.dcm": files.sha256(out.parent / "other.dcm")}
    path.write_text(json.dumps(metadata))
    with serving(takes_all) as (host, requests):
        assert medseg("push", out, "--to", f"http://{host}").code == ExitCode.NOTHING_USABLE
    assert requests == []


def test_a_folder_without_results_is_said(tmp_path: Path, medseg: Run) -> None:
    (tmp_path / "empty").mkdir()
    ended = medseg("push", tmp_path / "empty", "--to", "http://127.0.0.1:1")
    assert ended.code == ExitCode.NOTHING_USABLE and ended.text.startswith("NOTHING_USABLE")
    ended = medseg("push", tmp_path / "none", "--to", "http://127.0.0.1:1")
    assert ended.code == ExitCode.USAGE and ended.text.startswith("PATH_MISSING")


@pytest.mark.parametrize("how_given", ["file", "environment", "token"])
@pytest.mark.parametrize("status", [200, 401, 500])
def test_the_password_reaches_the_server_and_nothing_else(
    out: Path, tmp_path: Path, medseg: Run, monkeypatch: pytest.MonkeyPatch, how_given: str, status: int
) -> None:
    secret = tmp_path.parent / f"{tmp_path.name}-secret"
    words: tuple[object, ...] = ()
    if how_given == "file":
        secret.write_text(json.dumps({"user": "me", "password": SECRET}))
        secret.chmod(0o600)
        words = ("--credentials", secret)
    elif how_given == "environment":
        monkeypatch.setenv("MEDSEG_DICOMWEB_USER", "me")
        monkeypatch.setenv("MEDSEG_DICOMWEB_PASSWORD", SECRET)
    else:
        monkeypatch.setenv("MEDSEG_DICOMWEB_TOKEN", SECRET)
    answer = takes_all if status == 200 else lambda _: Answer(status, SECRET.encode())
    with serving(answer) as (host, requests):
        ended = medseg("push", out, "--to", f"http://{host}/dicom-web", "--verbose", *words)
    expected = f"Bearer {SECRET}" if how_given == "token" else f"Basic {PAIR}"
    assert requests[0].headers["authorization"] == expected
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert (out / "medseg.log").is_file() and len(written) > 8
    for content in [ended.text.encode(), *written]:
        assert SECRET.encode() not in content and PAIR.encode() not in content
    outside = [path for path in out.rglob("*") if path.is_file() and "private" not in path.parts]
    assert not [path for path in outside if host.encode() in path.read_bytes()] and host not in ended.text


def test_credentials_are_not_for_c_store(out: Path, tmp_path: Path, medseg: Run) -> None:
    ended = medseg("push", out, "--to", "dicom://A@127.0.0.1:1", "--credentials", tmp_path / "x")
    assert ended.code == ExitCode.USAGE and ended.text.startswith("USAGE --credentials")
    ended = medseg("push", out, "--to", "dicom://A@127.0.0.1:1", "--calling-aet", "a b")
    assert ended.code == ExitCode.USAGE and ended.text.startswith("USAGE --calling-aet")


@pytest.fixture
def application() -> Iterator[Callable[..., tuple[str, list[str]]]]:
    """Start an application entity that answers C-STORE with a status; give its address and what came."""
    pynetdicom = pytest.importorskip("pynetdicom")
    servers = []

    def start(status: int, contexts: tuple[str, ...], title: str = "PACS") -> tuple[str, list[str]]:
        came: list[str] = []

        def take(event: Any) -> int:
            came.append(str(event.dataset.SOPInstanceUID))
            return status

        entity = pynetdicom.AE(ae_title=title)
        entity.require_called_aet = True
        for context in contexts:
            entity.add_supported_context(context)
        handlers = [(pynetdicom.evt.EVT_C_STORE, take)]
        server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
        servers.append(server)
        return f"dicom://PACS@127.0.0.1:{server.server_address[1]}", came

    yield start
    for server in servers:
        server.shutdown()


SEG = "1.2.840.10008.5.1.4.1.1.66.4"
SR = ("1.2.840.10008.5.1.4.1.1.88.22", "1.2.840.10008.5.1.4.1.1.88.33", "1.2.840.10008.5.1.4.1.1.88.34")


@pytest.mark.parametrize(
    ("status", "ending"),
    [
        (0, "sent"),
        (0xB000, "sent"),
        (0x0111, "already there"),
        (0xA700, "NOT_STORED"),
        (0x1234, "NOT_STORED"),
    ],
)
def test_c_store_ends_by_its_status(
    out: Path, medseg: Run, application: Callable[..., Any], status: int, ending: str
) -> None:
    address, came = application(status, (SEG, *SR))
    medseg("push", out, "--to", address)
    assert {row[2] or row[1] for row in table(out)} == {ending} and len(came) == 2


def test_c_store_of_a_kind_that_is_not_taken(out: Path, medseg: Run, application: Callable[..., Any]) -> None:
    address, came = application(0, (SEG,))
    assert medseg("push", out, "--to", address).code == ExitCode.SOME_EXCLUDED
    assert table(out) == [("seg.dcm", "sent", ""), ("sr.dcm", "failed", "NOT_STORED")] and len(came) == 1
    address, came = application(0, ("1.2.840.10008.5.1.4.1.1.4",))
    assert medseg("push", out, "--to", address).code == ExitCode.NOTHING_USABLE
    assert {row[2] for row in table(out)} == {"SERVER_REFUSED"}


def test_c_store_to_another_title_is_rejected(
    out: Path, medseg: Run, application: Callable[..., Any]
) -> None:
    address, _ = application(0, (SEG, *SR), title="OTHER")
    ended = medseg("push", out, "--to", address)
    assert {row[2] for row in table(out)} == {"SERVER_REFUSED"} and "rejects the association" in ended.text


def test_c_store_needs_its_package(out: Path, medseg: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        store.importlib.util, "find_spec", lambda name: None if name == "pynetdicom" else name
    )
    ended = medseg("push", out, "--to", "dicom://A@127.0.0.1:1")
    assert ended.code == ExitCode.USAGE and ended.text.startswith("EXTRA_MISSING")

"""Weight files by URL: fetched once from a server of this machine, refused if they are others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from medseg import files
from medseg.errors import Code, MedsegError
from medseg.networks.weights.download import download, place


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (as the base names it)
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """The address of a server, and the folder it serves."""
    (tmp_path / "served").mkdir()
    handler = partial(Quiet, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", tmp_path / "served"
        running.shutdown()


def test_a_file_is_fetched_once_and_again_if_it_was_changed(server: tuple[str, Path], tmp_path: Path) -> None:
    url, served = server
    (served / "body.pth").write_bytes(b"weights")
    right = files.sha256(served / "body.pth")
    path = download(f"{url}/body.pth?version=1", right, tmp_path / "kept")
    assert path == tmp_path / "kept/body.pth"
    assert path.read_bytes() == b"weights"
    (served / "body.pth").unlink()
    assert download(f"{url}/body.pth", right, tmp_path / "kept") == path
    path.write_bytes(b"changed")
    (served / "body.pth").write_bytes(b"weights")
    assert download(f"{url}/body.pth", right, tmp_path / "kept").read_bytes() == b"weights"


def test_another_file_is_refused_with_both_hashes_and_not_kept(
    server: tuple[str, Path], tmp_path: Path
) -> None:
    url, served = server
    (served / "body.pth").write_bytes(b"other")
    with pytest.raises(MedsegError) as refused:
        download(f"{url}/body.pth", "0" * 64, tmp_path / "kept")
    assert refused.value.code is Code.SHA256_DIFFERS
    assert "0" * 64 in str(refused.value)
    assert files.sha256(served / "body.pth") in str(refused.value)
    assert list((tmp_path / "kept").iterdir()) == []


@pytest.mark.parametrize("path", ["absent.pth", ""])
def test_an_address_that_gives_nothing_is_one_line(
    path: str, server: tuple[str, Path], tmp_path: Path
) -> None:
    url = f"{server[0]}/{path}" if path else "http://127.0.0.1:9/body.pth"
    with pytest.raises(MedsegError) as refused:
        download(url, "0" * 64, tmp_path / "kept")
    assert refused.value.code is Code.DOWNLOAD_FAILED
    assert url in str(refused.value)
    assert list((tmp_path / "kept").iterdir()) == []


def test_an_addresss_user_and_password_are_in_no_message(tmp_path: Path) -> None:
    url = "http://anna:S3cret@127.0.0.1:9/vgg.pth?token=T0ken"
    with pytest.raises(MedsegError) as refused:
        download(url, "0" * 64, tmp_path)
    assert "S3cret" not in str(refused.value)
    assert "T0ken" not in str(refused.value)
    assert "127.0.0.1:9/vgg.pth" in str(refused.value)


def test_a_files_place_is_in_the_folder(tmp_path: Path) -> None:
    assert place("https://a.org/..%2f..%2fevil.pth", tmp_path) == tmp_path / "evil.pth"
    with pytest.raises(MedsegError) as refused:
        place("https://a.org/%2e%2e", tmp_path)
    assert refused.value.code is Code.NAME_INVALID

"""What every test may use, and the rule that no test reaches another machine."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))
# Some tests compare with MONAI, which imports MLflow, which would tell its makers so.
os.environ.update({"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"})


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Give each test and its fixtures one thread of torch: commands in tests set others, last bits differ."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


# A busy machine takes seconds for what is quick alone
hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")


def _is_here(address: Any) -> bool:
    if not isinstance(address, tuple):  # a Unix socket's path
        return True
    host = str(address[0])
    if host in {"", "localhost"}:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what can be made again in a folder of the session's own, also for commands that tests start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDSEG_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))
        yield


@pytest.fixture(autouse=True)
def no_other_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail any test that looks up or connects to another machine; loopback is allowed."""
    connect, connect_ex, look_up = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def guard(address: Any) -> None:
        if not _is_here(address):
            pytest.fail(f"a test tried to reach another machine: {address!r}")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        guard(address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        guard(address)
        return connect_ex(self, address)

    def guarded_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        guard((host or "", 0))
        return look_up(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_look_up)
    yield


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data named by MEDSEG_TEST_DATA; without it the test is skipped."""
    named = os.environ.get("MEDSEG_TEST_DATA")
    if not named:
        pytest.skip("MEDSEG_TEST_DATA is not set: real data are not at hand")
    return Path(named)

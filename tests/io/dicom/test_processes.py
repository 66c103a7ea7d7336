"""Work spread over helper processes: the same results in the same order; faults and deaths of helpers."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from medseg import helper_process
from medseg.errors import Code, Finding, MedsegError
from medseg.io.dicom import processes
from medseg.io.dicom.decode import read_volume
from medseg.io.dicom.files import files_below
from medseg.io.dicom.frames import FileHeader, read_headers
from medseg.io.dicom.processes import alone, spread
from medseg.io.dicom.series import read_export
from tests.helpers.dicom_files import write_series


@pytest.fixture(autouse=True)
def two_helpers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two helpers for every job, however short; none are left to the next test."""
    monkeypatch.setattr(processes, "_WORTH_S", 0.0)
    monkeypatch.setattr(processes, "most_threads", lambda: 2)
    processes._POOL.end()
    yield
    processes._POOL.end()


def _where(item: int) -> tuple[int, int]:
    time.sleep(0.005)
    return item, os.getpid()


def _failing(item: int) -> int:
    if item == 60:
        raise MedsegError(Code.DICOM_DAMAGED, "there", "broken", "mend it")
    return item


def _dying(item: int) -> int:
    time.sleep(0.01)
    if item >= 0 and item % 100 == 99:
        os._exit(1)
    return item


def test_results_keep_their_order_and_come_from_several_processes() -> None:
    results = list(spread(_where, range(1000), _lost))
    assert [item for item, _ in results] == list(range(1000))
    by = {process for _, process in results}
    assert os.getpid() in by and len(by) == 3
    again = {process for _, process in spread(_where, range(200), _lost)}
    assert again <= by, "helpers serve the next job too"


def test_large_answers_pass_through_pipes() -> None:
    arrays = list(spread(_ones, range(100), _lost))
    assert all(array.shape == (300, 400) and (array == n).all() for n, array in enumerate(arrays))


def _lost(item: object) -> NoReturn:
    raise AssertionError(f"a helper died at {item!r}")


def _ones(item: int) -> np.ndarray:
    return np.full((300, 400), item)


def test_an_exception_is_raised_where_its_item_is_asked_for() -> None:
    results = spread(_failing, range(500), _lost)
    assert [next(results) for _ in range(60)] == list(range(60))
    with pytest.raises(MedsegError) as refused:
        next(results)
    assert refused.value.code == Code.DICOM_DAMAGED
    assert list(spread(_failing, range(50), _lost)) == list(range(50)), "the next job has helpers again"


def test_a_job_that_is_given_up_leaves_nothing_behind() -> None:
    with closing(spread(_where, range(1000), _lost)) as results:
        for _ in range(100):
            next(results)
    assert [item for item, _ in spread(_where, range(100), _lost)] == list(range(100))


def test_an_item_that_kills_its_helper_is_named_and_the_others_are_done() -> None:
    # None of the first items, which are done here before the helpers have started.
    items = [*range(-400, 0), *range(90, 210)]
    results = list(spread(_dying, items, lambda item: 1000 + item))
    assert results == [1000 + item if item in (99, 199) else item for item in items]


def test_helpers_do_all_that_is_not_to_be_done_here() -> None:
    results = list(spread(_where, range(300), _lost, here=False))
    assert [item for item, _ in results] == list(range(300))
    by = {process for _, process in results[processes._TRIAL :]}
    assert os.getpid() not in by and len(by) == 2


def _slow_once(item: tuple[int, bytes]) -> int:
    time.sleep(2.0 if item[0] == 60 else 0.002)
    return item[0]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("here", [False, True])
def test_an_item_that_takes_longer_than_all_that_may_wait_holds_nothing_up(here: bool) -> None:
    # Requests so long that a helper has one at once: nothing is under way when the slow one is answered.
    items = [(number, bytes(processes._AHEAD_BYTES)) for number in range(200)]
    assert list(spread(_slow_once, items, _lost, here=here)) == list(range(200))


def _ending_helpers(item: int) -> int:
    time.sleep(0.01)
    if helper_process.IS_HELPER:
        os._exit(1)
    return item


def test_where_every_helper_dies_the_rest_is_lost_one_by_one() -> None:
    results = list(spread(_ending_helpers, range(40), lambda item: -item, here=False))
    assert [abs(item) for item in results] == list(range(40)) and results[-1] == -39


def test_one_item_alone() -> None:
    assert alone(_failing, 1) == 1
    with pytest.raises(MedsegError):
        alone(_failing, 60)
    with pytest.raises(ChildProcessError):
        alone(_dying, 99)


def test_long_requests_and_long_answers_do_not_wait_for_each_other() -> None:
    items = [bytes(200_000) * (1 + n % 2) for n in range(60)]
    assert list(spread(_longer, items, _lost)) == [item * 20 for item in items]


def _longer(item: bytes) -> bytes:
    time.sleep(0.005)
    return item * 20


_CRASHING = """
import os, sys
sys.path[:] = {path!r}
from medseg.io.dicom import frames
read = frames.read_header
def crash(file):
    if str(file) == {file!r} and not ({once} and os.path.exists({seen!r})):
        open({seen!r}, "w").close()
        os._exit(1)
    return read(file)
frames.read_header = crash
"""


@pytest.mark.parametrize("once", [True, False])
def test_a_header_at_which_a_helper_dies_is_read_alone_or_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, once: bool
) -> None:
    write_series(tmp_path / "in", np.ones((4, 3, 300), np.uint16), np.diag([1.0, 2.0, 3.0, 1.0]))
    listed = list(files_below(tmp_path / "in"))
    crash = _CRASHING.format(path=sys.path, file=str(listed[290]), once=once, seen=str(tmp_path / "seen"))
    answer = processes.answer

    def slow(*arguments: Any) -> Any:
        time.sleep(0.1)
        return answer(*arguments)

    monkeypatch.setattr(processes, "answer", slow)  # so that helpers read the last files
    monkeypatch.setattr(helper_process, "_PROGRAM", crash + helper_process._PROGRAM)
    headers = list(read_headers(listed))
    assert (tmp_path / "seen").exists()
    damaged = {n: h.code for n, h in enumerate(headers) if isinstance(h, Finding)}
    assert damaged == ({} if once else {290: Code.DICOM_DAMAGED})
    assert sum(isinstance(header, FileHeader) for header in headers) == 300 - len(damaged)


@pytest.mark.parametrize("processors", [1, 2])
def test_without_helpers_all_is_done_here(monkeypatch: pytest.MonkeyPatch, processors: int) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(processes, "most_threads", lambda: processors)
    monkeypatch.setattr(helper_process.subprocess, "Popen", refuse)
    assert {process for _, process in spread(_where, range(50), _lost)} == {os.getpid()}


def test_a_series_is_the_same_with_helpers_and_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 4000, (40, 30, 300)).astype(np.uint16)
    write_series(tmp_path, pixels, np.diag([1.0, 2.0, 3.0, 1.0]))
    (volume,) = read_export(tmp_path).volumes
    with_helpers = read_volume(volume).array
    monkeypatch.setattr(processes, "most_threads", lambda: 1)
    (again,) = read_export(tmp_path).volumes
    assert [f.instance_uid for f in again.frames] == [f.instance_uid for f in volume.frames]
    np.testing.assert_array_equal(with_helpers, read_volume(again).array)
    np.testing.assert_array_equal(with_helpers[0], pixels)

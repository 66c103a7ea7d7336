"""Amounts of memory and time as people write them."""

from __future__ import annotations

import pytest

from medseg.cli import quantities
from medseg.errors import Code, MedsegError


@pytest.mark.parametrize(
    ("text", "value"),
    [("2GB", 2e9), ("1500 mb", 1.5e9), ("1.5GiB", 1.5 * 2**30), ("800M", 8e8), ("1t", 1e12), ("64Ki", 65536)],
)
def test_sizes(text: str, value: float) -> None:
    assert quantities.size("--max-memory", text) == value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30m", 1800), ("90s", 90), ("1h30m", 5400), ("1.5h", 5400), ("2d", 172_800), ("5 min", 300)],
)
def test_durations(text: str, seconds: float) -> None:
    assert quantities.duration("--time", text) == seconds


@pytest.mark.parametrize("text", ["", "2", "GB", "-2GB", "0GB", "2 GBs", "nan GB", "1e3MB"])
def test_sizes_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(MedsegError) as refused:
        quantities.size("--max-memory", text)
    assert refused.value.code == Code.USAGE and "2GB" in refused.value.finding.how_to_fix


@pytest.mark.parametrize("text", ["", "30", "m", "-5m", "0s", "30m x", "1h 30", "30mm"])
def test_durations_that_cannot_be_meant(text: str) -> None:
    with pytest.raises(MedsegError) as refused:
        quantities.duration("--time", text)
    assert refused.value.code == Code.USAGE and "30m" in refused.value.finding.how_to_fix

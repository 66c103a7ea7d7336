"""One answer to which device is meant, and a refusal that names those at hand."""

from __future__ import annotations

import pytest
import torch

from medseg.device import at_hand, choose, in_words
from medseg.errors import Code, MedsegError


def machine(monkeypatch: pytest.MonkeyPatch, gpus: int = 0, *, apple: bool = False) -> None:
    """A machine with that many GPUs of CUDA."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: apple)


@pytest.mark.parametrize(
    ("gpus", "apple", "here"),
    [
        (0, False, ["cpu"]),
        (2, False, ["cuda", "cuda:0", "cuda:1", "cpu"]),
        (0, True, ["mps", "cpu"]),
    ],
)
def test_auto_is_the_first_device_at_hand(
    monkeypatch: pytest.MonkeyPatch, gpus: int, apple: bool, here: list[str]
) -> None:
    machine(monkeypatch, gpus, apple=apple)
    assert at_hand() == here
    assert choose("auto") == here[0]
    assert [choose(device) for device in here] == here


@pytest.mark.parametrize("device", ["cuda", "cuda:2", "mps", "banana", ""])
def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch, device: str) -> None:
    machine(monkeypatch, gpus=2 if device == "cuda:2" else 0)
    with pytest.raises(MedsegError) as caught:
        choose(device)
    assert caught.value.code == Code.USAGE
    assert caught.value.finding.how_to_fix.endswith("cpu")


def test_a_cpu_has_a_name() -> None:
    assert in_words("cpu").startswith("cpu (")

"""One answer to which device is meant, and a refusal that names those at hand."""

from __future__ import annotations

import pytest
import torch

from medseg.device import (
    at_hand,
    choose,
    emulation_warning,
    has_native_bf16,
    in_words,
    resolve_precision,
)
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


def processor(monkeypatch: pytest.MonkeyPatch, *, onednn: bool, **capabilities: bool | str) -> None:
    """A CPU of which oneDNN and torch say so much."""
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: onednn)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64", **capabilities})


def gpu(monkeypatch: pytest.MonkeyPatch, *capabilities: int) -> None:
    """GPUs of CUDA with these major compute capabilities; torch emulates bf16 on all of them."""
    current = [0]

    class Chosen:
        def __init__(self, device: torch.device) -> None:
            self.index = device.index or 0

        def __enter__(self) -> None:
            current[0] = self.index

        def __exit__(self, *_: object) -> None:
            current[0] = 0

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device", Chosen)
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: including_emulation or capabilities[current[0]] >= 8,
    )


@pytest.mark.parametrize(
    ("onednn", "capabilities", "native"),
    [
        (False, {"avx2": True}, False),
        (True, {"avx512_f": True}, False),  # oneDNN would convert
        (True, {"avx512_f": True, "avx512_bf16": True}, True),
        (True, {"amx_bf16": True}, True),
        (False, {"avx512_bf16": True}, False),
        (True, {"architecture": "arm64"}, True),  # there oneDNN asks for the instructions themselves
    ],
)
def test_auto_on_a_cpu_is_bf16_only_where_its_instructions_are(
    monkeypatch: pytest.MonkeyPatch, onednn: bool, capabilities: dict[str, bool | str], native: bool
) -> None:
    processor(monkeypatch, onednn=onednn, **capabilities)
    assert has_native_bf16("cpu") is native
    assert resolve_precision("auto", "cpu") == ("bf16" if native else "fp32")
    assert (emulation_warning("bf16", "cpu") is None) is native


def test_auto_on_a_gpu_is_bf16_without_emulation_and_otherwise_fp16(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(monkeypatch, 9, 7)
    found = [resolve_precision("auto", d) for d in ("cuda", "cuda:0", "cuda:1", torch.device("cuda", 1))]
    assert found == ["bf16", "bf16", "fp16", "fp16"]
    assert emulation_warning("bf16", "cuda:0") is None
    assert "which is fp16 here" in (emulation_warning("bf16", "cuda:1") or "")


def test_an_emulated_bf16_is_told_with_its_factor(monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, onednn=False, avx2=True)
    told = emulation_warning("bf16", "cpu")
    assert told is not None
    assert "7.4 times slower" in told
    assert "which is fp32 here" in told
    assert [emulation_warning(precision, "cpu") for precision in ("auto", "fp32")] == [None, None]


def test_a_torch_that_no_longer_says_counts_as_no(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.ops, "mkldnn", object())
    assert not has_native_bf16("cpu")


def test_a_fixed_precision_stays_and_fp16_on_a_cpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    processor(monkeypatch, onednn=False)
    assert [resolve_precision(p, "cpu") for p in ("fp32", "bf16")] == ["fp32", "bf16"]
    assert [resolve_precision(p, "cuda:3") for p in ("fp32", "bf16", "fp16")] == ["fp32", "bf16", "fp16"]
    assert resolve_precision("auto", "mps") == "fp32"
    for device in ("cpu", torch.device("cpu")):
        with pytest.raises(MedsegError) as refused:
            resolve_precision("fp16", device)
        assert refused.value.code is Code.KEYWORD_INVALID

"""What a viewer's page holds, unpacked again, and the pages that may stay as they are."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.classes import VOID, ClassList
from medseg.errors import Code, MedsegError
from medseg.grid import Array, Grid
from medseg.report import viewer, viewer_volumes
from medseg.volume import Volume

CLASSES = ClassList.from_names({0: "background", 1: "csf", 2: "gm"})


def data_of(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    return found


def unpacked(text: str, shape: tuple[int, ...]) -> Array:
    data = gzip.decompress(base64.b64decode(text.partition(",")[2]))
    return np.frombuffer(data, np.uint8).reshape(shape, order="F")


def grey_of(channel: dict[str, Any], shape: tuple[int, ...]) -> Array:
    """Grey values as the page's script adds them up again."""
    coarse = tuple(-(-n // b) for n, b in zip(shape, channel["blocks"], strict=True))
    steps = np.add.accumulate(unpacked(channel["planes"][0], coarse), axis=0, dtype=np.uint8)
    return channel["low"] + steps / (channel["levels"] - 1) * (channel["high"] - channel["low"])


@given(
    order=st.permutations(range(3)),
    senses=st.tuples(*[st.sampled_from((-1, 1))] * 3),
    seed=st.integers(0, 99),
    edges=st.tuples(*[st.sampled_from((0.7, 1.0, 5.0))] * 3),
)
def test_arrays_come_back_turned_as_nibabel_turns_them(order, senses, seed, edges) -> None:
    generator = np.random.default_rng(seed)
    shape = tuple(int(n) for n in generator.integers(6, 14, 3))
    affine = np.eye(4)
    affine[:3, :3] = np.eye(3)[:, order] * senses * edges
    affine[:3, 3] = generator.normal(0, 50, 3)
    grey = generator.normal(100, 20, shape).astype(np.float32)
    truth = generator.integers(0, 3, shape).astype(np.uint8)
    page = data_of(
        viewer.render(
            viewer.Heading("a", "t"), Volume(grey[None], Grid(shape, affine)), ["t1"], CLASSES, truth=truth
        )
    )
    first, shown = page["first"], tuple(page["shape"])
    box = tuple(slice(f, f + n) for f, n in zip(first, shown, strict=True))
    canonical = nib.as_closest_canonical(nib.Nifti1Image(truth, affine))
    expected = np.asarray(canonical.dataobj)
    assert (unpacked(page["labels"]["truth"], shown) == expected[box]).all()
    assert (
        not np.delete(expected, np.s_[:], axis=0).any() and (expected > 0).sum() == (expected[box] > 0).sum()
    )
    assert page["spacing"] == pytest.approx(canonical.header.get_zooms(), rel=1e-5)
    turned_grey = np.asarray(nib.as_closest_canonical(nib.Nifti1Image(grey, affine)).dataobj)[box]
    channel = page["channels"][0]
    step = (channel["high"] - channel["low"]) / 255
    assert grey_of(channel, shown) == pytest.approx(
        np.minimum(turned_grey, channel["high"]), abs=step / 2 + 1e-3
    )
    voxel = np.array([1, 2, 3])
    there = np.array(page["affine"]) @ np.append(voxel, 1)
    assert there == pytest.approx(nib.affines.apply_affine(canonical.affine, voxel + first), abs=1e-3)
    assert page["sides"] == [["L", "R"], ["P", "A"], ["I", "S"]]


def test_an_oblique_axis_has_the_letters_of_both_sides_it_runs_between() -> None:
    turn = np.deg2rad(30)
    affine = np.array(
        [[np.cos(turn), -np.sin(turn), 0, 0], [np.sin(turn), np.cos(turn), 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    )
    assert viewer_volumes.sides(affine) == [["LP", "RA"], ["PR", "AL"], ["I", "S"]]


def test_grey_values_beyond_the_budget_lose_steps_then_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).uniform(50, 250, (1, 24, 20, 16)).astype(np.float32)
    image = Volume(noise, Grid((24, 20, 16), np.diag([1.0, 1, 4, 1])))

    def shown(budget: int) -> dict[str, Any]:
        monkeypatch.setattr(viewer_volumes, "GREY_BYTES", budget)
        return data_of(viewer.render(viewer.Heading("a", "t"), image, ["t1"], CLASSES))["channels"][0]

    whole, fewer, coarse = shown(10**6), shown(7000), shown(2000)
    assert (whole["levels"], whole["blocks"]) == (256, [1, 1, 1])
    assert fewer["levels"] < 256 and fewer["blocks"] == [1, 1, 1]
    assert coarse["blocks"] == [2, 2, 1]  # the finest axes together
    assert "grey values are means of 2 × 2 × 1 voxels" in viewer.render(
        viewer.Heading("a", "t"), image, ["t1"], CLASSES
    )
    means = noise[0].reshape(12, 2, 10, 2, 16).mean(axis=(1, 3))
    step = (coarse["high"] - coarse["low"]) / (coarse["levels"] - 1)
    clipped = np.minimum(noise[0], coarse["high"]).reshape(12, 2, 10, 2, 16).mean(axis=(1, 3))
    assert abs(grey_of(coarse, (24, 20, 16)) - clipped).max() <= step and abs(means - clipped).max() < step


def test_of_a_huge_label_map_every_nth_voxel_is_shown_the_finest_axes_first() -> None:
    assert viewer_volumes._steps((64, 64, 64), np.ones(3), 64**3) == (1, 1, 1)
    assert viewer_volumes._steps((512, 512, 40), np.array([0.5, 0.5, 4]), 512 * 512 * 10) == (2, 2, 1)


@pytest.mark.parametrize("grey", [0.0, 7.0])
def test_a_scan_of_one_value_and_no_labels_has_a_page(grey: float) -> None:
    image = Volume(np.full((1, 5, 6, 7), grey, np.float32), Grid((5, 6, 7), np.eye(4)))
    page = data_of(viewer.render(viewer.Heading("a", "t"), image, ["t1"], CLASSES))
    assert page["shape"] == [5, 6, 7] and page["layers"] == ["none"] and page["labels"] == {}


def test_void_is_listed_where_there_is_some() -> None:
    labels = np.full((5, 6, 7), VOID, np.uint8)
    image = Volume(np.ones((1, 5, 6, 7), np.float32), Grid((5, 6, 7), np.eye(4)))
    text = viewer.render(viewer.Heading("a", "t"), image, ["t1"], CLASSES, truth=labels)
    assert data_of(text)["has_void"] and "void (ignored label)" in text


EVIL = ["</script><script>alert(1)</script>", '"><img src=x>', "a#b?c%d", "ä ö", "<!--"]


@pytest.mark.parametrize("evil", EVIL)
def test_hostile_names_stay_texts(evil: str, tmp_path: Path) -> None:
    image = Volume(np.ones((1, 5, 6, 7), np.float32), Grid((5, 6, 7), np.eye(4)))
    classes = ClassList.from_names({0: "background", 1: evil})
    heading = viewer.Heading(evil, evil, [evil], {evil: evil}, worse=evil, better=evil)
    text = viewer.render(heading, image, [evil, evil][:1], classes, truth=np.ones((5, 6, 7), np.uint8))
    assert text.count("<script") == 3 and "<img" not in text and "http" not in text.replace("http-equiv", "")
    assert data_of(text)["channels"][0]["name"] == evil
    links = re.findall(r'href="([^"]*)" title', text)
    assert [unquote(link) for link in links] == [evil + ".html"] * 2
    if "/" in evil:
        with pytest.raises(MedsegError) as caught:
            viewer.path_of(tmp_path, evil)
        assert caught.value.finding.code is Code.NAME_INVALID
    else:
        page = viewer.path_of(tmp_path, evil)
        assert unquote(viewer.address(page)) == f"{tmp_path.name}/{evil}.html"


def test_a_page_has_its_key_only_while_it_is_as_it_was_written(tmp_path: Path) -> None:
    image = Volume(np.ones((1, 5, 6, 7), np.float32), Grid((5, 6, 7), np.eye(4)))
    path = viewer.path_of(tmp_path, "a")
    assert viewer.key_of(path) is None
    text = viewer.render(viewer.Heading("a", "t"), image, ["t1"], CLASSES, key="0123")
    path.write_text(text)
    assert viewer.key_of(path) == "0123"
    for damaged in (text[: len(text) // 2], text.replace("pointermove", "pointerm0ve"), text[:-80], ""):
        path.write_text(damaged)
        assert viewer.key_of(path) is None


def test_a_page_of_fewer_voxels_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer_volumes, "MOST_VOXELS", 12 * 10 * 8)
    image = Volume(np.ones((1, 24, 20, 8), np.float32), Grid((24, 20, 8), np.diag([1.0, 1, 4, 1])))
    labels = np.random.default_rng(0).integers(0, 3, (24, 20, 8)).astype(np.uint8)
    text = viewer.render(viewer.Heading("a", "t"), image, ["t1"], CLASSES, truth=labels)
    page = data_of(text)
    assert "every 2 × 2 × 1th voxel is shown" in text and page["shape"] == [12, 10, 8]
    assert (unpacked(page["labels"]["truth"], (12, 10, 8)) == labels[::2, ::2]).all()
    assert page["spacing"] == [2, 2, 4] and page["affine"][0] == [2, 0, 0, 0]

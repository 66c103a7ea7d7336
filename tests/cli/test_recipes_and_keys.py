"""Names that people type: completion, `did you mean`, `medseg recipes` and `medseg show`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from medseg import networks
from medseg.cli import completion
from medseg.config import load
from medseg.config.recipe import Recipe
from medseg.errors import ExitCode, choice
from pipelines.commands import recipes
from tests.helpers.commands import run_command


def complete(words: str, shell: str = "bash") -> subprocess.CompletedProcess[str]:
    """Complete the last of these words as a shell does; fails if it imports what takes time."""
    script = (
        "import sys; sys.argv = ['medseg']\n"
        "from medseg.cli import main\n"
        "try: main()\n"
        "finally:\n"
        "    heavy = {'torch', 'mlflow', 'monai', 'numpy', 'nibabel'} & set(sys.modules)\n"
        "    if heavy: print(heavy)"
    )
    environment = {
        **os.environ,
        "_MEDSEG_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
        "_TYPER_COMPLETE_ARGS": words,
    }
    command = [sys.executable, "-c", script]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("medseg run hippocampus_q", ["hippocampus_quick"]),
        ("medseg show deeplab_v3", ["deeplab_v3", "deeplab_v3plus"]),
        ("medseg conv", ["convert"]),
        ("medseg run demo --from pre", ["preprocess", "predict"]),
    ],
)
def test_the_shell_completes_names(words: str, expected: list[str]) -> None:
    assert complete(words).stdout.split() == expected


def test_keys_and_their_values_are_completed() -> None:
    assert completion.settings("train.sche") == ["train.schedule="]
    words = [f"train.schedule={word}" for word in ("constant", "poly", "cosine", "plateau")]
    assert completion.settings("train.schedule=") == words
    assert completion.settings("network.name=usegn") == ["network.name=usegnet"]
    assert completion.settings("train.compile=f") == ["train.compile=false"]
    assert completion.settings("train.lr=") == completion.settings("nonsense=") == []
    assert completion.classes("city") == ["cityscapes"]


def test_completed_keys_are_keys_of_a_recipe() -> None:
    keys = {text.rstrip("=") for text in completion.settings("")}
    known = set(load.keys_of(Recipe))
    assert len(keys) > 100
    assert {key for key in keys - known if not key.endswith(".above")} == set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell_is_shown(shell: str) -> None:
    environment = {**os.environ, "_MEDSEG_COMPLETE": f"source_{shell}"}
    script = "import sys; sys.argv = ['medseg']; from medseg.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False
    )
    assert "_MEDSEG_COMPLETE" in done.stdout


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["rnu", "demo"], "Did you mean 'run'?"),
        (["run", "dmeo"], "no such recipe; did you mean demo?"),
        (["show", "ibsr18_quik"], "did you mean ibsr18_quick"),
        (["show", "unett"], "did you mean unet"),
        (["show", "train.epoch"], "did you mean train.epochs"),
        (["show", "xyzzy"], "`medseg recipes` lists recipes"),
        (["show", "unet", "--set", "train.lr=1"], "--set and --data need a recipe"),
        (["run", "demo", "--set", "trian.epochs=3"], "did you mean train?"),
        (["run", "demo", "--set", "network.name=usegnte"], "did you mean usegnet"),
        (["run", "demo", "--set", "loss.name=focl"], "did you mean focal?"),
        (["run", "demo", "--from", "trian"], "did you mean train?"),
        (["compare", "a", "b", "--metric", "dyce"], "did you mean dice"),
    ],
)
def test_a_misspelt_name_is_answered_with_the_one_that_was_meant(
    words: list[object], answer: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = run_command(words, capfd, monkeypatch)
    assert ended.code == ExitCode.USAGE
    assert answer in " ".join(ended.text.split())


def test_a_misspelt_file_of_a_recipe_is_answered_with_the_one_beside_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\n")
    ended = run_command(["run", tmp_path / "mine.yml"], capfd, monkeypatch)
    assert ended.code == ExitCode.USAGE
    assert ended.text.rstrip().endswith("mine.yaml?")


def test_a_work_folder_in_place_of_a_recipe_is_answered_with_the_recipe_inside(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipe.yaml").write_text("name: mine\n")
    ended = run_command(["run", tmp_path], capfd, monkeypatch)
    assert ended.code == ExitCode.USAGE
    assert "a work folder and no recipe" in " ".join(ended.text.split())
    assert f"recipe.yaml --work {tmp_path}" in "".join(ended.text.split("\n"))


def test_a_folder_that_is_not_there_is_said_to_be_missing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = run_command(["compare", tmp_path / "a", tmp_path / "b"], capfd, monkeypatch)
    assert ended.code == ExitCode.USAGE and "no such folder" in " ".join(ended.text.split())


def test_the_version_has_a_short_option(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    short, long = (run_command([word], capfd, monkeypatch) for word in ("-V", "--version"))
    assert short == long and short.code == 0 and short.text.startswith("medseg ")


def test_choices_are_spelt_alike_or_all() -> None:
    assert choice("T1", ["t1", "flair"]) == "did you mean t1?"
    assert choice("unett", ["unet", "unetpp", "usegnet"]) == "did you mean unet?"
    assert choice("fold", ["folds", "fold1", "x"]) == "did you mean folds or fold1?"
    assert choice("x", ["unet", "segnet"]) == "use one of unet, segnet"


def test_packaged_recipes_are_listed(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = {row["name"]: row for row in recipes.table()}
    for name, row in rows.items():
        assert row["network"] == load.load(name).network.name
    assert (rows["ibsr18_quick"]["minutes"], rows["voc_fcn8s"]["minutes"]) == (26, None)
    assert rows["ibsr18_unet_quick"]["minutes"] == 6
    lines = run_command(["recipes"], capfd, monkeypatch).text.splitlines()
    assert lines[0].split() == ["recipe", "data", "network", "minutes"]
    assert len(lines) == len(rows) + 4
    assert json.loads(run_command(["recipes", "--json"], capfd, monkeypatch).text) == [*rows.values()]


def test_a_narrow_table_cuts_descriptions_of_data_alone() -> None:
    row = {"name": "quick", "data": "heads of many people", "network": "unet", "minutes": 3}
    lines = list(recipes._lines([row], 40))
    assert lines[0] == "recipe  data            network  minutes"
    assert lines[1] == "quick   heads of many…  unet           3"


def test_a_recipe_is_shown_resolved(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    shown = run_command(["show", "demo", "--set", "train.epochs=3"], capfd, monkeypatch)
    tree = yaml.safe_load(shown.text)
    assert (shown.code, tree["train"]["epochs"], tree["predict"]["mode"]) == (0, 3, "dense")
    (tmp_path / "again.yaml").write_text(shown.text)
    assert load.load(str(tmp_path / "again.yaml")) == load.load("demo", ["train.epochs=3"])
    as_json = run_command(["show", "demo", "--set", "train.epochs=3", "--json"], capfd, monkeypatch)
    assert json.loads(as_json.text) == tree


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("train.lr", ["train.lr", "type: float", "allowed: more than 0", "default: 0.001"]),
        ("lr", ["train.lr", "train.phases.lr"]),
        ("sampling", ["sampling.plane", "type: axial or coronal or sagittal", "sampling.depth"]),
        ("data.splits.val", ["allowed: at least 0, at most 1", "typical: 0.1 to 0.2"]),
        ("network.name", ["monai.networks.nets:<Name>", "default: usegnet"]),
        ("train.compile", ["allowed: true, false"]),
        ("data.classes", ["default: {}", "typical: {0: background, 1: lesion}"]),
        ("unet", ["parameters: 31,043,716", "network.keywords.width: 64"]),
        (
            "network.keywords.backbone",
            ["default: nothing", "default: vgg16 (fcn32s, fcn16s,", "resnet152, mobilenetv1,", "swin_t"],
        ),
        ("network.keywords.depth", ["autoencoder (halvings of the size)", "at least 1"]),
    ],
)
def test_keys_sections_and_networks_are_explained(
    name: str, lines: list[str], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = run_command(["show", name], capfd, monkeypatch)
    text = "\n".join(" ".join(line.split()) for line in shown.text.splitlines())
    assert shown.code == ExitCode.DONE
    assert [line for line in lines if line not in text] == []
    as_json = json.loads(run_command(["show", name, "--json"], capfd, monkeypatch).text)
    assert as_json


def test_every_keyword_can_be_shown(capfd: pytest.CaptureFixture[str]) -> None:
    from pipelines.commands import show

    every = {(name, keyword) for name in networks.NETWORKS for keyword in networks.keywords_of(name)}
    for keyword in {keyword for _, keyword in every}:
        show.run(f"network.keywords.{keyword}", [], None, as_json=False)
        text = capfd.readouterr().out
        assert text.startswith(f"network.keywords.{keyword}\n  Keyword of ")
        assert all(re.search(rf"\b{name}\b", text) for name, own in every if own == keyword)


def test_an_unknown_keyword_of_networks_is_refused_with_one_spelt_alike(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = run_command(["show", "network.keywords.backbon"], capfd, monkeypatch)
    assert ended.code == ExitCode.USAGE and "did you mean backbone?" in " ".join(ended.text.split())


def test_a_work_folder_in_place_of_a_recipe_is_explained(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "recipe.yaml").write_text("name: x\n")
    ended = run_command(["evaluate", tmp_path], capfd, monkeypatch)
    said = "".join(ended.text.split())
    assert ended.code == ExitCode.USAGE and "itisaworkfolder" in said
    assert f"{tmp_path}/recipe.yaml--work{tmp_path}".replace(" ", "") in said


def test_every_key_can_be_shown(capfd: pytest.CaptureFixture[str]) -> None:
    from pipelines.commands import show

    for key in load.keys_of(Recipe):
        show.run(key, [], None, as_json=False)
        lines = capfd.readouterr().out.splitlines()
        assert lines[0] == key and lines[1].strip()


COMMANDS = [
    *("init", "check", "convert", "recipes", "show", "demo", "run", "baseline"),
    *("ingest", "preprocess", "train", "predict", "evaluate", "report"),
    *("compare", "benchmark", "ui", "explain", "segment", "models", "export", "push", "info", "doctor"),
]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("command", COMMANDS)
def test_a_help_page_reads_well(
    command: str, width: int, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    page = run_command([command, "--help"], capfd, monkeypatch)
    assert page.code == 0 and max(map(len, page.text.splitlines())) <= width
    assert f"Example: medseg {command}" in " ".join(page.text.split())
    assert not re.search(r"<(?:bool|str|path|float|int|list)\b", page.text)


def test_commands_stand_in_the_order_of_a_project(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = run_command(["--help"], capfd, monkeypatch).text
    listed = re.findall(r"^│ ([a-z]+) {2,}", page, re.MULTILINE)
    assert listed == COMMANDS


def test_shared_options_have_one_spelling(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    pages = {name: run_command([name, "--help"], capfd, monkeypatch).text for name in COMMANDS}
    for option, short in {"--out": "-o", "--model": "-m", "--work": "-w", "--recipe": "-r"}.items():
        for name, page in pages.items():
            for line in page.splitlines():
                if re.match(rf"│ [* ]*{option} ", line):
                    assert f" {short} " in line, f"{name}: {line}"
    for name in ("run", "train", "predict", "preprocess", "demo", "segment", "explain"):
        assert re.search(r"--device +DEVICE", pages[name]), name
    for name in ("run", "check", "info", "doctor", "recipes", "show", "compare", "benchmark"):
        assert "--json " in pages[name], name

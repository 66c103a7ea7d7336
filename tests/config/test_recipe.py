"""A recipe is read whole, refused whole, and says everything that is wrong with it at once."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from medseg.config import load
from medseg.config.data import Fold, RandomSplit
from medseg.config.load import RecipeError
from medseg.errors import Code, MedsegError
from medseg.model import packaged

SMALL = {"name": "small", "data": {"path": "scans", "classes": {0: "background", 1: "lesion"}}}


def written(folder: Path, tree: object) -> str:
    path = folder / "recipe.yaml"
    path.write_text(tree if isinstance(tree, str) else yaml.safe_dump(tree))
    return str(path)


def test_defaults_fill_what_a_small_recipe_leaves_out(tmp_path: Path) -> None:
    recipe = load.load(written(tmp_path, SMALL))
    assert recipe.network.name == "usegnet"
    assert recipe.data.class_list().names == ("background", "lesion")
    assert recipe.data.splits == RandomSplit()


def test_paths_in_a_file_are_relative_to_it_and_data_overrides(tmp_path: Path) -> None:
    path = written(tmp_path, SMALL)
    assert load.load(path).data.path == tmp_path / "scans"
    assert load.load(path, data=tmp_path / "other").data.path == tmp_path / "other"


def test_a_path_of_the_command_line_is_relative_to_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = written(tmp_path, SMALL)
    assert load.load(path, ["data.path=../x"]).data.path == tmp_path / "x"
    assert load.load(path, data=Path("../y")).data.path == tmp_path / "y"


def test_training_may_start_from_a_model_that_ships_by_its_name(tmp_path: Path) -> None:
    tree = {**SMALL, "network": {"name": "unet", "init_from": "brain-tissue"}}
    assert load.load(written(tmp_path, tree)).network.init_from == packaged.MODELS / "brain-tissue"
    (tmp_path / "brain-tissue").mkdir()
    assert load.load(written(tmp_path, tree)).network.init_from == tmp_path / "brain-tissue"
    other = load.load(written(tmp_path, SMALL), ["network.init_from=brain-tissues", "network.name=unet"])
    assert other.network.init_from == Path.cwd() / "brain-tissues"


def test_set_reaches_any_depth_and_is_yaml(tmp_path: Path) -> None:
    recipe = load.load(
        written(tmp_path, SMALL), ["train.augment.flip=[left_right]", "train.lr=0.5", "network.name=unet"]
    )
    assert recipe.train.augment.flip == ("left_right",)
    assert recipe.train.lr == 0.5
    assert recipe.network.name == "unet"


def test_a_list_of_roles_is_one_fold(tmp_path: Path) -> None:
    tree = {**SMALL, "data": {**SMALL["data"], "splits": {"train": ["a"], "val": ["b"], "test": ["c"]}}}  # type: ignore[dict-item]
    assert load.load(written(tmp_path, tree)).data.splits == (Fold(train=("a",), val=("b",), test=("c",)),)


def test_every_problem_is_reported_at_once_with_key_value_and_remedy(tmp_path: Path) -> None:
    tree = {
        **SMALL,
        "train": {"epohcs": 5, "lr": -1},
        "sampling": {"depth": 2},
        "predict": {"mode": "magic"},
        "network": {"name": "usegnet"},
    }
    with pytest.raises(RecipeError) as caught:
        load.load(written(tmp_path, tree), ["nonsense"])
    lines = [str(p) for p in caught.value.problems]
    assert len(lines) == 5
    assert any("train.epohcs" in line and "did you mean epochs?" in line for line in lines)
    assert any("train.lr: -1" in line for line in lines)
    assert any("sampling.depth: 2" in line and "odd" in line for line in lines)
    assert any("predict.mode: 'magic'" in line for line in lines)
    assert any("--set nonsense" in line for line in lines)
    assert all(line.startswith("RECIPE_INVALID") for line in lines)


def test_wrong_values_hide_neither_clashes_nor_unknown_names(tmp_path: Path) -> None:
    tree = {
        **SMALL,
        "loss": {"name": "nope", "class_weights": [1.0, 2.0, 3.0]},
        "network": {"name": "subprocess:Popen"},
        "predict": {"mode": "vote", "stride": [41, 10]},
        "train": {
            "lr": -1,
            "device": "banana",
            "epochs": 3,
            "phases": [{"layers": ["*"], "lr": 0.1, "epochs": 2}],
        },
    }
    with pytest.raises(RecipeError) as caught:
        load.load(written(tmp_path, tree))
    told = {p.where.split(": ")[1]: p for p in caught.value.problems}
    assert told.keys() == {
        *("loss.name", "loss.class_weights", "network.name"),
        *("predict.stride", "train.lr", "train.device", "train.phases"),
    }
    assert told["network.name"].code == Code.NETWORK_UNKNOWN
    assert "use one of bce, bce_dice, ce, ce_dice" in told["loss.name"].how_to_fix
    assert "cuda:1" in told["train.device"].how_to_fix


def test_a_clash_with_a_value_that_is_wrong_by_itself_is_not_guessed_at(tmp_path: Path) -> None:
    tree = {**SMALL, "train": {"epochs": "many", "phases": [{"layers": ["*"], "lr": 0.1, "epochs": 2}]}}
    with pytest.raises(RecipeError) as caught:
        load.load(written(tmp_path, tree))
    (problem,) = caught.value.problems
    assert problem.where.endswith("train.epochs")


@pytest.mark.parametrize("device", ["auto", "cpu", "mps", "cuda", "cuda:3"])
def test_devices_have_torchs_names(tmp_path: Path, device: str) -> None:
    assert load.load(written(tmp_path, SMALL), [f"train.device={device}"]).train.device == device


@pytest.mark.parametrize(
    ("given", "rule"), [("auto", "auto"), ("all", "all"), (3, 3.0), ({"above": -1}, -1.0)]
)
def test_foreground_is_a_rule_or_what_lies_above_a_number(
    tmp_path: Path, given: object, rule: object
) -> None:
    tree = {**SMALL, "preprocess": {"foreground": given}}
    assert load.load(written(tmp_path, tree)).preprocess.foreground == rule


@pytest.mark.parametrize("given", [{"below": 3}, {"above": "x"}, "most"])
def test_a_wrong_foreground_is_one_line_with_its_value(tmp_path: Path, given: object) -> None:
    with pytest.raises(RecipeError) as caught:
        load.load(written(tmp_path, {**SMALL, "preprocess": {"foreground": given}}))
    (problem,) = caught.value.problems
    assert problem.where.endswith("preprocess.foreground")
    assert problem.details == repr(given.get("above", given) if isinstance(given, dict) else given)


def test_keys_whose_values_differ_are_named(tmp_path: Path) -> None:
    one = load.load(written(tmp_path, SMALL))
    other = load.load(written(tmp_path, SMALL), ["train.epochs=3", "description=x"], tmp_path)
    assert load.differing(one, other) == ["description", "data.path", "train.epochs"]
    assert load.differing(one, one) == []


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ({"loss": {"class_weights": [1.0, 2.0, 3.0]}}, "3 values for 2 classes"),
        ({"predict": {"mode": "vote", "stride": [41, 10]}}, "leaves gaps"),
        ({"loss": {"name": "dice", "weight_map": {}}}, "dice takes none; use one of ce, ce_dice, focal"),
        ({"loss": {"weight_map": {"sigma_px": 0}}}, "greater than 0"),
        ({"loss": {"weight_map": {"w0": 1e6}}}, "less than or equal to 10000"),
        ({"train": {"augment": {"elastic_px": -1}}}, "greater than or equal to 0"),
        ({"evaluate": {"bf_tolerance": 1.5}}, "less than or equal to 1"),
        ({"evaluate": {"cost_fp": -1}}, "greater than or equal to 0"),
        ({"train": {"epochs": 3, "phases": [{"layers": ["*"], "lr": 0.1, "epochs": 2}]}}, "last 2 epochs"),
        ({"train": {"precision": "fp16", "device": "cpu"}}, "use fp32 or bf16"),
        ({"sampling": {"plane": "oblique"}}, "'oblique' is no plane; name some of axial, coronal, sagittal"),
        ({"sampling": {"plane": ["axial", "oblique"]}}, "'oblique' is no plane"),
        ({"sampling": {"plane": ["axial", "axial"]}}, "name each plane once"),
        ({"sampling": {"plane": []}}, "at least one"),
        ({"sampling": {"plane": 3}}, "name a plane or a list of planes"),
        ({"sampling": {"plane": ["axial", 3]}}, "name a plane or a list of planes"),
        ({"sampling": {"plane_networks": "separate"}}, "separate networks for one plane; name several"),
        ({"sampling": {"plane": ["axial", "coronal"]}, "loss": {"weight_map": {}}}, "slices of one plane"),
        (
            {"sampling": {"plane": ["axial", "coronal"]}, "preprocess": {"spacing_px": [1, 1]}},
            "take axial for images",
        ),
    ],
)
def test_clashing_values_are_refused(tmp_path: Path, part: dict[str, object], words: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load.load(written(tmp_path, {**SMALL, **part}))
    assert words in str(caught.value.problems[0])


def test_planes_are_one_or_a_list(tmp_path: Path) -> None:
    path = written(tmp_path, SMALL)
    assert load.load(path).sampling.planes == ("axial",)
    assert load.load(path, ["sampling.plane=[coronal]"]).sampling.plane == "coronal"
    both = load.load(path, ["sampling.plane=[coronal, axial]", "sampling.plane_networks=separate"])
    assert both.sampling.plane == both.sampling.planes == ("coronal", "axial")
    load.save(both, tmp_path / "saved.yaml")
    assert load.load(str(tmp_path / "saved.yaml")) == both


def test_two_classes_of_one_name_are_refused(tmp_path: Path) -> None:
    tree = {**SMALL, "data": {"classes": {0: "background", 1: "background"}}}
    with pytest.raises(RecipeError, match="RECIPE_INVALID"):
        load.load(written(tmp_path, tree))


@pytest.mark.parametrize(
    "name", ["subprocess:Popen", "os:system", "monai.networks.nets:__import__('os')", "nope"]
)
def test_a_network_outside_the_table_is_refused_before_anything_is_imported(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        load.load(written(tmp_path, {**SMALL, "network": {"name": name}}))
    assert caught.value.problems[0].code == Code.NETWORK_UNKNOWN


@pytest.mark.parametrize(("text", "words"), [("- a\n- b\n", "no keys"), ("a: [", "not YAML")])
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(MedsegError, match=words):
        load.load(written(tmp_path, text))


def test_an_unknown_name_lists_the_packaged_recipes() -> None:
    with pytest.raises(MedsegError, match="demo"):
        load.load("no_such_recipe")


def test_every_packaged_recipe_loads() -> None:
    names = [p.stem for p in load.packaged().glob("*.yaml")]
    assert "demo" in names
    for name in names:
        assert load.load(name).name == name


def test_the_resolved_recipe_loads_again_as_itself(tmp_path: Path) -> None:
    recipe = load.load("demo", data=tmp_path)
    load.save(recipe, tmp_path / "saved.yaml")
    assert load.load(str(tmp_path / "saved.yaml")) == recipe


def test_series_rules_are_for_channels_that_there_are(tmp_path: Path) -> None:
    tree = {**SMALL, "data": {**SMALL["data"], "channels": {"t1": "{case}.nii"}}}  # type: ignore[dict-item]
    path, rule = written(tmp_path, tree), "{contrast: [flair], min_slices: 10}"
    assert load.load(path, [f"data.series={{t1: {rule}}}"]).data.series["t1"].min_slices == 10
    assert "series" not in load.load(path).data.used()
    with pytest.raises(RecipeError) as refused:
        load.load(path, [f"data.series={{other: {rule}}}"])
    assert "no channel other" in str(refused.value.problems)
    with pytest.raises(RecipeError) as refused:
        load.load(path, ["data.series={t1: {contrast: [t9]}}"])
    assert "data.series.t1.contrast" in str(refused.value.problems)


@pytest.mark.parametrize(
    ("classes", "answer"),
    [
        ({"background": 0, "lesion": 1}, None),
        ({"0": "background", "1": "lesion"}, None),
        ({"background": 0, "core": 1, "rim": 1}, "core and rim have the value 1"),
        ({"background": 0, "whole": [1, 2]}, "write data.regions"),
        ({"background": 0, "lesion": "one"}, "write {0: background, 1: lesion}"),
        ({"background": False, "lesion": True}, "write {0: background, 1: lesion}"),
    ],
)
def test_classes_may_be_written_as_for_nnunet(classes: dict[str, object], answer: str | None) -> None:
    tree = {"name": "x", "data": {"classes": classes}}
    if answer is None:
        data = load.validate(tree, Path("x.yaml")).data
        assert {value: c.name for value, c in data.classes.items()} == {0: "background", 1: "lesion"}
        return
    with pytest.raises(RecipeError) as caught:
        load.validate(tree, Path("x.yaml"))
    assert [answer in str(problem) for problem in caught.value.problems] == [True]

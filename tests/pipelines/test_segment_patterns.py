"""`segment` reads the folder that the model was trained on, folders by patterns, and tables."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medseg import files
from medseg.console import Reporter
from medseg.errors import Code, ExitCode, MedsegError
from medseg.ingest import layouts
from medseg.ingest.patterns import CLASS
from medseg.model import folder as model_folder
from medseg.model.description import FilePatterns
from pipelines.commands import init_duplicates, init_reading, segment, segment_inputs
from pipelines.commands.init_reading import Given
from pipelines.commands.segment import Settings
from tests.helpers.everyday_folders import FOLDERS, scan
from tests.helpers.known_sets import KNOWN
from tests.helpers.lone_folders import LONE
from tests.helpers.model_folders import describe
from tests.helpers.odd_folders import MASKS, ODD
from tests.helpers.scan_files import save
from tests.helpers.usual_troubles import TROUBLES
from tests.helpers.varied_folders import VARIED
from tests.helpers.worldly_folders import WORLDLY

TWO = FilePatterns(
    channels={"t1": "{case}/anat/{case}_T1w.nii.gz", "flair": "{case}/anat/{case}_FLAIR.nii.gz"},
    label="{case}/rois/{case}_final.nii.gz",
)


@pytest.fixture
def study(tmp_path: Path, brain: Any) -> Path:
    """Patients with two contrasts and a label map, and one without the second contrast."""
    for case in ("p1", "p2", "p3"):
        save(tmp_path / f"in/{case}/anat/{case}_T1w.nii.gz", brain)
        if case != "p3":
            save(tmp_path / f"in/{case}/anat/{case}_FLAIR.nii.gz", brain)
            save(tmp_path / f"in/{case}/rois/{case}_final.nii.gz", brain * 0 + 1)
    return tmp_path / "in"


def test_the_folder_of_the_training_is_read_by_the_models_own_patterns(
    study: Path, tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    model, screen = make_model(channels=("t1", "flair"), files=TWO), io.StringIO()
    settings = Settings(model, accept_domain=True)
    ended = segment.run([study], tmp_path / "out", settings, Reporter(stream=screen, results=screen))
    rows = {row["case"]: row for row in files.read_csv(tmp_path / "out/summary.csv")}
    assert ended == ExitCode.SOME_EXCLUDED and rows.keys() == {"p1", "p2", "p3"}
    assert {case: row["code"] for case, row in rows.items() if row["status"] == "excluded"} == {
        "p3": Code.CHANNEL_MISSING
    }
    assert "2 cases by the model's own patterns" in screen.getvalue()
    assert "left out" in screen.getvalue() and "--include-labels" not in screen.getvalue()
    assert len(files.read_json(tmp_path / "out/run.json")["left_out"]) == 2  # the label maps


EVERY = {
    **FOLDERS,
    **ODD,
    **{name: row[0] for name, row in MASKS.items()},
    **LONE,
    **KNOWN,
    **TROUBLES,
    **WORLDLY,
    **VARIED,
}


def patterns_of_init(root: Path) -> FilePatterns:
    """The patterns that a model folder keeps of a training with the recipe that `init` writes."""
    guess = init_duplicates.settled(root, init_reading.read(root, Given({})))
    found = init_reading.find(root, guess).patterns
    return FilePatterns(
        channels=dict(found.channels),
        label=found.label,
        masks=dict(found.masks),
        ignore=guess.ignore,
        layout="bids" if guess.layout == "bids" else "patterns",
    )


@pytest.mark.parametrize("name", EVERY)
def test_each_folder_that_init_understands_is_read_by_its_models_patterns(name: str, tmp_path: Path) -> None:
    meant = EVERY[name]
    (tmp_path / "in").mkdir()
    meant.build(tmp_path / "in")
    patterns = patterns_of_init(layouts.data_set_below(tmp_path / "in"))
    unit = "px" if set(patterns.channels) == {"red", "green", "blue"} else "mm"
    about = describe(channels=tuple(patterns.channels), unit=unit, files=patterns)
    found = segment_inputs.find_inputs([tmp_path / "in"], about, tmp_path / "out")
    assert len(found.cases) == meant.cases and not any(case.reason for case in found.cases)
    assert f"{meant.cases} case" in found.words[0] and "the model's own patterns" in found.words[0]
    assert CLASS not in found.words[0]


def test_visits_of_some_patients_are_segmented_by_patterns_in_brackets(
    tmp_path: Path, make_model: Callable[..., Path], brain: Any
) -> None:
    for folder in ("anna", "bert/visit1", "bert/visit2"):
        save(tmp_path / f"in/{folder}/t1.nii.gz", brain)
        save(tmp_path / f"in/{folder}/t1_final.nii.gz", brain * 0 + 1)
    files_of = FilePatterns(
        channels={"t1": "{subject}/[{case}/]t1.nii.gz"}, label="{subject}/[{case}/]t1_final.nii.gz"
    )
    model, screen = make_model(channels=("t1",), files=files_of), io.StringIO()
    say = Reporter(stream=screen, results=screen)
    assert segment.run([tmp_path / "in"], tmp_path / "out", Settings(model), say) == ExitCode.DONE
    rows = files.read_csv(tmp_path / "out/summary.csv")
    assert [row["case"] for row in rows] == ["anna", "bert__visit1", "bert__visit2"]
    assert "3 cases by the model's own patterns ({subject}/[{case}/]t1.nii.gz)" in screen.getvalue()


def test_a_scan_that_is_of_no_case_says_that_the_folder_is_another(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for path in ("P1_T1.nii.gz", "P1_T1_brain.nii.gz", "sub/P2_T1.nii.gz"):
        scan(root / path)
    about = describe(channels=("t1",), files=FilePatterns(channels={"t1": "**/{case}_T1.nii.gz"}))
    found = segment_inputs.find_inputs([root], about, tmp_path / "out")
    assert {case.task.case for case in found.cases} == {"P1", "P2"} and len(found.left_out) == 1
    scan(root / "Q3.nii.gz")
    found = segment_inputs.find_inputs([root], about, tmp_path / "out")
    assert len(found.cases) == 4 and found.words == ()  # no scan is passed over in silence


def test_patterns_of_the_command_line_are_used_instead(
    study: Path, tmp_path: Path, brain: Any, make_model: Callable[..., Path], say: Reporter
) -> None:
    save(study / "notes/p9_T1w.nii.gz", brain)
    settings = Settings(make_model(channels=("t1",)), patterns=("t1={case}/anat/*_T1w.nii.gz",))
    assert segment.run([study], tmp_path / "out", settings, say) == ExitCode.DONE
    rows = files.read_csv(tmp_path / "out/summary.csv")
    assert [row["case"] for row in rows] == ["p1", "p2", "p3"]


@pytest.mark.parametrize(
    "patterns", [("t1",), ("t1=",), ("t2={case}.nii.gz",), ("t1=x/{case}.mha",), ("t1={case}.nii.gz",)]
)
def test_patterns_that_cannot_work_are_refused(
    patterns: tuple[str, ...], study: Path, tmp_path: Path
) -> None:
    about = describe(channels=("t1", "flair") if patterns == ("t1={case}.nii.gz",) else ("t1",))
    with pytest.raises(MedsegError) as refused:
        segment_inputs.find_inputs([study], about, tmp_path / "out", patterns=patterns)
    assert refused.value.code == Code.USAGE


def test_a_folder_of_another_form_is_read_as_without_patterns(tmp_path: Path, brain: Any) -> None:
    save(tmp_path / "in/a.nii.gz", brain)
    save(tmp_path / "in/b/c.nii.gz", brain)
    about = describe(channels=("t1",), files=FilePatterns(channels={"t1": "{case}.nii.gz"}))
    found = segment_inputs.find_inputs([tmp_path / "in"], about, tmp_path / "out")
    assert {case.task.case for case in found.cases} == {
        "a",
        "b_c",
    }  # one lies deeper than any of the training
    assert found.words == ()


def test_a_table_names_its_cases(study: Path, tmp_path: Path) -> None:
    rows = [{"case": f"x{n}", "t1": f"{p}/anat/{p}_T1w.nii.gz", "flair": f"{p}/anat/{p}_FLAIR.nii.gz"}
            for n, p in enumerate(("p1", "p2"))]  # fmt: skip
    files.write_csv(study / "cases.csv", ["case", "t1", "flair"], rows)
    two = describe(channels=("t1", "flair"))
    found = segment_inputs.find_inputs([study / "cases.csv"], two, tmp_path / "out")
    assert {c.task.case: sorted(c.task.channels) for c in found.cases} == {
        "x0": ["flair", "t1"],
        "x1": ["flair", "t1"],
    }
    one = [{"image": "p1/anat/p1_T1w.nii.gz"}]
    files.write_csv(study / "one.csv", ["image"], one)
    found = segment_inputs.find_inputs([study / "one.csv"], describe(channels=("t1",)), tmp_path / "out")
    assert [sorted(c.task.channels) for c in found.cases] == [["t1"]]


def test_names_of_a_private_folder_and_table_are_in_no_line(
    tmp_path: Path, brain: Any, make_model: Callable[..., Path]
) -> None:
    save(tmp_path / "ZZMEIER/ZZHUBER_T1w.nii.gz", brain)
    table = tmp_path / "ZZMEIER/ZZLIST.csv"
    files.write_csv(table, ["image"], [{"image": "ZZHUBER_T1w.nii.gz"}])
    screen, out, model = io.StringIO(), tmp_path / "out", make_model(channels=("t1",))
    say = Reporter(stream=screen, results=screen, log=out / "medseg.log")
    assert segment.run([table], out, Settings(model, private=True), say) == ExitCode.DONE
    wrong = Settings(model, private=True, patterns=("t1={case}/no.nii.gz",))
    with pytest.raises(MedsegError) as refused:
        segment.run([table.parent], out, wrong, say)
    texts = [screen.getvalue(), str(refused.value), (out / "medseg.log").read_text()]
    texts += [(out / "run.json").read_text(), (out / "summary.html").read_text()]
    assert "1 case by the table" in texts[0] and not [text for text in texts if "ZZ" in text]


def test_many_cases_of_one_cause_are_counted(
    tmp_path: Path, brain: Any, make_model: Callable[..., Path]
) -> None:
    for number in range(9):
        save(tmp_path / f"in/s{number}.nii.gz", brain)
    screen = io.StringIO()
    model = make_model(channels=("t1", "flair"))
    segment.run([tmp_path / "in"], tmp_path / "out", Settings(model), Reporter(stream=screen, results=screen))
    lines = [line for line in screen.getvalue().splitlines() if "CHANNEL_MISSING" in line]
    assert len(lines) == 4 and "6 further cases: no file for flair" in lines[-1]
    assert len(files.read_csv(tmp_path / "out/quarantine.csv")) == 9


def test_older_model_folders_have_no_patterns(make_model: Callable[..., Path]) -> None:
    folder = make_model()
    tree = files.read_json(folder / "model.json")
    del tree["description"]["files"], tree["description"]["series"]
    files.write_json(folder / "model.json", tree)
    assert model_folder.read(folder).description.files == FilePatterns()

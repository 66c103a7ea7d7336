"""`predict.crf_search`: the best of a grid on validation cases goes into the model; no test case is read."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg import files
from medseg.config import load
from medseg.config.load import RecipeError
from medseg.errors import ExitCode
from medseg.infer import inferers, loading, predict
from medseg.infer.crf_trials import labels_of_slices
from medseg.metrics import confusion_matrix
from medseg.model import folder as model_folder
from medseg.model.description import CRFSettings
from pipelines.fold import crf_search, validation
from pipelines.fold.data import PreparedCases
from pipelines.workfolder import Work
from tests.helpers.box_runs import TRAIN, go, recipe_tree
from tests.helpers.box_subjects import make_subjects

GRID = {"w1": [0.0, 4.0], "sigma_alpha": [2.0], "sigma_beta": [4.0], "sigma_gamma": [1.0, 3.0]}
PARTS: dict[str, Any] = {
    "train": {**TRAIN, "steps_per_epoch": 20, "batch": 4, "lr": 0.02},
    "network": {"name": "unet", "keywords": {"width": 4, "depth": 2}},
    "predict": {"crf": {"iterations": 2}, "crf_search": GRID},
}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Work, str]:
    """The work folder of a run that searched, and what it said; opening a test case ended it."""
    root = tmp_path_factory.mktemp("searched")
    make_subjects(root / "data", 5, noise=40.0)
    opened = []
    of_role = PreparedCases.of_role

    def spied(self: PreparedCases, fold: int, role: str) -> Any:
        opened.append(role)
        return of_role(self, fold, role)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PreparedCases, "of_role", spied)
        go(root / "data", root / "work", parts=PARTS, only="ingest")
        go(root / "data", root / "work", parts=PARTS, only="preprocess")
        for case in ("s3", "s4"):  # the test cases: nothing is left of them to look at
            for path in (root / "data" / case).iterdir():
                path.rename(path.with_suffix(".aside"))
        code, said = go(root / "data", root / "work", parts=PARTS, only="train")
        assert code == ExitCode.DONE
    assert set(opened) == {"train", "val"}
    return Work(root / "work"), said


def test_the_model_has_the_best_of_the_grid(searched: tuple[Work, str]) -> None:
    work, said = searched
    rows = files.read_csv(work.crf_search)
    assert len(rows) == 1 + 4 and rows[0]["w1"] == ""
    (chosen,) = [row for row in rows if row["chosen"]]
    assert float(chosen["score"]) == max(float(row["score"]) for row in rows[1:])
    crf = model_folder.read(work.model).description.crf
    assert crf is not None and crf.iterations == 2
    assert (crf.w1, crf.sigma_gamma) == (float(chosen["w1"]), float(chosen["sigma_gamma"]))
    assert "CRF of 4 tried on 1 validation cases" in said


def test_a_score_of_the_table_is_that_of_a_prediction_with_these_values(searched: tuple[Work, str]) -> None:
    work, _ = searched
    model = loading.load(work.model)
    classes = model.description.class_list()
    (case,) = PreparedCases(work).of_role(0, "val")
    for row in files.read_csv(work.crf_search):
        values = {key: float(row[key]) for key in CRFSettings.model_fields if row[key]}
        crf = CRFSettings.model_validate({**values, "iterations": 2}) if values else None
        inferer = inferers.choose_inferer(model.description.model_copy(update={"crf": crf}))
        labels = predict.label(case.volume, model.predictor, inferer).labels
        matrix = confusion_matrix.confusion_of(np.asarray(case.label), labels, classes)
        assert validation.score("dice_mean", [matrix], [], classes) == pytest.approx(float(row["score"]))


def test_trials_share_kernels_and_label_as_alone(searched: tuple[Work, str]) -> None:
    work, _ = searched
    model = loading.load(work.model)
    (case,) = PreparedCases(work).of_role(0, "val")
    inferer = inferers.WholeSlice()
    several = crf_search.candidates(CRFSettings(iterations=2), {"w1": (1.0, 9.0), "sigma_alpha": (2.0, 5.0)})
    together = list(labels_of_slices(case.volume, model.predictor, inferer, several))
    for n, crf in enumerate(several, 1):
        alone = predict.label(case.volume, model.predictor, replace(inferer, crf=crf)).labels
        assert all(np.array_equal(alone[..., z], one[n]) for z, one in enumerate(together))


@pytest.mark.parametrize(
    ("predict_section", "data", "message"),
    [
        ({"crf_search": {}}, {}, "at least one key"),
        ({"crf_search": {"w1": list(range(1001))}}, {}, "1001 combinations"),
        ({"crf_search": {"sigma_alpha": [0]}}, {}, "predict.crf_search.sigma_alpha"),
        ({"crf_search": GRID, "mode": "vote"}, {}, "a CRF refines probabilities, not votes"),
        ({"crf_search": GRID}, {"splits": "all"}, "data.splits gives none"),
    ],
)
def test_a_search_that_cannot_be_is_refused(
    predict_section: dict[str, Any], data: dict[str, Any], message: str, tmp_path: Path
) -> None:
    tree = recipe_tree(predict=predict_section)
    tree["data"] |= data
    files.write_json(tmp_path / "r.yaml", tree)
    with pytest.raises(RecipeError) as caught:
        load.load(str(tmp_path / "r.yaml"))
    assert any(message in str(problem) for problem in caught.value.problems)

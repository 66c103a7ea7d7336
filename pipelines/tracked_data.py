"""The data set of a work folder as MLflow's pages show it."""

from __future__ import annotations

from medseg import files
from medseg.tracking.tracker import DataSet
from pipelines import case_tables
from pipelines.job import Job
from pipelines.tracked_texts import data_name


def data_set(job: Job, fold: int | None = None) -> DataSet:
    """Describe the cases of one fold, or of all folds together: their roles, channels and digest."""
    dataset = files.read_json(job.work.ingest / "dataset.json")
    rows = [row for row in case_tables.roles(job.work.ingest) if fold in (None, row.fold)]
    cases = {
        role: {r.case for r in rows if r.role == role} for role in ("train", "val", "test", "unlabelled")
    }
    digest = files.sha256_of_value([[row.case, row.role] for row in rows])
    columns = {**dict.fromkeys(dataset["channels"], "scan"), "label": "label map"}
    data = job.recipe.data
    path = None if data.layout == "dicom" else data.path  # an export's path may name a patient
    counts = {role: len(names) for role, names in cases.items()}
    return DataSet(data_name(job.recipe), digest[:16], path or job.work.root, columns, counts)

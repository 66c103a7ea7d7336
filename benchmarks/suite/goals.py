"""The table of rows: the work of each, the figures that it measures, their goals, and the packages it needs.

A row's module is imported in a process of its own, so that an absent peer or a fault costs that row alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Figure:
    """A figure of a row with its goal: ``at most`` or ``at least`` a value; figures without a goal inform."""

    name: str
    bound: Literal["at most", "at least"] | None = None
    goal: float = 0.0

    def is_met(self, value: float) -> bool | None:
        """Compare a measured value with the goal; None without one."""
        if self.bound is None:
            return None
        return value <= self.goal if self.bound == "at most" else value >= self.goal

    @property
    def in_words(self) -> str:
        """The goal as the table shows it."""
        if self.bound is None:
            return "–"
        return f"{'≤' if self.bound == 'at most' else '≥'} {self.goal:g}"


@dataclass(frozen=True)
class Row:
    """One row: its ``work`` in words, its ``module`` below `benchmarks.rows`, and what it ``needs``.

    A row on another ``device`` than the suite's is not run. ``reason`` says why a row can never be run here.
    """

    name: str
    work: str
    figures: tuple[Figure, ...]
    needs: tuple[str, ...] = ()
    device: Literal["any", "cpu", "cuda"] = "cpu"
    limit_s: int = 400
    reason: str = ""


ROWS = (
    Row(
        "voting",
        "Windows of 40×40 at stride 10 vote, full U-SegNet",
        (
            Figure("medseg's time over the network's alone", "at most", 1.05),
            Figure("MONAI's over the network's alone"),
            Figure("TorchIO's over the network's alone"),
        ),
        needs=("monai", "torchio"),
    ),
    Row(
        "machinery",
        "All around a network that costs nothing (U-SegNet of width 1), the same windows",
        (
            Figure("MONAI's machinery over medseg's", "at least", 3),
            Figure("TorchIO's machinery over medseg's", "at least", 10),
            Figure("nnU-Net's machinery over medseg's"),
        ),
        needs=("monai", "torchio", "nnunetv2"),
    ),
    Row(
        "brain_voting",
        "A whole brain by windows at stride 10, U-SegNet of width 16, each tool as documented",
        (
            Figure("time of the fastest peer over medseg's", "at least", 3),
            Figure("share of folded batch norm: times as fast"),
            Figure("share of layout: times as fast"),
            Figure("share of skipped windows: times as fast"),
            Figure("share of the runtime: times as fast"),
            Figure("share of bf16: times as fast"),
            Figure("time of the fastest peer over medseg's with --fast", "at least", 3),
            Figure("the same label in bf16, share of voxels"),
        ),
        needs=("monai", "torchio", "nnunetv2", "openvino", "onnxruntime"),
        limit_s=600,
    ),
    Row(
        "dense",
        "Whole slices instead of windows that vote, trained network, scans of the test set",
        (
            Figure("time of voting over that of whole slices", "at least", 8),
            Figure("most that a test scan's mean Dice is lower", "at most", 0.005),
        ),
        needs=("nilearn", "mlflow"),
        limit_s=900,
    ),
    Row(
        "file_to_file",
        "A brain of 256×128×256 from file to label map in a file, model loaded, whole slices",
        (
            Figure("time over the fastest runtime's network alone, all slices", "at most", 1.15),
            Figure("the same, of the slices that are not skipped"),
            Figure("time before (plain torch, nothing skipped) over time now", "at least", 2.5),
            Figure("change of mean Dice", "at most", 0.001),
        ),
        needs=("nilearn", "mlflow", "openvino", "onnxruntime"),
        limit_s=900,
    ),
    Row(
        "export",
        "Prediction of four classes onto a grid of 512×512 and written, against nnU-Net's step",
        (
            Figure("nearest label: nnU-Net's time over medseg's", "at least", 40),
            Figure("nearest label: nnU-Net's peak memory over medseg's", "at least", 30),
            Figure("class scores: nnU-Net's time over medseg's", "at least", 8),
            Figure("class scores: nnU-Net's peak memory over medseg's", "at least", 10),
            Figure("class scores: share of foreground with nnU-Net's label", "at least", 0.9999),
        ),
        needs=("nnunetv2",),
    ),
    Row(
        "memory",
        "Peak memory of `segment` as slices grow eightfold",
        (Figure("memory beyond scan and label map, at 8 times the slices over at 1", "at most", 1.1),),
        device="any",
    ),
    Row(
        "drawing",
        "Drawing and augmenting 2.5D patches: elastic, affine, grey values",
        (
            Figure("medseg's patches/s over TorchIO Queue's, one core", "at least", 10),
            Figure("medseg's patches/s over MONAI CacheDataset's, one core", "at least", 10),
            Figure("the same with artefacts (bias field, Gibbs ringing, …) on both sides", "at least", 10),
            Figure("medseg on two cores over one", "at least", 1.8),
        ),
        needs=("monai", "torchio"),
    ),
    Row(
        "preprocess",
        "40 brains ingested; preprocessed by two workers and by one",
        (
            Figure("preprocess: time of one worker over that of two", "at least", 1.8),
            Figure("preprocess: the same of the whole commands"),
            Figure("ingest: time of the whole command over its own work", "at most", 1.3),
            Figure("ingest: least ratio that the start of Python and of reading's libraries allows"),
            Figure("ingest: time of the whole command over the 16 s that its own work took once"),
        ),
        needs=("mlflow",),
    ),
    Row(
        "resampling",
        "A scan of 256×128×256 resampled to 1 mm, linear",
        (
            Figure("SimpleITK's time over medseg's"),
            Figure("scipy's time over medseg's"),
        ),
    ),
    Row(
        "dicom",
        "A DICOM series of 1,000 slices converted, against dicom2nifti and dcm2niix",
        (
            Figure("JPEG-LS: dicom2nifti's time over medseg's", "at least", 3),
            Figure("JPEG lossless: dicom2nifti's time over medseg's", "at least", 3),
            Figure("RLE: dicom2nifti's time over medseg's", "at least", 3),
            Figure("JPEG-LS: dcm2niix's time over medseg's"),
            Figure("JPEG lossless: dcm2niix's time over medseg's"),
            Figure("RLE: dcm2niix's time over medseg's"),
        ),
        needs=("dicom2nifti", "dcm2niix", "pydicom"),
    ),
    Row(
        "surface",
        "HD95 + ASSD + NSD of four classes in 256³, against MONAI",
        (
            Figure("smooth masks: MONAI's time over medseg's", "at least", 6),
            Figure("speckled masks: MONAI's time over medseg's", "at least", 6),
            Figure("largest relative difference of values", "at most", 1e-6),
        ),
        needs=("monai",),
    ),
    Row(
        "training",
        "Training steps alone on the machine: allocator and no fill, against before",
        (Figure("time before over time now", "at least", 1.2),),
    ),
    Row(
        "neighbours",
        "Training beside two busy neighbours, two threads against one",
        (
            Figure("patches/s of two threads over one", "at least", 0.9),
            Figure("the same without tamed spinning"),
        ),
    ),
    Row(
        "batch",
        "Many small scans in one `segment`",
        (
            Figure("throughput of two workers over one", "at least", 1.8),
            Figure("share of time outside reading, network and writing"),
        ),
    ),
    Row(
        "gpu",
        "A training step on a GPU: share that waits for data",
        (Figure("share of the step that waits for data", "at most", 0.05),),
        device="cuda",
    ),
    Row(
        "siam",
        "A scan by SIAM (siamize)",
        (Figure("its time over medseg's"),),
        reason="its weights are fetched from the network, and none came with a package",
    ),
)
"""In the order in which they run and are shown."""

BY_NAME = {row.name: row for row in ROWS}

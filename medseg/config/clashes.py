"""Values of a recipe that are valid one by one but not together, across its sections."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

from medseg import losses
from medseg.config.base import Clash
from medseg.config.data import Data, RandomSplit
from medseg.config.phases import Plateau
from medseg.config.sections import Loss, Predict, Sections
from medseg.config.training import Train
from medseg.ingest.imagesets import ImageSet
from medseg.ingest.patterns import CLASS
from medseg.io import scans
from medseg.networks import AUTOENCODER, level_problem
from medseg.patches.slabs import IMAGE_FLIPS, SCAN_FLIPS, flip_axis

_MASK_KEYS = ("data.classes", "data.regions", "data.masks")


def clashes(recipe: Sections) -> Iterator[Clash]:
    """All clashes of a recipe: in its losses and training, in its predictions, for images, masks, planes."""
    yield from _dicom(recipe.data)
    yield from _training(recipe)
    yield from _reconstruction(recipe)
    yield from _prediction(recipe)
    yield from _images(recipe)
    if recipe.data.class_list().multilabel:
        yield from _masks(recipe)
    else:
        yield from _exclusive_classes(recipe.loss, recipe.predict)
    yield from _class_files(recipe.data)
    yield from _instances(recipe)
    yield from _planes(recipe)
    yield from _flips(recipe)


def _dicom(data: Data) -> Iterator[Clash]:
    """Keys of files in a recipe for DICOM series, and the reverse."""
    if data.layout != "dicom":
        if data.segments:
            details = f"layout {data.layout} knows no DICOM"
            yield Clash(("data.segments", "data.layout"), details, "set data.layout to dicom")
        unknown_channels = [name for name in data.series if name not in data.channels]
        if data.channels and unknown_channels:  # without names of channels, ingest finds them
            details = f"no channel {', '.join(unknown_channels)}"
            how_to_fix = f"name some of {', '.join(data.channels)}"
            yield Clash(("data.series", "data.channels"), details, how_to_fix)
        return
    instead = {
        "channels": "name the channels in data.series",
        "subject": "leave it out: subjects are read from the PatientID",
        "table": "leave it out",
    }
    for key, how_to_fix in instead.items():
        if getattr(data, key):
            yield Clash((f"data.{key}", "data.layout"), "layout dicom has no files to name", how_to_fix)
    if data.label_form != "values":
        yield Clash(("data.label_form", "data.layout"), "segments have no values in files", "leave it out")
    if not data.background:
        details = "voxels in no segment are background"
        yield Clash(("data.background", "data.layout"), details, "leave it out")
    if data.splits == "listed":
        yield Clash(("data.splits", "data.layout"), "an export lists no roles", "write splits, or draw them")
    known = {*data.classes, *data.void, *data.merge}
    if unknown := [str(value) for value in data.segments if value not in known]:
        details = f"no class has the value {', '.join(unknown)}"
        yield Clash(("data.segments", "data.classes"), details, "name a value of data.classes or data.void")


def _training(recipe: Sections) -> Iterator[Clash]:
    weights, n_classes, train = recipe.loss.class_weights, len(recipe.data.class_list()), recipe.train
    if isinstance(weights, tuple) and len(weights) != n_classes:
        details = f"{len(weights)} values for {n_classes} classes"
        how_to_fix = "give one a class, background first, or one a mask"
        yield Clash(("loss.class_weights", "data.classes"), details, how_to_fix)
    for key, parts in (("train.phases", train.phases), ("train.resizing", train.resizing)):
        epochs = sum(part.epochs for part in parts)
        if parts and epochs != train.epochs:
            details = f"they last {epochs} epochs, train.epochs says {train.epochs}"
            yield Clash((key, "train.epochs"), details, "make both equal")
    yield from _plateau(train, recipe.data)
    if train.precision == "fp16" and train.device == "cpu":
        yield Clash(("train.precision", "train.device"), "fp16 on a cpu", "use fp32 or bf16")


def _plateau(train: Train, data: Data) -> Iterator[Clash]:
    """Keys of a rate that falls by the scores of validation cases."""
    if train.schedule != "plateau":
        if train.plateau != Plateau():
            how_to_fix = "set train.schedule: plateau, or leave it out"
            yield Clash(("train.plateau", "train.schedule"), f"the schedule is {train.schedule}", how_to_fix)
        return
    if not _has_validation(data):
        details = "the rate falls by the score of validation cases, and data.splits gives none"
        how_to_fix = "give validation cases, or take another schedule"
        yield Clash(("train.schedule", "data.splits"), details, how_to_fix)
    if 0 < train.patience <= train.plateau.patience:
        details = f"training ends after {train.patience} validations, before the rate would fall"
        how_to_fix = f"make it more than train.plateau.patience ({train.plateau.patience}), or 0"
        yield Clash(("train.patience", "train.plateau.patience"), details, how_to_fix)


def _reconstruction(recipe: Sections) -> Iterator[Clash]:
    """An auto-encoder with a loss of labels, or the reverse; keys that say what becomes of segmentations."""
    name, loss = recipe.network.name, recipe.loss.name
    if (name == AUTOENCODER) != recipe.reconstructs:
        details = f"{name} with {loss}"
        how_to_fix = (
            f"use the network {AUTOENCODER} with the loss {losses.RECONSTRUCTION}, or neither of them"
        )
        yield Clash(("loss.name", "network.name"), details, how_to_fix)
    if not recipe.reconstructs:
        return
    asked = {
        "loss.class_weights": recipe.loss.class_weights != "none",
        "data.instances": recipe.data.instances,
        "train.monitor": recipe.train.monitor != "auto",
        "train.resizing": bool(recipe.train.resizing),
        "train.keep_at": bool(recipe.train.keep_at),
        "predict.mode": recipe.predict.mode != "dense",
        "predict.crf_search": recipe.predict.crf_search is not None,
        "predict.calibrate": recipe.predict.calibrate,
        "report.explain": bool(recipe.report.explain),
        "tracking.register_as": recipe.tracking.register_as is not None,
    }
    for key, given in asked.items():
        if given:
            details = "an auto-encoder reconstructs whole slices and segments nothing"
            yield Clash((key, "loss.name"), details, "leave it out")


def _prediction(recipe: Sections) -> Iterator[Clash]:
    predict, names = recipe.predict, recipe.data.class_list().names
    window, stride = predict.window or recipe.sampling.window, predict.stride
    in_windows = predict.mode in ("vote", "gaussian")
    if in_windows and stride and any(s > w for s, w in zip(stride, window, strict=True)):
        details = f"{list(stride)} leaves gaps between windows of {list(window)}"
        stride_keys = ("predict.stride", "predict.window", "predict.mode", "sampling.window")
        yield Clash(stride_keys, details, "lower it")
    if predict.level is not None:
        network = recipe.network
        if problem := level_problem(network.name, network.keywords, predict.level):
            keys = ("predict.level", "network.name", "network.keywords")
            yield Clash(keys, problem, "leave predict.level out, or change the network")
    for key in ("crf", "crf_search"):
        if getattr(predict, key) is not None and predict.mode == "vote":
            details = "a CRF refines probabilities, not votes"
            yield Clash((f"predict.{key}", "predict.mode"), details, "set predict.mode to dense")
    yield from _crf_search(recipe)
    if (predict.scales != (1.0,) or predict.flip) and predict.mode in ("vote", "tiles"):
        details = f"several scales or flips in mode {predict.mode}"
        keys = ("predict.scales", "predict.flip", "predict.mode")
        yield Clash(keys, details, "set predict.mode to dense or gaussian")
    if predict.flip and not any(flip_axis("left_right", plane) for plane in recipe.sampling.planes):
        details = "left and right lie in no sagittal slice"
        yield Clash(
            ("predict.flip", "sampling.plane"), details, "leave predict.flip out, or take another plane"
        )
    if unknown := [name for name in recipe.report.explain if name not in names]:
        how_to_fix = f"name some of {', '.join(names)}"
        yield Clash(("report.explain", "data.classes"), f"no class {', '.join(unknown)}", how_to_fix)


def _crf_search(recipe: Sections) -> Iterator[Clash]:
    """Keys that a search for the CRF's values needs."""
    if recipe.predict.crf_search is None:
        return
    if not _has_validation(recipe.data):
        details = "the values are chosen by validation cases, and data.splits gives none"
        yield Clash(("predict.crf_search", "data.splits"), details, "give validation cases, or leave it out")
    if len(recipe.sampling.planes) > 1:
        details = "the values are searched along one plane, and the network predicts along several"
        yield Clash(("predict.crf_search", "sampling.plane"), details, "take one plane, or leave it out")


def _has_validation(data: Data) -> bool:
    """True unless the splits give a fold no validation case; what a data set lists is not known yet."""
    splits = data.splits
    if isinstance(splits, RandomSplit):
        return splits.val > 0
    return splits != "all" and (isinstance(splits, str) or all(fold.val for fold in splits))


def _images(recipe: Sections) -> Iterator[Clash]:
    """Keys for images; a recipe without channels may get three colours from its layout."""
    preprocess, n_channels, depth = recipe.preprocess, len(recipe.data.channels), recipe.sampling.depth
    if preprocess.spacing_px is not None and preprocess.spacing_mm is not None:
        keys = ("preprocess.spacing_px", "preprocess.spacing_mm")
        yield Clash(keys, "both are given", "keep spacing_px for images, spacing_mm for scans")
    three_colours = n_channels in (0, 3)
    if preprocess.intensity == "imagenet" and not three_colours:
        keys = ("preprocess.intensity", "data.channels")
        details = f"imagenet scaling of {n_channels} channel(s)"
        yield Clash(keys, details, "name three colours, or use zscore")
    if recipe.train.augment.colour and not (three_colours and depth == 1):
        details = f"colour changes of {n_channels or 'unnamed'} channel(s) in slabs of {depth} input slices"
        how_to_fix = "use three colours and sampling.depth 1, or leave saturation and hue out"
        yield Clash(("train.augment", "data.channels", "sampling.depth"), details, how_to_fix)


def _exclusive_classes(loss: Loss, predict: Predict) -> Iterator[Clash]:
    """Keys for overlapping masks in a recipe whose classes exclude each other."""
    if loss.name in losses.OF_MASKS:
        details = f"{loss.name} is for masks that may overlap, and these classes do not"
        how_to_fix = "give data.regions or data.masks, or use ce_dice"
        yield Clash(("loss.name", *_MASK_KEYS), details, how_to_fix)
    if predict.thresholds:
        details = "only masks that may overlap have thresholds"
        how_to_fix = "give data.regions or data.masks, or leave the thresholds out"
        yield Clash(("predict.thresholds", *_MASK_KEYS), details, how_to_fix)


def _masks(recipe: Sections) -> Iterator[Clash]:
    """Keys for classes that exclude each other in a recipe of overlapping masks."""
    data, loss, predict = recipe.data, recipe.loss, recipe.predict
    key = "data.masks" if data.masks else "data.regions"
    yield from _mask_files(data) if data.masks else _regions(data)
    if not data.background:
        yield Clash(("data.background", key), "masks have no background to leave out", "remove the key")
    if loss.name not in (*losses.OF_MASKS, losses.RECONSTRUCTION):
        details = f"{loss.name} is for classes that exclude each other, and masks may overlap"
        yield Clash(("loss.name", key), details, f"use one of {', '.join(losses.OF_MASKS)}")
    if loss.class_weights == "median_frequency":
        details = "median_frequency is defined for classes that exclude each other"
        yield Clash(("loss.class_weights", key), details, "give one weight a mask, or none")
    if recipe.train.monitor not in ("auto", "dice_mean"):
        details = f"{recipe.train.monitor} is defined for classes that exclude each other"
        yield Clash(("train.monitor", key), details, "use dice_mean")
    names = data.class_list().masks
    if unknown := [name for name in predict.thresholds if name not in names]:
        how_to_fix = f"name some of {', '.join(names)}"
        yield Clash(("predict.thresholds", key), f"no mask {', '.join(unknown)}", how_to_fix)
    for crf in ("crf", "crf_search"):
        if getattr(predict, crf) is not None:
            details = "a CRF gives each pixel to one class, and masks may overlap"
            yield Clash((f"predict.{crf}", key), details, "leave it out")


def _mask_files(data: Data) -> Iterator[Clash]:
    for other in ("regions", "segments", "classes", *(() if data.layout == "dicom" else ("label",))):
        if getattr(data, other):
            details = (
                f"there is data.{other} too, and each mask has a file of its own, 1 inside and 0 outside"
            )
            yield Clash(("data.masks", f"data.{other}"), details, "keep one of them")
    if data.label_form == "colours":
        details = "label_form is colours, and the file of a mask holds 1 inside and 0 outside"
        yield Clash(("data.masks", "data.label_form"), details, "use values, or {above: x}")
    if not data.channels and data.layout != "dicom":
        yield Clash(("data.masks", "data.channels"), "no channels", "write the channels' patterns, too")
    if data.layout not in ("auto", "patterns", "dicom"):
        details = f"layout {data.layout} knows no masks"
        yield Clash(("data.masks", "data.layout"), details, "set data.layout to patterns")


def _class_files(data: Data) -> Iterator[Clash]:
    """Keys beside `{class}` in `data.label`, by which each class has a file of its own."""
    if CLASS not in (data.label or ""):
        if data.overlap != "refuse":
            details = f"no {CLASS} in data.label: the classes have no files of their own"
            yield Clash(("data.overlap", "data.label"), details, "leave it out")
        return
    for other in ("regions", "merge", "segments"):
        if getattr(data, other):
            details = (
                f"there is data.{other} too, and each class has a file of its own, 1 inside and 0 outside"
            )
            yield Clash(("data.label", f"data.{other}"), details, f"leave it out, or {CLASS}")
    if data.label_form == "colours":
        details = "label_form is colours, and the file of a class holds 1 inside and 0 outside"
        yield Clash(("data.label", "data.label_form"), details, "use values, or {above: x}")
    if not data.background:
        yield Clash(("data.background", "data.label"), "voxels in no file are background", "remove the key")
    if not data.channels or data.layout not in ("auto", "patterns"):
        how_to_fix = "set data.layout to patterns, and write the channels' patterns"
        yield Clash(("data.label", "data.layout"), f"layout {data.layout} with files of classes", how_to_fix)
    unusable = [name for name in data.class_list().foreground_names if set(name) & set("/*{}[]")]
    if unusable:
        details = f"a class named {unusable[0]!r}, which is a part of a pattern"
        yield Clash(("data.classes", "data.label"), details, "rename the class and its files")


def _regions(data: Data) -> Iterator[Clash]:
    if data.label_form != "values":
        details = f"label_form is {data.label_form}, and regions are made of label values"
        how_to_fix = "leave label_form out, and write the label maps by values"
        yield Clash(("data.regions", "data.label_form"), details, how_to_fix)
    for name, values in data.regions.items():
        if unknown := [str(value) for value in values if value not in data.classes]:
            details = f"{name}: no class has the value {', '.join(unknown)}"
            how_to_fix = f"name some of {', '.join(map(str, data.classes))}"
            yield Clash(("data.regions", "data.classes"), details, how_to_fix)


def _instances(recipe: Sections) -> Iterator[Clash]:
    """Objects that are told apart though there is not one class, or no label that tells them apart."""
    data, classes = recipe.data, recipe.data.class_list()
    asked = {"data.instances": data.instances, "predict.instances": recipe.predict.instances is not None}
    if (keys := [key for key, given in asked.items() if given]) and (
        classes.multilabel or not classes.background or len(classes) != 2
    ):
        details = f"objects of {len(classes)} classes or masks"
        yield Clash((keys[0], "data.classes"), details, "list a background and one class, or leave it out")
    if not data.instances:
        return
    in_folder = data.layout == "masks" or (data.label or "").endswith("/")
    if not in_folder and data.label_form in ("values", "colours"):
        details = "label maps by values or colours do not tell objects apart"
        how_to_fix = (
            "take layout masks, or label_form: {above: 0} for label files with a value for each object"
        )
        yield Clash(("data.instances", "data.label_form"), details, how_to_fix)
    if len(recipe.sampling.planes) > 1:
        details = "background between objects is made in the slices of one plane"
        yield Clash(("data.instances", "sampling.plane"), details, "name one plane, or leave instances out")


def _planes(recipe: Sections) -> Iterator[Clash]:
    sampling = recipe.sampling
    if len(sampling.planes) == 1:
        if sampling.plane_networks == "separate":
            how_to_fix = "name several planes, or leave it out"
            keys = ("sampling.plane_networks", "sampling.plane")
            yield Clash(keys, "separate networks for one plane", how_to_fix)
        return
    if recipe.loss.weight_map is not None:
        details = "weight maps are made for the slices of one plane"
        yield Clash(("loss.weight_map", "sampling.plane"), details, "name one plane, or leave the map out")
    if recipe.preprocess.spacing_px is not None:
        details = "several planes, but spacing_px is for images"
        yield Clash(("sampling.plane", "preprocess.spacing_px"), details, "take axial for images")


def _flips(recipe: Sections) -> Iterator[Clash]:
    """Flips that lie in none of the planes, and flips of scans where the data are images, or the reverse."""
    flips, planes, unit = recipe.train.augment.flip, recipe.sampling.planes, _unit(recipe)
    usable = {"mm": SCAN_FLIPS, "px": IMAGE_FLIPS}.get(unit or "", flips)
    if foreign := [name for name in flips if name not in usable]:
        kind = "images" if unit == "px" else "scans"
        how_to_fix = f"for {kind} use {', '.join(usable)}"
        yield Clash(("train.augment.flip", "data"), f"{', '.join(foreign)} of {kind}", how_to_fix)
        return
    inside = [name for name in SCAN_FLIPS if any(flip_axis(name, plane) for plane in planes)]
    if across := [name for name in flips if name in SCAN_FLIPS and name not in inside]:
        details = f"{', '.join(across)} runs across the {' and '.join(planes)} slices"
        yield Clash(("train.augment.flip", "sampling.plane"), details, f"use {' or '.join(inside)}")


def _unit(recipe: Sections) -> scans.Unit | None:
    """Unit of the recipe's data as far as the recipe says it: px for images, mm for scans."""
    data, preprocess = recipe.data, recipe.preprocess
    if data.layout in get_args(ImageSet) or preprocess.spacing_px is not None:
        return "px"
    if preprocess.spacing_mm is not None:
        return "mm"
    files = [pattern.lower() for pattern in data.channels.values()]
    units = {unit for unit, suffixes in scans.SUFFIXES_OF.items() if any(f.endswith(suffixes) for f in files)}
    return units.pop() if len(units) == 1 else None

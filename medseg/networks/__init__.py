"""The table of networks by name, and the function that builds one of them.

A network maps ``(B, C, H, W)`` float to logits ``(B, K, H, W)``; :class:`medseg.networks.contract.Network`
says the rest. Adding one takes a file with a class, a line in :data:`NETWORKS` and a row in the shared test.
Any 2-D network of MONAI is reached as ``monai.networks.nets:<Name>``; no other dotted name is ever imported.

This module imports no torch, so that names can be checked where start-up time matters.
"""

from __future__ import annotations

import inspect
import re
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, get_type_hints

from pydantic import TypeAdapter, ValidationError

from medseg.errors import Code, MedsegError, choice

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from medseg.networks.contract import Network

NETWORKS: dict[str, str] = {
    "usegnet": "medseg.networks.usegnet:USegNet",
    "segnet": "medseg.networks.segnet:SegNet",
    "segnet_small": "medseg.networks.segnet:SegNetSmall",
    "segnet_basic": "medseg.networks.segnet_basic:SegNetBasic",
    "fcn_basic": "medseg.networks.segnet_basic:FCNBasic",
    "unet": "medseg.networks.unet:UNet",
    "unet_kumar": "medseg.networks.unet_kumar:UNetKumar",
    "unetpp": "medseg.networks.unetpp:UNetPlusPlus",
    "fcn32s": "medseg.networks.fcn:FCN32s",
    "fcn16s": "medseg.networks.fcn:FCN16s",
    "fcn8s": "medseg.networks.fcn:FCN8s",
    "deeplab_largefov": "medseg.networks.deeplab:DeepLabLargeFOV",
    "fcn_alexnet": "medseg.networks.fcn_classic:FCNAlexNet",
    "fcn_googlenet": "medseg.networks.fcn_classic:FCNGoogLeNet",
    "deconvnet": "medseg.networks.deconvnet:DeconvNet",
    "deeplab_aspp": "medseg.networks.deeplab:DeepLabASPP",
    "deeplab_v3": "medseg.networks.deeplab_v3:DeepLabV3",
    "deeplab_v3plus": "medseg.networks.deeplab_v3:DeepLabV3Plus",
    "pspnet": "medseg.networks.pyramid:PSPNet",
    "upernet": "medseg.networks.pyramid:UPerNet",
    "fpn": "medseg.networks.fpn:FPN",
    "linknet": "medseg.networks.linknet:LinkNet",
    "icnet": "medseg.networks.icnet:ICNet",
    "pixelwise": "medseg.networks.pixelwise:Pixelwise",
    "autoencoder": "medseg.networks.autoencoder:AutoEncoder",
}
"""Name in a recipe or model folder -> ``module:Class``."""

MONAI_PREFIX = "monai.networks.nets:"

SET_BY_MEDSEG = frozenset(
    {"name", "in_channels", "out_channels", "classes", "spatial_dims", "seed", "multilabel"}
)
"""Keywords whose values follow from the data, the slab and the training; no recipe or model sets them."""

OF_TRAINING = frozenset({"auxiliary"})
"""Keywords of the table's networks for what is used in training alone; a model folder has neither."""

AUTOENCODER = "autoencoder"
"""The network whose outputs are its input again, one for each channel and slice; it segments nothing."""

PRUNED = "unetpp"
"""The network that can be reduced to one of its heads."""

RENAMED = {"body": "backbone"}
"""Keywords of earlier versions and what they are called now."""

_FETCHING = frozenset({"progress", "download", "url", "repo", "hub", "weights", "filename"})
"""Words in the names of MONAI's keywords that fetch weights from the network."""


class Keyword(NamedTuple):
    """A keyword of one network: its type hint, default, and meaning, which may be empty."""

    network: str
    hint: Any
    default: Any
    meaning: str


def check_name(name: str) -> None:
    """Raise ``NETWORK_UNKNOWN`` unless ``name`` is in the table or has the form of a MONAI network.

    Needs no torch. :func:`build` finds out if MONAI has such a network.
    """
    if name not in NETWORKS and not (name.startswith(MONAI_PREFIX) and _monai_name(name).isidentifier()):
        raise MedsegError(
            Code.NETWORK_UNKNOWN,
            "network",
            f"there is no network {name!r}",
            choice(name, sorted(NETWORKS), f"use {MONAI_PREFIX}<Name>, or one of"),
        )


def check_keywords(name: str, keywords: Iterable[str]) -> None:
    """Raise ``KEYWORD_INVALID`` for keywords that no recipe and no model may give a network; needs no torch.

    These are the ones that medseg sets itself, those renamed since, and of MONAI's networks those that fetch
    weights: building a network never opens a connection. The others are checked by :func:`build`.
    """
    for key in keywords:
        words = key.lower().split("_")
        if key in SET_BY_MEDSEG:
            details, how_to_fix = f"medseg sets the keyword {key!r} itself", "leave it out"
        elif name in NETWORKS and key in RENAMED:
            details, how_to_fix = f"the keyword {key!r} has another name", f"write {RENAMED[key]!r}"
        elif name not in NETWORKS and (words[0].startswith("pretrain") or not _FETCHING.isdisjoint(words)):
            details = f"the keyword {key!r} is about weights to download, and networks are built offline"
            how_to_fix = "leave it out; network.init_from starts from a model folder"
        else:
            continue
        raise MedsegError(Code.KEYWORD_INVALID, name, details, how_to_fix)


def level_problem(name: str, keywords: Mapping[str, Any], level: int) -> str | None:
    """Say why a network of this name and keywords has no head at ``level``; None if it has. No torch."""
    if name != PRUNED:
        return f"only {PRUNED} has several heads to choose from, and the network is {name}"
    if not keywords.get("deep_supervision", True):
        return f"{PRUNED} has one head only where deep_supervision is off"
    depth = keywords.get("depth") or (5 if keywords.get("backbone") else 4)
    return None if level <= depth else f"{PRUNED} with depth {depth} has no head {level}"


def build(
    name: str,
    in_channels: int,
    classes: int,
    *,
    seed: int | None = None,
    multilabel: bool = False,
    **keywords: Any,
) -> Network:
    """Build the network of a name with fresh weights.

    :param in_channels: C of the input ``(B, C, H, W)``; for slabs of depth D, channels · D.
    :param classes: K of the logits ``(B, K, H, W)``; an auto-encoder has ``in_channels`` whatever it says.
    :param seed: same seed, same weights, and torch's global generator is left as it was; without one, the
        weights come from torch's default generator.
    :param multilabel: the classes are masks that overlap; sets the keyword ``sigmoid`` of a network that
        averages its heads' probabilities.
    :param keywords: the class's own; :func:`keywords_of` lists them.
    :raises MedsegError: ``NETWORK_UNKNOWN``, ``KEYWORD_INVALID``, ``EXTRA_MISSING`` (MONAI is not installed).
    """
    check_name(name)
    check_keywords(name, keywords)
    if name == AUTOENCODER:
        classes = in_channels
    if name in NETWORKS:
        cls = _load(name)
        if multilabel and "sigmoid" in keywords_of(name):
            keywords["sigmoid"] = True
        values = _checked(name, cls, {"in_channels": in_channels, "classes": classes, **keywords})
        return _seeded(seed, cls, values)
    from medseg.networks.monai_adapter import MonaiNetwork, monai_class

    values = {"in_channels": in_channels, "classes": classes, **keywords}
    return _seeded(seed, MonaiNetwork, {"kind": monai_class(_monai_name(name)), **values})


def without_training(name: str, keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Give the keywords of the network as it predicts: without auxiliary heads."""
    return {key: value for key, value in keywords.items() if name not in NETWORKS or key not in OF_TRAINING}


def keywords_of(name: str) -> dict[str, Any]:
    """List the keywords of a network of the table with their defaults."""
    check_name(name)
    parameters = inspect.signature(_load(name)).parameters
    return {key: p.default for key, p in parameters.items() if key not in ("in_channels", "classes")}


def keywords_named(keyword: str) -> list[Keyword]:
    """Find a keyword in all networks of the table that take it, in the table's order."""
    keywords = []
    for name in NETWORKS:
        if keyword in (defaults := keywords_of(name)):
            cls = _load(name)
            hint = get_type_hints(cls.__init__, include_extras=True)[keyword]
            keywords.append(Keyword(name, hint, defaults[keyword], _parameter_text(cls, keyword)))
    return keywords


def _parameter_text(cls: type[Network], keyword: str) -> str:
    """Text of a parameter in the docstring of the class, or of one that it is derived from; empty if none."""
    for one in inspect.getmro(cls):
        text = inspect.cleandoc(one.__dict__.get("__doc__") or "")
        if match := re.search(rf"^:param {keyword}: (.*(?:\n +.*)*)", text, re.MULTILINE):
            return " ".join(match[1].replace("`", "").split()).rstrip(".")
    return ""


def describe(name: str) -> dict[str, Any]:
    """Describe a network of the table, built with its defaults from 3 channels to 4 classes.

    Plain values: name, keywords with defaults, channels, classes, parameters, receptive_field (side lengths
    in px, or None for the whole image), paper. No memory is taken for weights.
    """
    import torch

    from medseg.networks.tools.receptive_field import receptive_field

    with torch.device("meta"):
        network = build(name, 3, 4)
    field = receptive_field(network)
    return {
        "name": name,
        "keywords": keywords_of(name),
        "channels": network.in_channels,
        "classes": network.classes,
        "parameters": sum(p.numel() for p in network.parameters()),
        "receptive_field": list(field.widths) if field else None,
        "paper": network.paper,
    }


def _monai_name(name: str) -> str:
    return name.removeprefix(MONAI_PREFIX)


def _load(name: str) -> type[Network]:
    module, _, attribute = NETWORKS[name].partition(":")
    cls: type[Network] = getattr(import_module(module), attribute)
    return cls


def _checked(name: str, cls: type[Network], keywords: Mapping[str, Any]) -> dict[str, Any]:
    """Convert keywords to the types that the constructor's hints state."""
    hints = get_type_hints(cls.__init__, include_extras=True)
    defaults = keywords_of(name)
    listed = ", ".join(f"{key}={value!r}" for key, value in defaults.items()) or "no keywords"
    values = {}
    for key, value in keywords.items():
        if key not in hints or key == "return":
            raise MedsegError(Code.KEYWORD_INVALID, name, f"unknown keyword {key!r}", f"it takes {listed}")
        try:
            values[key] = TypeAdapter(hints[key]).validate_python(value)
        except ValidationError as problem:
            message = problem.errors()[0]["msg"]
            details = f"{key}={value!r}: {message}"
            raise MedsegError(Code.KEYWORD_INVALID, name, details, f"it takes {listed}") from None
    return values


def _seeded(seed: int | None, cls: type[Network], values: Mapping[str, Any]) -> Network:
    if seed is None:
        return cls(**values)
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return cls(**values)

"""Pruning of UNet++: the network of one head, which gives what that head gives (the paper's fast mode)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from medseg.errors import Code, MedsegError
from medseg.model.description import Description
from medseg.model.folder import build_network
from medseg.networks import PRUNED, level_problem


def pruned(
    description: Description, members: Mapping[str, Mapping[str, Tensor]], level: int
) -> tuple[Description, dict[str, dict[str, Tensor]]]:
    """Give the description and the members' weights of the smaller network that ends in head ``level``.

    :raises MedsegError: ``KEYWORD_INVALID`` if the network has no such head.
    """
    if problem := level_problem(description.network, description.keywords, level):
        how_to_fix = f"leave the level out, or use {PRUNED} with deep supervision"
        raise MedsegError(Code.KEYWORD_INVALID, f"level {level}", problem, how_to_fix)
    kept = {key: value for key, value in description.keywords.items() if key not in ("mode", "branch")}
    keywords = {**kept, "depth": level, "deep_supervision": False}
    small = description.model_copy(update={"keywords": keywords})
    with torch.device("meta"):
        names = list(build_network(small).state_dict())
    return small, {member: {name: state[name] for name in names} for member, state in members.items()}

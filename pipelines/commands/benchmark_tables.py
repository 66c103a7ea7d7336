"""Published tables of `medseg benchmark`: their rows, and which runs belong to a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from importlib import resources
from typing import Any

import yaml

from medseg import networks
from medseg.config.recipe import Recipe

DATA = "published_tables.yaml"

CRF = "crf"
"""A key of `only` beside the network's keywords: is there a dense CRF?"""


@dataclass(frozen=True)
class Row:
    """A row of a paper's table, and the network that stands for it; none where there is none here.

    ``only`` are values of keywords that a run must have, ``result`` names a row of docs/results.md and
    ``step`` the iteration that was scored. ``published`` are the printed figures by column.
    """

    name: str
    published: dict[str, float]
    network: str | None = None
    keywords: dict[str, Any] = field(default_factory=dict)
    field_of: str = ""
    only: dict[str, Any] = field(default_factory=dict)
    result: str | None = None
    step: int | None = None

    def fits(self, network: str, keywords: Mapping[str, Any], *, crf: bool = False) -> bool:
        """Is a network of this name and keywords one of this row?"""
        if network != self.network:
            return False
        defaults = networks.keywords_of(network)
        values = {**defaults, **keywords, CRF: crf}
        return all(values.get(key, False) == value for key, value in self.only.items())


@dataclass(frozen=True)
class Table:
    """A paper's table: where it stands, how it was measured, and its rows.

    ``input`` is the (H, W) in px of the image that is timed here. ``scores`` are the columns of scores: a
    number of ``summary.json`` with a class, or patterns of recipes, after it.
    """

    name: str
    title: str
    source: str
    protocol: str
    input: tuple[int, int]
    classes: int
    recipes: tuple[str, ...]
    scores: dict[str, tuple[str, ...]]
    rows: tuple[Row, ...]
    in_channels: int = 3
    time_relative_to: str | None = None

    def row_of(
        self, recipe: str, network: str, keywords: Mapping[str, Any], *, crf: bool, step: int | None = None
    ) -> Row | None:
        """Find the row that a recipe's network belongs to: the one that says most about it."""
        if not any(fnmatchcase(recipe, pattern) for pattern in self.recipes):
            return None
        fitting = [row for row in self.rows if row.step == step and row.fits(network, keywords, crf=crf)]
        return max(fitting, key=lambda row: len(row.only), default=None)


def tables() -> dict[str, Table]:
    """Read the packaged tables, by name."""
    text = (resources.files("pipelines.commands") / DATA).read_text(encoding="utf-8")
    return {name: _table(name, tree) for name, tree in yaml.safe_load(text).items()}


def _table(name: str, tree: dict[str, Any]) -> Table:
    rows = tuple(Row(name=row, **values) for row, values in tree.pop("rows").items())
    height, width = tree.pop("input")
    scores = {heading: tuple(number) for heading, number in tree.pop("scores").items()}
    recipes = tuple(tree.pop("recipes"))
    return Table(name=name, rows=rows, input=(height, width), scores=scores, recipes=recipes, **tree)


def network_of(recipe: Recipe) -> tuple[str, dict[str, Any], bool]:
    """Give name and keywords of the network that a recipe predicts by, and true if a CRF ends it."""
    keywords = dict(recipe.network.keywords)
    if recipe.predict.level is not None:
        keywords |= {"depth": recipe.predict.level, "deep_supervision": False}
    return recipe.network.name, keywords, recipe.predict.crf is not None

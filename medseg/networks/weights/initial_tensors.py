"""Tensors that a network starts with, and the record of which key of their source each of them is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

_LISTED = 6
"""Names that a sentence lists before it counts the others."""

_COUNTER = "num_batches_tracked"
"""A counter of normalisation that no layer here uses; old files lack it."""


@dataclass(frozen=True)
class InitialTensors:
    """Tensors that a network takes from a file or another network, by its own names.

    :param keys: the same names -> the keys of the source.
    :param adapted: names whose shape was another in the source -> that shape.
    :param unused: keys of the source that the network has no use for.
    :param fresh: the network's other tensors, which stay as drawn.
    """

    tensors: dict[str, Tensor]
    keys: dict[str, str]
    adapted: dict[str, tuple[int, ...]]
    unused: tuple[str, ...]
    fresh: tuple[str, ...]

    @classmethod
    def of(
        cls,
        tensors: dict[str, Tensor],
        keys: dict[str, str],
        source: Mapping[str, Tensor],
        own: Sequence[str],
    ) -> InitialTensors:
        """Compare what was taken with all of the source and all of the network's ``own`` names."""
        shapes = {name: tuple(source[keys[name]].shape) for name in tensors}
        used = set(keys.values())
        return cls(
            tensors,
            keys,
            adapted={name: shape for name, shape in shapes.items() if shape != tuple(tensors[name].shape)},
            unused=tuple(key for key in source if key not in used),
            fresh=tuple(name for name in own if name not in tensors),
        )

    def __str__(self) -> str:
        """Count the used keys by the first part of their names, and name what was adapted or left."""
        parts = Counter(key.partition(".")[0] for key in self.keys.values())
        counts = ", ".join(f"{part} {count}" for part, count in parts.items())
        everything = len(self.keys) + len(self.unused)
        words = [f"{len(self.keys)} of its {everything} keys used ({counts})"]
        if self.adapted:
            shapes = [
                f"{self.keys[name]} from {_sides(shape)} to {_sides(tuple(self.tensors[name].shape))}"
                for name, shape in self.adapted.items()
            ]
            words.append(f"adapted: {listed(shapes)}")
        words.append(_unused_in_words(self.unused))
        fresh = len([name for name in self.fresh if not name.endswith(_COUNTER)])
        words.append(f"{fresh} tensors of the network stay as drawn")
        return "; ".join(words)

    def record(self) -> dict[str, Any]:
        """List every key, as plain data for a JSON file."""
        shapes = {
            self.keys[name]: {"from": list(shape), "to": list(self.tensors[name].shape)}
            for name, shape in self.adapted.items()
        }
        return {
            "used": {key: name for name, key in self.keys.items()},
            "adapted": shapes,
            "not_used": list(self.unused),
            "fresh": list(self.fresh),
        }


def listed(names: Sequence[str], separator: str = ", ") -> str:
    """Join names; of a long list the first ones, and the number of the others."""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return separator.join(names[:_LISTED]) + more


def _unused_in_words(unused: Sequence[str]) -> str:
    """Name the keys without use, but count those that are counters."""
    names = [key for key in unused if not key.endswith(_COUNTER)]
    counters = len(unused) - len(names)
    words = [listed(names)] if names else []
    if counters:
        words.append(f"{counters} counters of batches")
    return f"not used: {' and '.join(words)}" if words else "all are used"


def _sides(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))

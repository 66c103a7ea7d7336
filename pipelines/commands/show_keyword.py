"""`medseg show network.keywords.KEYWORD`: what a keyword of networks means, takes, and is by default."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from medseg import networks
from medseg.errors import Code, MedsegError, choice
from medseg.networks import Keyword

SECTION = "network.keywords."
"""The section of a recipe that keywords stand in, before their names."""

Kind = tuple[str, tuple[str, ...]]
"""A type in words, and the values and limits that it allows."""


def described(name: str, kinds: dict[str, Kind]) -> list[dict[str, Any]]:
    """Describe a keyword in plain values, once for each type that it has among the networks.

    ``kinds`` is the type of the keyword ``name`` in each network that takes it.
    """
    alike: dict[Kind, list[Keyword]] = {}
    for keyword in networks.keywords_named(name):
        alike.setdefault(kinds[keyword.network], []).append(keyword)
    return [
        {
            "key": f"{SECTION}{name}",
            "meaning": f"Keyword of {', '.join(_meanings(keywords))}.",
            "type": type_in_words,
            "allowed": list(allowed),
            "default": "; ".join(_defaults(keywords)),
            "typical": "",
            "section": "keywords",
        }
        for (type_in_words, allowed), keywords in alike.items()
    ]


def taking(name: str) -> list[Keyword]:
    """The keyword in each network that takes it. Raises USAGE if none does."""
    if keywords := networks.keywords_named(name):
        return keywords
    every = sorted({keyword for network in networks.NETWORKS for keyword in networks.keywords_of(network)})
    how_to_fix = choice(name, every, "use one of:")
    raise MedsegError(Code.USAGE, f"{SECTION}{name}", "no network of the table has this keyword", how_to_fix)


def _meanings(keywords: Sequence[Keyword]) -> Iterator[str]:
    """Each network, with what its class says of the keyword."""
    for keyword in keywords:
        yield f"{keyword.network} ({keyword.meaning})" if keyword.meaning else keyword.network


def _defaults(keywords: Sequence[Keyword]) -> Iterator[str]:
    """Each default, with the networks that have it where there are several."""
    names: dict[str, list[str]] = {}
    for keyword in keywords:
        default = "nothing" if keyword.default is None else str(keyword.default)
        names.setdefault(default, []).append(keyword.network)
    for default, of in names.items():
        yield f"{default} ({', '.join(of)})" if len(names) > 1 else default

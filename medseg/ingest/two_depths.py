"""Templates of patients with folders of visits and of patients without, as one with an optional part.

``{0}/{1}/T1`` and ``{0}/T1`` become ``{0}/[{1}/]T1``, ``{0}_{1}_T1`` and ``{0}_T1`` become ``{0}[_{1}]_T1``.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, MutableMapping, Sequence

from medseg.ingest import subjects
from medseg.ingest.label_templates import Files, Key, LabelTemplate


def joined(
    labels: Sequence[LabelTemplate],
    images: MutableMapping[str, Files],
    order: Mapping[Key, tuple[str, ...]],
) -> list[LabelTemplate]:
    """The label templates, two of different depths as one where their channels are alike; the others stay.

    A word that is no folder must be a session's, not a part of a person's name: ``order`` are the words of
    each case. The joined templates of channels are added to ``images``.
    """
    rest = list(labels)
    for a, b in itertools.permutations(labels, 2):
        if a in rest and b in rest and _may_lack(a, order) and (both := _both(a, b, images)):
            rest = [both, *(label for label in rest if label not in (a, b))]
    return rest


def _may_lack(deep: LabelTemplate, order: Mapping[Key, tuple[str, ...]]) -> bool:
    """True if the second word is a folder, or tells sessions."""
    words = [order[key][1] for key in deep.files if len(order[key]) == 2]
    return "{1}/" in deep.template or (len(words) == len(deep.files) and all(map(subjects.is_session, words)))


def _both(
    deep: LabelTemplate, flat: LabelTemplate, images: MutableMapping[str, Files]
) -> LabelTemplate | None:
    """The label template for the cases of both; None where the templates differ by more than a word."""
    template = _joined(deep.template, flat.template)
    pairs = [(a, b, text) for a in deep.channels for b in flat.channels if (text := _joined(a, b))]
    if template is None or not len(pairs) == len(deep.channels) == len(flat.channels):
        return None
    images.update({text: {**images[a], **images[b]} for a, b, text in pairs})
    return LabelTemplate(
        template,
        {**deep.files, **flat.files},
        tuple(sorted(text for _, _, text in pairs)),
        deep.covered | flat.covered,
        deep.too_few + flat.too_few,
        deep.other_grid + flat.other_grid,
        deep.processed + flat.processed,
    )


def _joined(deep: str, flat: str) -> str | None:
    """The template that stands for both."""
    text = re.sub(r"\{1\}/", "[{1}/]", deep)
    text = re.sub(r"([_\-. ])\{1\}", r"[\1{1}]", text)
    return text if "[" in text and re.sub(r"\[[^\]]*\]", "", text) == flat else None

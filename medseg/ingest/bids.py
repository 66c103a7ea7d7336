"""The layout BIDS: scans in ``sub-*/[ses-*/]anat``, label maps under ``derivatives`` or beside the scans."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from medseg.errors import Code, MedsegError
from medseg.ingest.label_names import LABEL_WORDS, label_rank
from medseg.ingest.patterns import Patterns
from medseg.ingest.tree import without_suffix

_MODALITY = re.compile(r"(?:^|_)([A-Za-z0-9]+w|T2star|FLAIR|bold)(?=_|$)")
_SCAN = re.compile(r"sub-[^/]+/(?:ses-[^/]+/)?(anat/)?(sub-[^/]+)_([A-Za-z0-9]+)")
_SUFFIX = re.compile(r"[A-Za-z0-9]+w|T2star|FLAIR|PD|angio|MP2RAGE|UNIT1")
_NAME = re.compile(r"(sub-[A-Za-z0-9]+(?:_ses-[A-Za-z0-9]+)?)_(.+)")
_PROBABILITIES = re.compile(r"probseg$")
_SPACE = re.compile(r"_space-([^_]+)")
_OWN_SPACES = {"orig", "native", "individual", "T1w", "T2w", "FLAIR"}
_DERIVED = "space|desc|label|res|den|hemi|from|to|mode|atlas|seg|scale|cohort"
"""Entities that only processed files have: a scan of ``space-MNI`` lies on another grid than the raw one."""
_PROCESSED = re.compile(rf"_(?:{_DERIVED})-.*")
_BRAIN = re.compile(r"(?<![A-Za-z])brain(?![a-z])")

SUBJECT_FORM = r"sub-[^/_]+"
CASE_FORM = rf"(?:(?!(?:{_DERIVED})-)[^/_]+)(?:_(?!(?:{_DERIVED})-)[^/_]+)*"
"""Names of cases as expressions: entities of the scan alone."""


def is_bids(tree: list[str]) -> bool:
    """Tell BIDS: scans in sub-*/anat; or in sub-*, without label maps beside them as in subjects' folders."""
    hits = _scans(tree)
    names = (_last(without_suffix(path)) for path in tree if path.startswith("sub-"))
    labels_beside = any(label_rank(name) is not None for name in names)
    return any(hit[1] for hit in hits) or (bool(hits) and not labels_beside)


def patterns(root: Path, tree: list[str], suffix: str) -> Patterns:
    """The patterns of the scans, T1w if there are any, and of the label maps that are most surely theirs.

    Where no scan is raw, those processed in one way are taken, in the scans' own space if there are any.
    """
    hits = _scans(tree)
    if not hits:
        details = f"bids without scans in {root}/sub-*/anat"
        how_to_fix = "name the right data folder, or choose another layout"
        raise MedsegError(Code.RECIPE_INVALID, "data.layout", details, how_to_fix)
    counts = Counter(hit[3] for hit in hits)
    modality = "T1w" if "T1w" in counts else max(counts, key=lambda m: (counts[m], m))
    anat = "anat/" if any(hit[1] for hit in hits) else ""
    names = [hit[2] for hit in hits if hit[3] == modality]
    processing = _processing(names)
    image = f"{{subject}}/**/{anat}{{case}}{processing}_{modality}{suffix}"
    cases = sorted({name.removesuffix(processing) for name in names}, key=len, reverse=True)
    space = _space(processing)
    templates = Counter(t for path in tree if (t := _label_template(without_suffix(path), cases, space)))
    labels = sorted((_rank(t, modality), -count, t.count("_"), t) for t, count in templates.items())
    label = labels[0][-1] + suffix if labels else None
    return Patterns({modality: image}, label, SUBJECT_FORM, case_form=CASE_FORM)


def _scans(tree: list[str]) -> list[re.Match[str]]:
    """The scans' hits: (anat/, subject and entities, modality). A label map's suffix is no modality.

    Outside of anat/ the modality must be one that BIDS knows.
    """
    hits = (hit for path in tree if (hit := _SCAN.fullmatch(without_suffix(path))))
    return [h for h in hits if label_rank(h[3]) is None and (h[1] or _SUFFIX.fullmatch(h[3]))]


def _processing(names: list[str]) -> str:
    """The entities of processing that the scans to take have in their names: none if any scan is raw."""
    counts = Counter(hit[0] if (hit := _PROCESSED.search(name)) else "" for name in names)
    return min(
        counts, key=lambda entities: (entities != "", _space(entities) != "", -counts[entities], entities)
    )


def _space(entities: str) -> str:
    """The space that a file was brought into; nothing for the scan's own."""
    hit = _SPACE.search(entities)
    return hit[1] if hit and hit[1] not in _OWN_SPACES else ""


def _label_template(path: str, cases: list[str], space: str) -> str | None:
    """The path of a label map in ``space``, subject and case as placeholders; None for other files."""
    folder, _, name = path.rpartition("/")
    subject = re.search(r"(?:^|/)(sub-[^/_]+)(/ses-[^/]+)?(?=/|$)", folder)
    hit = _NAME.fullmatch(name)
    if not subject or not hit or (subject.start() > 0 and not path.startswith("derivatives/")):
        return None
    case = next((case for case in cases if name.startswith(f"{case}_")), hit[1])
    ending = name[len(case) :]
    if label_rank(ending) is None or _PROBABILITIES.search(ending) or _SUFFIX.fullmatch(_last_word(ending)):
        return None
    if _space(ending) != space:
        return None
    inner = folder[subject.end() :].lstrip("/")
    start = f"{folder[: subject.start()]}/{{subject}}/**/".lstrip("/")
    return f"{start}{inner}{'/' if inner else ''}{{case}}{ending}"


def _rank(template: str, modality: str) -> tuple[bool, bool, int, bool]:
    """Sureness of a label template; another modality, another space or the whole brain come after."""
    ending = _last(template).removeprefix("{case}")
    modalities = {hit[1] for hit in _MODALITY.finditer(ending)}
    of_suffix = label_rank(_last_word(ending))
    rank = label_rank(ending) if of_suffix is None else of_suffix
    return (
        bool(modalities) and modality not in modalities,
        "_space-" in ending,
        len(LABEL_WORDS) if rank is None else rank,
        bool(_BRAIN.search(ending)),
    )


def _last(path: str) -> str:
    return path.rpartition("/")[2]


def _last_word(ending: str) -> str:
    return ending.rpartition("_")[2]

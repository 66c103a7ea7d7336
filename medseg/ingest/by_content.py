"""Patterns for a folder that nobody described, from its files' content and the words that repeat in paths.

1. Label maps and images are told by their content (:mod:`medseg.ingest.looks`).
2. Words that both have and that vary, as ``P01`` and ``visit2``, say which case a file belongs to; words of
   one kind alone, as ``t1`` and ``manual``, say which of a case's files it is. Words that are frequent stand
   as they are, others, as a date, become ``*``.
3. Of the label maps those of most cases are taken, of the images those on the label map's grid.
4. Where words tell nothing, their places may (:mod:`medseg.ingest.by_position`).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from medseg.errors import some
from medseg.grid import axis_order
from medseg.ingest import (
    by_position,
    case_words,
    derived_images,
    freesurfer_names,
    label_parts,
    path_words,
    placeholders,
    two_depths,
)
from medseg.ingest.label_templates import (
    MOST_CASES,
    TRIED,
    ClassFiles,
    Files,
    Key,
    LabelTemplate,
    SortedFiles,
    class_files,
    counted_as,
    ranked,
    remarks_on_others,
    structures,
)
from medseg.ingest.looks import Kind, Looks
from medseg.ingest.pattern_rules import ROLES
from medseg.ingest.patterns import Patterns
from medseg.ingest.plain import common_suffix
from medseg.ingest.tree import without_suffix, without_zeros

_MOST_VOLUMES = 8
"""Volumes of one file that are taken for channels; more are a series."""


@dataclass(frozen=True)
class Reading:
    """Proposed patterns, None where no label map belongs to an image.

    ``remarks`` say what else could be meant, what is left out, or why there are no patterns. ``is_choosy`` if
    images were left out that were made from others. Globs of ``ignore`` match files of no channel which a
    channel's pattern takes. ``classes`` are names of those with files of their own, which ``{class}`` in the
    label's pattern stands for. ``is_whole`` unless the label maps are parts of segmentations,
    as a file for each lesion.
    """

    patterns: Patterns | None
    remarks: tuple[str, ...] = ()
    is_choosy: bool = False
    ignore: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    is_whole: bool = True


@dataclass(frozen=True)
class Chosen:
    """Tests of paths that the user gave: for label maps, and for each channel by its name."""

    is_label: Callable[[str], bool] | None = None
    is_channel: Mapping[str, Callable[[str], bool]] = field(default_factory=dict)

    def label(self, path: str, kind: Kind) -> bool:
        """True for a file that may be a label map."""
        if any(fits(path) for fits in self.is_channel.values()):
            return False
        return kind in ("label", "empty") and (self.is_label is None or self.is_label(path))

    def image(self, path: str, kind: Kind) -> bool:
        """True for a file that may be a channel; a given channel may be a label map by its content."""
        if self.is_channel:
            return kind != "unread" and any(fits(path) for fits in self.is_channel.values())
        return kind == "image"

    def name(self, path: str) -> str | None:
        """The name that the user gave to the channel with this file."""
        return next((name for name, fits in self.is_channel.items() if fits(path)), None)


def read(files: Sequence[str], looks: Looks, chosen: Chosen | None = None) -> Reading:
    """Propose patterns for files given by relative paths."""
    chosen = chosen or Chosen()
    usable = [path for path in files if not set(path) & set("{}[]*")]
    kinds = looks.kinds(usable)
    labels = [path for path in usable if chosen.label(path, kinds[path])]
    images = [path for path in usable if chosen.image(path, kinds[path])] or [
        path for path in usable if kinds[path] == "unread" and looks.at(path).is_series
    ]
    by_words = _by_words(labels, images)
    if by_words.n_paired() < len(labels):
        counted = _by_words(labels, images, without_zeros)
        by_words = counted if counted.n_paired() > by_words.n_paired() else by_words
    candidates, all_labels = _candidates(by_words, looks)
    if not candidates and (by_place := by_position.read(labels, images)):
        by_words = by_place
        candidates, all_labels = _candidates(by_words, looks)
    if not candidates and not any(label.other_grid for label in all_labels):
        return Reading(None, _nothing_pairs(labels, images, looks))
    if not candidates:
        text = "no label map lies on the grid of an image of its case: resample one to the other"
        return Reading(None, (f"{text}, or name the files so that their words tell cases apart",))
    one_of = {t: next(iter(by_words.images[t].values())) for t in candidates[0].channels}
    naming_of = {t: chosen.name(path) for t, path in one_of.items()}
    volumes = {t: looks.image_at(path).volumes for t, path in one_of.items()}
    of_structures = structures(candidates, looks) or class_files(candidates, looks) or {}
    parts = [] if of_structures or chosen.is_label else label_parts.of_first(candidates, looks)
    candidates = [label for label in candidates if label not in parts[1:]]
    reading = _reading(candidates, by_words.order, (images, labels), naming_of, of_structures)
    if parts:
        names = [re.sub(r"\{\w+\}", "*", part.template) for part in parts]
        reading = replace(reading, remarks=(*reading.remarks, label_parts.remark(names)), is_whole=False)
    if by_words.remark:
        reading = replace(reading, remarks=(by_words.remark, *reading.remarks))
    return _with_volumes(reading, [*volumes.values()])


def _by_words(labels: Sequence[str], images: Sequence[str], spelt: Callable[[str], str] = str) -> SortedFiles:
    """Label maps and images with a case's words, as ``spelt``, each file by its template and case."""
    words = {path: [*map(spelt, path_words.words_of(without_suffix(path)))] for path in (*labels, *images)}
    names = case_words.of_cases(labels, images, words) or case_words.of_one_case(labels, images, words)
    in_times = case_words.times_of_folders(labels, images)
    if by_position.stand_for_two_things(names - in_times, [*words.values()]):
        return SortedFiles({}, {}, {})
    telling = {path: told_by for path in labels if (told_by := case_words.named(words[path], names))}
    order = {frozenset(told_by): told_by for told_by in telling.values()}
    of_labels = {path: frozenset(told_by) for path, told_by in telling.items()}
    keys = {path: case_words.key_of(case_words.named(words[path], names), order) for path in images}
    of_images = {path: key for path, key in keys.items() if key is not None}
    return SortedFiles(
        _templates(of_labels, order, words, spelt),
        _templates(of_images, order, words, spelt, in_times),
        order,
    )


def _candidates(files: SortedFiles, looks: Looks) -> tuple[list[LabelTemplate], list[LabelTemplate]]:
    """The label templates that have channels, the one to take first; and all of them."""
    of_cases = [_with_channels(t, f, files.images, looks) for t, f in files.labels.items()]
    with_channels = [label for label in of_cases if label.channels]
    return ranked(two_depths.joined(with_channels, files.images, files.order), looks), of_cases


def _with_volumes(reading: Reading, volumes: Sequence[int]) -> Reading:
    """The reading with a channel for each volume of files that hold several; so many of each channel's."""
    if reading.patterns is None or max(volumes) == 1:
        return reading
    (pattern, *others), count = reading.patterns.channels.values(), volumes[0]
    if others or count > _MOST_VOLUMES:
        shown = f"{pattern} holds {count} volumes"
        return Reading(None, (f"{shown}: write one of them, or their mean, to a file of its own",))
    channels = {f"channel_{number}": pattern for number in range(1, count + 1)}
    remark = f"each image holds {count} volumes, which are taken for channels in their order: name them"
    return replace(
        reading, patterns=replace(reading.patterns, channels=channels), remarks=(*reading.remarks, remark)
    )


def _nothing_pairs(labels: Sequence[str], images: Sequence[str], looks: Looks) -> tuple[str, ...]:
    """The reason, if known, why no file is a label map of another; files on one grid are one case's."""
    if not labels or not images:
        return ()
    counted = f"{counted_as(len(images), 'image')} and {counted_as(len(labels), 'label map')}"
    pairs = ((image, label) for image in images[:TRIED] for label in labels[:TRIED])
    on_one_grid = len(labels) <= TRIED and all(_same_grid(*pair, looks) for pair in pairs)
    if len(labels) == 1 or on_one_grid or all(map(freesurfer_names.is_its_own, (*labels, *images))):
        text = "if all are files of one case, give them a folder of their own and name the folder above it"
        return (f"{counted}, but no word in their paths tells cases apart: {text}",)
    text = "name them alike, or list them in a table (layout csv)"
    return (f"{counted}, but no word in their paths tells which belong together: {text}",)


# Templates: paths with {0}, {1} … for the words of the case


def _templates(
    keys: Mapping[str, Key],
    order: Mapping[Key, tuple[str, ...]],
    words: Mapping[str, list[str]],
    spelt: Callable[[str], str],
    times: Collection[str] = (),
) -> dict[str, Files]:
    """Template → case → file, for ``words`` as ``spelt``.

    Names keep their own contrast where folders called as contrasts are ``times``.
    Words that no two cases share are ``*``. So are others that not all cases have, where they stand for one
    another, as the initials of raters do: never two in one case.
    """
    cases_with: dict[str, set[Key]] = defaultdict(set)
    for path, key in keys.items():
        for word in words[path]:
            cases_with[word].add(key)
    n_cases = len(set(keys.values()))
    known = {word for word in cases_with if path_words.is_known(word)}
    in_all = known | {word for word, cases in cases_with.items() if len(cases) == n_cases}
    shared = known | {word for word, cases in cases_with.items() if len(cases) > 1 or n_cases == 1}
    narrow = {path: _template(path, order[key], shared, spelt, times) for path, key in keys.items()}
    wide = {path: _template(path, order[key], in_all, spelt, times) for path, key in keys.items()}
    merged: dict[str, set[str]] = defaultdict(set)
    sizes = Counter((wide[path], key) for path, key in keys.items())
    for path in keys:
        merged[wide[path]].add(narrow[path])
    twice = {template for (template, _), count in sizes.items() if count > 1}
    result: dict[str, Files] = defaultdict(dict)
    for path, key in keys.items():
        instead = len(merged[wide[path]]) > 1 and wide[path] not in twice
        result[wide[path] if instead else narrow[path]][key] = path
    return dict(result)


def _template(
    path: str,
    told_by: tuple[str, ...],
    literal: set[str],
    spelt: Callable[[str], str],
    times: Collection[str],
) -> str:
    """The path without suffix: words of the case as placeholders, words that are not literal as ``*``."""
    stem = without_suffix(path)
    contrast = case_words.last_contrast(path)
    own = stem.rfind(contrast) if contrast in times else -1
    parts: list[str] = []
    end = 0
    for word in path_words.split(stem):
        parts.append(stem[end : word.start])
        end = word.end
        text = spelt(word.text)
        if text in told_by and word.start != own:
            parts.append("{role}" if text in ROLES else f"{{{told_by.index(text)}}}")
        else:
            parts.append(word.text if text in literal else "*")
    return "".join(parts) + stem[end:]


# Label maps and their channels


def _with_channels(template: str, files: Files, images: Mapping[str, Files], looks: Looks) -> LabelTemplate:
    """The images that lie on the label map's grid in most of its cases."""
    slots = placeholders.in_template(template)
    channels, too_few, other_grid = [], [], []
    beside: dict[str, Files] = {}
    for image, own in images.items():
        both = [key for key in files if key in own]
        if not both or placeholders.in_template(image) != slots:
            continue
        tried = [_same_grid(own[key], files[key], looks) for key in both[:TRIED]]
        if sum(tried) < MOST_CASES * len(tried):
            other_grid.append(image)
        else:
            beside[image] = own
    processed = [image for image in beside if derived_images.is_derived(image, beside, looks)]
    for image in (image for image in beside if image not in processed):
        both = [key for key in files if key in beside[image]]
        if len(both) < MOST_CASES * len(files):
            too_few.append(image)
        else:
            channels.append(image)
    if not channels and too_few:
        too_few.sort(key=lambda image: -len(images[image].keys() & files.keys()))
        channels.append(too_few.pop(0))
    covered = [key for key in files if all(key in images[image] for image in channels)]
    return LabelTemplate(
        template,
        files,
        tuple(sorted(channels)),
        frozenset(covered),
        tuple(too_few),
        tuple(other_grid),
        tuple(processed),
    )


def _same_grid(image: str, label: str, looks: Looks) -> bool:
    a, b = looks.image_at(image).grid, looks.at(label).grid
    return a is not None and b is not None and axis_order(a, b) is not None


# The reading


def _reading(
    candidates: list[LabelTemplate],
    order: Mapping[Key, tuple[str, ...]],
    files: tuple[Sequence[str], Sequence[str]],
    given: Mapping[str, str | None],
    structures: Mapping[str, str] | ClassFiles,
) -> Reading:
    """Write the first candidate's templates as patterns, and say what else there is.

    ``files`` are images and label maps, ``given`` the names that the user gave to templates, ``structures``
    names of masks and their templates, or files of classes, to be used instead of the first candidate alone.
    """
    of_classes = structures if isinstance(structures, ClassFiles) else None
    of_masks = {} if isinstance(structures, ClassFiles) else structures
    joined = {*(of_classes.templates if of_classes else of_masks).values()}
    chosen = candidates[0]
    templates = (chosen.template, *chosen.channels)
    told_by = [order[key] for key in chosen.files]
    naming = placeholders.named(templates, told_by)
    if naming is None:
        return Reading(
            None, (f"too many words tell the cases apart, as in {next(iter(chosen.files.values()))}",)
        )
    suffix, label_suffix = map(common_suffix, files)
    names = placeholders.channel_names(chosen.channels)
    names = [given[t] or name for t, name in zip(chosen.channels, names, strict=True)]
    channels = {n: naming.write(t) + suffix for n, t in zip(names, chosen.channels, strict=True)}
    remarks = [*naming.remarks, *placeholders.remark_on_visits(chosen.channels, names)]
    written = naming.write(chosen.template)
    others = [
        label
        for label in candidates[1:]
        if label.template not in joined
        and not all(placeholders.fits(written, without_suffix(path)) for path in label.files.values())
    ]
    masks = {name: naming.write(template) + label_suffix for name, template in of_masks.items()}
    if masks:
        remarks.append(
            f"{', '.join(masks)} have a file each and are taken for masks that may overlap: data.masks;"
            " for one of them alone use --label"
        )
    elif of_classes:
        remarks.append(
            f"{len(of_classes.templates)} structures have a file each, which {{class}} in data.label stands"
            " for: take those out of data.classes that you do not need; a case in which two share voxels is"
            " excluded, unless you write data.overlap: later"
        )
    elif others:
        remarks += remarks_on_others(chosen, others, naming)
    if chosen.other_grid:
        listed = some([naming.shown(t) for t in chosen.other_grid], 4)
        remarks.append(f"not channels, for they lie on another grid than the label maps: {listed}")
    if chosen.processed:
        listed = some([naming.shown(t) for t in chosen.processed], 4)
        remarks.append(f"not channels, for they seem to be made from images that are: {listed}")
    if chosen.too_few:
        listed = some([naming.shown(t) for t in chosen.too_few], 4)
        remarks.append(
            f"not channels, for not all labelled cases have them: {listed}; add one by --channel NAME=PATTERN"
        )
    if lacking := len(chosen.files) - len(chosen.covered):
        cases = "1 labelled case lacks" if lacking == 1 else f"{lacking} labelled cases lack"
        remarks.append(f"{cases} one of the channels and will be excluded, unless you leave that channel out")
    template = of_classes.template if of_classes else chosen.template
    label = None if masks else naming.write(template) + label_suffix
    rest = {*chosen.processed, *chosen.other_grid, *chosen.too_few, *(other.template for other in others)}
    ignore = [
        re.sub(r"\{\w+\}", "*", naming.write(template)) + ".*"
        for template in sorted(rest)
        if any(placeholders.fits(image, template.replace("*", "x")) for image in chosen.channels)
    ]
    return Reading(
        Patterns(channels, label, masks=masks),
        tuple(remarks),
        bool(chosen.processed),
        tuple(ignore),
        tuple(of_classes.templates) if of_classes else (),
    )

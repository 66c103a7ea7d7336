"""The choice among the series of DICOM exports: volumes that are cases of a model, and why others are not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from medseg.errors import Code, Finding, MedsegError
from medseg.io.dicom import rules
from medseg.io.dicom.rules import SeriesRules
from medseg.io.dicom.series import SeriesVolume

Named = tuple[str, SeriesVolume]
"""A volume and its pseudonym."""


@dataclass(frozen=True)
class SeriesCase:
    """Volumes by channel under a pseudonym; `decision` says why, `reason` why they cannot be segmented."""

    case: str
    channels: Mapping[str, SeriesVolume]
    decision: str
    reason: Finding | None = None


def with_changes(known: Mapping[str, SeriesRules], changes: Iterable[str]) -> dict[str, SeriesRules]:
    """Change the rules of all channels, or of one (`flair.contrast=flair`); raises USAGE."""
    changed = dict(known)
    for text in changes:
        name, dot, _ = text.partition("=")[0].partition(".")
        if dot and name not in changed:
            details, how_to_fix = f"no channel {name!r}", f"channels are {', '.join(changed)}"
            raise MedsegError(Code.USAGE, "--series", details, how_to_fix)
        for channel in [name] if dot else list(changed):
            changed[channel] = changed[channel].changed(text.removeprefix(f"{name}.") if dot else text)
    return changed


def choose(volumes: Sequence[Named], by_channel: Mapping[str, SeriesRules]) -> Iterator[SeriesCase]:
    """Make a case of each volume that the rules choose, or of a study's volumes where there are channels.

    Every volume is part of exactly one case; those that are no case's channel are cases with the reason.
    """
    studies: dict[tuple[str, str], list[Named]] = defaultdict(list)
    first = next(iter(by_channel))
    for case, volume in volumes:
        if volume.refusal is not None:
            yield SeriesCase(case, {first: volume}, "", volume.refusal)
        elif len(by_channel) == 1:
            yield _alone(case, volume, first, by_channel[first])
        else:
            studies[volume.header.patient, volume.header.study_uid].append((case, volume))
    for study in studies.values():
        yield from _of_study(study, by_channel)


def _alone(case: str, volume: SeriesVolume, channel: str, rule: SeriesRules) -> SeriesCase:
    against = rules.against(volume, rule)
    reason = _not_chosen(case, against) if against else None
    return SeriesCase(case, {channel: volume}, rules.described(volume), reason)


def _of_study(study: Sequence[Named], by_channel: Mapping[str, SeriesRules]) -> Iterator[SeriesCase]:
    """The case that a study's series make up together, and those that are no part of it."""
    against = {case: rules.against_all(volume, by_channel) for case, volume in study}
    fitting = {name: [named for named in study if not against[named[0]][name]] for name in by_channel}
    used = {case for named in fitting.values() for case, _ in named}
    first = next(iter(by_channel))
    for case, volume in study:
        if case not in used:
            reason = _not_chosen(case, rules.reason_of(against[case]))
            yield SeriesCase(case, {first: volume}, rules.described(volume), reason)
    complete = {name: named[0] for name, named in fitting.items() if len(named) == 1}
    if len(complete) == len(by_channel) == len({case for case, _ in complete.values()}):
        channels = {name: volume for name, (_, volume) in complete.items()}
        decision = "; ".join(f"{name}: {rules.described(volume)}" for name, volume in channels.items())
        yield SeriesCase(complete[first][0], channels, decision)
        return
    for case, volume in study:
        if case in used:
            yield SeriesCase(case, {first: volume}, rules.described(volume), _no_case(case, fitting))


def _no_case(case: str, fitting: Mapping[str, Sequence[Named]]) -> Finding:
    """The reason why a study's fitting series make up no case: a channel lacks one, or has several."""
    lacking = [name for name, named in fitting.items() if not named]
    series = {name for named in fitting.values() for name, _ in named}
    if lacking or len(series) < len(fitting):
        details = f"{len(series)} series of the study for the channels {', '.join(fitting)}"
        details += f"; none fits {', '.join(lacking)}" if lacking else ""
        return Finding(Code.CHANNEL_MISSING, case, details, "export it too, or change its rules: --series")
    counts = ", ".join(f"{name} {len(named)}" for name, named in fitting.items())
    details = f"series that fit the channels: {counts}; each needs one of its own"
    how_to_fix = "tell them apart: --series CHANNEL.contrast=… or --series CHANNEL.description='*…*'"
    return Finding(Code.SERIES_AMBIGUOUS, case, details, how_to_fix)


def _not_chosen(case: str, details: str) -> Finding:
    return Finding(Code.SERIES_NOT_CHOSEN, case, details, "none, or lift the rule: --series RULE=any")

"""docs/results.md, rendered from the JSON files of benchmarks/results; a row without one is "not run"."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.result_rows import COMPARED_WITH, OUT_OF_THE_BOX, PAPER, QUALITY, ROWS, Published, Row
from medseg import files
from medseg.metrics.summary import interval

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PAGE = ROOT / "docs" / "results.md"

NOT_RUN = "not run"

_HEAD = """# Results

Written by `make results` from the files in `benchmarks/results/`; do not edit it. Each row is made again by
its command, with the same numbers on a CPU with the same number of threads; a command that was stopped goes
on where it was. With `REPEAT=1` a row is made again as long as its JSON says that it was trained, in a work
folder of its own, and every number is compared; the command fails where one differs. `DATA` is a folder that
holds the data sets `ibsr18`, `hippocampus` and `camvid`.

Test cases are used by the last evaluation alone. The command refuses splits in which a subject, or one file
under two names, is on both sides. Numbers in brackets are 95 % bootstrap intervals over subjects; below five
subjects there are none. HD95 is in mm, NSD at 1 mm, of images in px ([how scores are computed](scores.md)).
None of the published figures was measured here; what differs in their protocols stands beside them.
"""


def write() -> None:
    """Write the page."""
    files.write_text(PAGE, render(read_all()))


def read_all() -> dict[str, dict[int, dict[str, Any]]]:
    """The JSON of every row that was run, by row and seed."""
    contents: dict[str, dict[int, dict[str, Any]]] = {}
    for row in ROWS:
        for path in sorted(RESULTS.glob(f"{row.name}.json")) + sorted(RESULTS.glob(f"{row.name}.seed*.json")):
            seed = 0 if path.stem == row.name else int(path.stem.rpartition(".seed")[2])
            contents.setdefault(row.name, {})[seed] = files.read_json(path)
    return contents


def render(contents: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> str:
    """The page's text for the JSON of rows by name and seed."""
    parts = [_HEAD]
    for group in dict.fromkeys(row.group for row in ROWS):
        rows = [row for row in ROWS if row.group == group]
        parts.append(f"## {group}\n")
        if group in (OUT_OF_THE_BOX, QUALITY):
            parts += [_script_section(row, contents.get(row.name, {})) for row in rows]
            continue
        parts += [_overview(rows, contents), _published(rows)]
        if group == PAPER:
            parts.append(_differences(rows, contents))
        parts += [_section(row, contents[row.name]) for row in rows if 0 in contents.get(row.name, {})]
    return "\n".join(parts).rstrip() + "\n"


def command(row: Row, seed: int = 0) -> str:
    """The command that makes a row."""
    return f"make results ROW={row.name} DATA=path/to/data" + (f" SEED={seed}" if seed else "")


def _overview(rows: list[Row], contents: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> str:
    names = _class_names(rows, contents)
    lines = [
        f"| {' | '.join(('Dice', *names, 'mean'))} | training, min a fold | command |",
        f"| {' | '.join('---' for _ in (*names, 'mean'))} | --- | --- | --- |",
    ]
    for row in rows:
        done = contents.get(row.name, {}).get(0)
        if done is None:
            cells = [*("" for _ in names), NOT_RUN, f"{row.minutes:g} planned" if row.minutes else ""]
        else:
            scores = done["scores"]
            by_class = [_value(scores["classes"][n]["dice"]) if n in scores["classes"] else "" for n in names]
            cells = [*by_class, _value(scores["mean"]["dice"]), _minutes(done["minutes"])]
        lines.append(f"| {row.title} | {' | '.join(cells)} | `make results ROW={row.name}` |")
    return "\n".join(lines) + "\n"


def _published(rows: list[Row]) -> str:
    """The published figures beside a group's rows: each once, or where rows have their own one for each."""
    of_rows: dict[Published, list[str]] = {}
    for row in rows:
        for one in row.published:
            of_rows.setdefault(one, []).append(row.title.partition(":")[0])
    if len({row.published for row in rows}) == 1:
        scores = "Dice" if any(one.dice for one in of_rows) else "over all pixels"
        lines = [f"| published | {scores} | what differs |", "| --- | --- | --- |"]
        lines += [f"| {one.source} | {_dice_words(one)} | {one.differs} |" for one in of_rows]
        return "\n".join(lines) + "\n"
    (source, differs), *others = dict.fromkeys((one.source, one.differs) for one in of_rows)
    if others:
        raise ValueError("rows with figures of their own have them from one source")
    lines = [f"Published by {source}. What differs: {differs}.", "", "| published | Dice |", "| --- | --- |"]
    lines += [f"| {titles[0]} | {_dice_words(one)} |" for one, titles in of_rows.items()]
    return "\n".join(lines) + "\n"


def _class_names(rows: list[Row], contents: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> list[str]:
    names = [
        name
        for row in rows
        for name in contents.get(row.name, {}).get(0, {}).get("scores", {}).get("classes", {})
    ]
    names += [name for row in rows for one in row.published for name, _ in one.dice if name != "mean"]
    return list(dict.fromkeys(names))


def _section(row: Row, by_seed: Mapping[int, Mapping[str, Any]]) -> str:
    lines = [f"### `{row.name}`: {row.title}", ""]
    for seed, done in sorted(by_seed.items()):
        lines += [f"`{command(row, seed)}`", "", *_facts(done), "", *_scores(done["scores"]), ""]
    if len(by_seed) > 1:
        means = [done["scores"]["mean"]["dice"]["mean"] for _, done in sorted(by_seed.items())]
        lines += [f"Mean Dice by seed: {', '.join(f'{mean:.4f}' for mean in means)}.", ""]
    if row.remark:
        lines += [row.remark, ""]
    return "\n".join(lines)


def _facts(done: Mapping[str, Any]) -> Iterator[str]:
    recipe, machine = done["recipe"], done["hardware"]
    changed = ", with changes since" if done["changed_since_commit"] else ""
    yield f"- recipe `{recipe['name']}` of commit {recipe['commit'][:12]}; {_settings(recipe['settings'])}"
    versions = f"medseg {done['medseg']}, torch {done['torch']}, seed {done['seed']}"
    yield f"- code of commit {done['commit'][:12]}{changed}, {versions}"
    cores = f"{machine['cores']} core{'' if machine['cores'] == 1 else 's'}"
    threads = f"{machine['threads']} thread{'' if machine['threads'] == 1 else 's'}"
    yield f"- {machine['device']}, {cores}, {threads}; {_time(done['minutes'])}"
    for number, fold in enumerate(done["data"]["folds"]):
        roles = "; ".join(f"{role} {_cases(names)}" for role, names in fold.items())
        yield f"- {f'fold {number}: ' if len(done['data']['folds']) > 1 else ''}{roles}"


def _settings(settings: list[str]) -> str:
    shown = [
        value for value in settings if not value.startswith("data.splits=") and not value.endswith("=null")
    ]
    return f"`{' '.join(shown)}`" if shown else "as it is"


def _cases(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 8 else f"{names[0]} … {names[-1]} ({len(names)} cases)"


def _time(minutes: Mapping[str, Any]) -> str:
    other = f"{minutes['other_stages']:g} min for all other stages"
    return f"{_minutes(minutes)} min of training a fold, {other}" if minutes["training"] else other


def _minutes(minutes: Mapping[str, Any]) -> str:
    trained = list(minutes["training"].values())
    if not trained:
        return "none"
    return f"{trained[0]:g}" if len(set(trained)) == 1 else f"{min(trained):g} to {max(trained):g}"


def _scores(scores: Mapping[str, Any]) -> Iterator[str]:
    of_images = scores.get("of_images") or {}
    yield f"| {scores['cases']} test cases | Dice | NSD | HD95 ({'px' if of_images else 'mm'}) |"
    yield "| --- | --- | --- | --- |"
    for name, metrics in [*scores["classes"].items(), ("mean", scores["mean"])]:
        cells = (_value(metrics["dice"]), _value(metrics["nsd"]), _value(metrics["hd95"], 2))
        yield f"| {name} | {' | '.join(cells)} |"
    if of_images:
        yield ""
        yield f"Over all pixels: {', '.join(f'{name} {value:.3f}' for name, value in of_images.items())}."


def _value(statistics: Mapping[str, Any], digits: int = 3) -> str:
    if statistics["mean"] is None:
        return "undefined"
    ci95 = statistics["ci95"]
    text = f"{statistics['mean']:.{digits}f}"
    if ci95 is not None:
        text += f" [{ci95[0]:.{digits}f}, {ci95[1]:.{digits}f}]"
    return text + (f" ({statistics['n_undefined']} undefined)" if statistics["n_undefined"] else "")


def _dice_words(one: Published) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in one.dice or one.of_images)


def _differences(rows: list[Row], contents: Mapping[str, Mapping[int, Mapping[str, Any]]]) -> str:
    """The reference row minus each other row, scan by scan, with an interval over subjects."""
    reference = contents.get(COMPARED_WITH, {}).get(0)
    if reference is None:
        return f"`{COMPARED_WITH}` minus each other row, scan by scan: {NOT_RUN}.\n"
    lines = [
        f"`{COMPARED_WITH}` minus each other row, scan by scan; an interval that holds 0 is no difference:",
        "",
        "| row | difference of mean Dice | scans |",
        "| --- | --- | --- |",
    ]
    for row in rows:
        other = contents.get(row.name, {}).get(0)
        if row.name != COMPARED_WITH:
            lines.append(f"| {row.title} | {_difference(reference, other)} |")
    return "\n".join(lines) + "\n"


def _difference(reference: Mapping[str, Any], other: Mapping[str, Any] | None) -> str:
    if other is None:
        return f"{NOT_RUN} | "
    ours, theirs = mean_by_case(reference), mean_by_case(other)
    both = sorted(ours.keys() & theirs.keys())
    differences = np.array([ours[case] - theirs[case] for case in both])
    subjects = [subject for subject, _ in both]
    around = interval(differences, subjects)
    words = f"{differences.mean():+.4f}" + (f" [{around[0]:+.4f}, {around[1]:+.4f}]" if around else "")
    return f"{words} | {len(both)}"


def mean_by_case(done: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """The mean Dice over classes of each (subject, case)."""
    dice: dict[tuple[str, str], list[float]] = {}
    for one in done["by_case"]:
        if one["dice"] is not None:
            dice.setdefault((one["subject"], one["case"]), []).append(one["dice"])
    return {case: float(np.mean(values)) for case, values in dice.items()}


def _script_section(row: Row, by_seed: Mapping[int, Mapping[str, Any]]) -> str:
    lines = [f"### `{row.name}`: {row.title}", ""]
    if 0 not in by_seed:
        return "\n".join([*lines, f"Not run. `{command(row)}`", ""])
    done = by_seed[0]
    lines += [f"`{command(row)}`", ""]
    lines += _quality(done) if row.group == QUALITY else _out_of_the_box(done)
    return "\n".join([*lines, ""])


def _out_of_the_box(done: Mapping[str, Any]) -> Iterator[str]:
    """Mean Dice at each step of the ladder that the script degrades scans by.

    Its seconds stay in the JSON: other programs may have shared the machine.
    """
    columns = [name for name in next(iter(done["mean"].values()), {}) if name != "seconds"]
    yield f"| step | {' | '.join(columns)} |"
    yield f"| --- | {' | '.join('---' for _ in columns)} |"
    for step, values in done["mean"].items():
        yield f"| {step} | {' | '.join(f'{values[name]:.3f}' for name in columns)} |"


def _quality(done: Mapping[str, Any]) -> Iterator[str]:
    errors = done["calibration_error"]
    yield f"- threshold fixed on validation cases: predicted Dice {done['threshold']:.3f}"
    yield f"- flagged: {done['failed_flagged']} of {done['failed']} label maps below Dice 0.7"
    yield f"- flagged: {done['good_clean_flagged']} of {done['good_clean']} clean cases above Dice 0.8"
    if done.get("refused"):
        yield f"- corrupted scans that were refused, and so not labelled: {done['refused']}"
    yield f"- correlation of predicted and true Dice on the ladder: {done['correlation_on_the_ladder']}"
    for name, error in errors.items():
        label_maps = "clean cases" if name == "clean" else "clean and corrupted cases"
        before, after = error["before"], error["after"]
        both = f"{before} of the confidence, {after} of the predicted Dice"
        yield f"- expected calibration error, {label_maps}: {both}"
    yield ""
    yield "| corruption | label maps | Dice | predicted Dice | flagged |"
    yield "| --- | --- | --- | --- | --- |"
    for one in done["by_corruption"]:
        cells = (
            one["corruption"],
            one["label_maps"],
            f"{one['dice']:.3f}",
            f"{one['predicted_dice']:.3f}",
            one["flagged"],
        )
        yield f"| {' | '.join(map(str, cells))} |"

"""`medseg init`: the text of a recipe, commented YAML, from a guess of the data and fitted choices."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import yaml

from medseg.config.fitted.choice import Choices
from medseg.config.load import schema_line
from medseg.ingest.label_templates import counted_as
from medseg.ingest.layouts import Guess
from medseg.ingest.patterns import CLASS
from medseg.io.dicom.rules import SeriesRules

_COMMENTS_FROM = 34


def recipe_text(out: Path, data: Path, guess: Guess, choices: Choices) -> str:
    """The recipe to be written to `out`, as commented YAML: each choice with its reason."""
    notes = "".join(f"# Note: {_one_line(remark)}\n" for remark in guess.remarks)
    cases = f"{counted_as(guess.n_cases, 'case')}, {guess.n_labelled} labelled"
    return f"""{schema_line().strip()}
# Made by `{_command("init", data)}`: {cases}, layout {guess.layout}.
{_next_step(out, guess)}{notes}name: {_scalar(recipe_name(out))}

{data_section(data, guess)}
{_lines(choices, "data")}{_sections(choices)}"""


def data_section(data: Path, guess: Guess) -> str:
    """The section `data` but for its splits, as YAML."""
    layouts = "plain, subjects, decathlon, bids, dicom, patterns, or an image set's"
    return f"""data:
  path: {_scalar(str(data.absolute()))}
{_commented(f"  layout: {guess.layout}", layouts)}
{_files_section(guess)}
{_classes_section(guess)}"""


def _sections(choices: Choices) -> str:
    """All sections after `data`, in the order of the choices."""
    names = dict.fromkeys(key.partition(".")[0] for key in choices)
    return "".join(f"\n{name}:\n{_lines(choices, name)}" for name in names if name != "data")


def _lines(choices: Choices, section: str) -> str:
    """The keys of a section, each with its reason as a comment; keys of one part stand below its name."""
    lines, part = [], ""
    for key, choice in choices.items():
        name, _, rest = key.partition(".")
        if name != section:
            continue
        above, _, last = rest.rpartition(".")
        if above and above != part:
            lines.append(f"  {above}:")
        part = above
        text = f"{'    ' if above else '  '}{last}: {_value(choice.value)}"
        lines.append(_commented(text, choice.reason))
    return "".join(f"{line}\n" for line in lines)


def _commented(text: str, comment: str) -> str:
    """A line of YAML with a comment behind it, in the column of all comments."""
    return f"{text:<{_COMMENTS_FROM}} # {_one_line(comment)}"


def _value(value: Any) -> str:
    """A value as YAML on one line."""
    return yaml.safe_dump([value], default_flow_style=True, sort_keys=False, width=2**20).strip()[1:-1]


def _next_step(out: Path, guess: Guess) -> str:
    """Comments that say how to go on: run it, or complete a skeleton that has no labelled case."""
    if guess.n_labelled:
        return f"# Read it once, then: {_command('run', out)}\n"
    check = _command("check", "DATA", "--recipe", out)
    advice = [
        "# Write data.channels and data.label below as patterns ({case}, {subject}, * for anything), and the",
        f"# classes; then try it: {check}",
    ]
    if guess.layout == "dicom":
        advice = [f"# Add DICOM SEG objects, or name files of label maps in data.label; then try it: {check}"]
    reason = "no label map was recognised that belongs to an image"
    if guess.label or guess.masks:
        reason = "no label map can be used as it is"
        advice = [f"# Complete data below, see the notes; then try it: {check}"]
    lines = [
        f"# NOT COMPLETE: {reason}: nothing can be trained yet.",
        *advice,
        *(["# These files are there:"] if guess.seen else []),
        *(f"#   {_one_line(line)}" for line in guess.seen),
    ]
    return "".join(f"{line}\n" for line in lines)


def _files_section(guess: Guess) -> str:
    """The keys that say which files are channels and labels, and how subjects are read from names."""
    if guess.layout == "dicom":
        lines = [_commented("  series:", "channel: pattern of the SeriesDescription, or several rules")]
        lines += [f"    {_scalar(name)}: {_rules(rules)}" for name, rules in guess.series.items()]
        if guess.label:
            lines.append(_commented(f"  label: {_scalar(guess.label)}", "description of the segmentations"))
        return "\n".join(lines)
    lines = [
        _commented("  channels:", "name: pattern below path; {case} and {subject} are read from the names")
    ]
    lines += [f"    {_scalar(name)}: {_scalar(pattern)}" for name, pattern in guess.channels.items()]
    if guess.masks:
        lines.append(_commented("  masks:", "name: pattern; 1 inside and 0 outside, masks may overlap"))
        lines += [f"    {_scalar(name)}: {_scalar(pattern)}" for name, pattern in guess.masks.items()]
    elif guess.label:
        lines.append(f"  label: {_scalar(guess.label)}")
    else:
        lines.append(_commented('  # label: "{case}_seg.nii.gz"', "no label files were found"))
    if guess.ignore:
        ignored = f"  ignore: {_value(list(guess.ignore))}"
        lines.append(_commented(ignored, "no images of cases, though channels match them"))
    if guess.subject:
        rule = f"  subject: {_scalar(guess.subject)}"
        lines.append(_commented(rule, "read from a case's name; a subject's cases stay together"))
    return "\n".join(lines)


def _rules(rules: SeriesRules) -> str:
    """Rules of a series as YAML: its pattern alone where the others are the usual ones."""
    given = rules.model_dump(mode="json", exclude_defaults=True)
    if given.keys() == {"description"} and len(rules.description) == 1:
        return _scalar(rules.description[0])
    return yaml.safe_dump(given, default_flow_style=True, allow_unicode=True, width=2**20).strip()


def _classes_section(guess: Guess) -> str:
    """The keys that say what the values of label files mean."""
    if guess.class_file:
        lines = [f"  class_file: {_scalar(guess.class_file)}"]
    elif guess.masks:
        lines = ["  # classes: none, for masks have names of their own"]
    else:
        names = guess.classes or {0: "background", 1: "label_1"}
        files_named = "label files: name" if guess.layout != "dicom" else "label map: label of the segment"
        if guess.in_colours:
            files_named = "results: name, and the colour in the masks"
        lines = [_commented("  classes:", f"value in the {files_named}")]
        lines += [f"    {value}: {_class(guess, value, name)}" for value, name in sorted(names.items())]
    if guess.regions:
        lines.append(_commented("  regions:", "masks that may overlap: the values that make each up"))
        lines += [f"    {_scalar(name)}: {list(values)}" for name, values in guess.regions.items()]
    if guess.void:
        lines.append(_commented(f"  void: {list(guess.void)}", "values that are ignored"))
    if not guess.background:
        lines.append(_commented("  background: false", "every value is a class"))
    if guess.in_colours:
        lines.append(
            _commented("  label_form: colours", "masks show classes by their colours, not by values")
        )
    if guess.void_colours:
        listed = [list(colour) for colour in guess.void_colours]
        lines.append(_commented(f"  void_colours: {listed}", "pixels that are ignored"))
    if guess.above is not None:
        inside = (
            "masks: what is above is inside"
            if guess.masks or CLASS in (guess.label or "")
            else "grey masks: what is brighter is the second class"
        )
        lines.append(_commented(f"  label_form: {{above: {guess.above:g}}}", inside))
    return "\n".join(lines)


def _class(guess: Guess, value: int, name: str) -> str:
    """A class as YAML: its name, with its colour where it has one."""
    if value not in guess.colours:
        return _scalar(name)
    spec = {"name": name, "colour": list(guess.colours[value])}
    dumped = yaml.safe_dump(spec, default_flow_style=True, allow_unicode=True, sort_keys=False, width=2**20)
    return dumped.strip()


def _one_line(text: str) -> str:
    return " ".join(ascii(word)[1:-1] if not word.isprintable() else word for word in text.split())


def recipe_name(out: Path) -> str:
    """A name that recipes may have, from the file's."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", out.stem).lstrip("_.-") or "recipe"


def _scalar(text: str) -> str:
    """A text as a YAML scalar, quoted where it must be."""
    return yaml.safe_dump([text], default_flow_style=True, allow_unicode=True, width=2**20).strip()[1:-1]


def _command(*words: object) -> str:
    """A command that can be typed as it stands, on one line."""
    return " ".join(shlex.join(["medseg", *map(str, words)]).splitlines())

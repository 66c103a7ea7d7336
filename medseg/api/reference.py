"""The page of the Python interface, docs/api.md, made from docstrings: `python -m medseg.api.reference`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from types import FunctionType
from typing import Any

import medseg
from medseg import files

_HEAD = """# Python interface

Made from the docstrings by `python -m medseg.api.reference`; [python.md](python.md) shows how to use it.

`ImageLike` is a path (text or `Path`), a nibabel image, or an array (X, Y, Z), whose affine is an argument of
its own; `PathLike` is a path. Every refusal is a `MedsegError`; its `where` is the name of the argument, its
`code` is one of [these](codes.md).
"""


def page() -> str:
    """Return the text of docs/api.md: every public name of medseg with its signature and docstring."""
    names = [name for name in medseg.__all__ if name != "__version__"]
    sections = [line for name in names for line in _section(name, getattr(medseg, name))]
    return "\n".join([_HEAD, *sections]).rstrip() + "\n"


def _section(name: str, item: Any) -> Iterator[str]:
    yield f"## `medseg.{name}`\n"
    if inspect.isclass(item):
        yield _text(item) + "\n"
        for member, value in _members(item):
            yield from _member(member, value)
    else:
        yield f"```python\n{signature(name, item)}\n```\n"
        yield _text(item) + "\n"


def _members(kind: type) -> Iterator[tuple[str, Any]]:
    """Public properties and methods that a class itself defines, in its order."""
    for name, value in vars(kind).items():
        if not name.startswith("_") and isinstance(value, property | cached_property | FunctionType):
            yield name, value


def _member(name: str, value: Any) -> Iterator[str]:
    function = value.fget if isinstance(value, property) else getattr(value, "func", value)
    returned = function.__annotations__["return"]
    head = signature(name, value) if inspect.isfunction(value) else f"{name}: {returned}"
    yield f"### `{head}`\n"
    yield _text(function) + "\n"


def _text(item: Any) -> str:
    """The docstring, its examples as code; raises ValueError for a public name without one."""
    if (text := inspect.getdoc(item)) is None:
        raise ValueError(f"{item} has no docstring")
    parts = text.split("\n\n")
    return "\n\n".join(f"```python\n{part}\n```" if part.startswith(">>>") else part for part in parts)


def signature(name: str, function: Callable[..., Any]) -> str:
    """Return a function's signature as it stands in the code; a long one has a line per parameter."""
    parameters: list[str] = []
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parameters:
            parameters.append("*")
        default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
        is_self = parameter.annotation is parameter.empty
        parameters.append(parameter.name if is_self else f"{parameter.name}: {parameter.annotation}{default}")
    parameters = [p for p in parameters if p != "self"]
    returned = function.__annotations__["return"]
    line = f"{name}({', '.join(parameters)}) -> {returned}"
    if len(line) < 100:
        return line
    return "\n".join([f"{name}(", *(f"    {parameter}," for parameter in parameters), f") -> {returned}"])


def write(root: Path) -> None:
    """Write the page into a checkout."""
    files.write_text(root / "docs/api.md", page())


if __name__ == "__main__":
    write(Path(__file__).parents[2])

"""The part of a recipe that names published weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from medseg.config.section import Section


class Weights(Section):
    """Published weights of the network's body, under torchvision's names: a file (`.safetensors`, or `.pth`
    of plain tensors), or a URL.

    A URL needs the `sha256` of what lies there; it is downloaded once, into the work folder's `weights/`. A
    file's is checked where it is given.
    """

    file: Path | None = None
    url: str | None = None
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None

    @model_validator(mode="after")
    def _one_place_that_can_be_trusted(self) -> Self:
        if (self.file is None) == (self.url is None):
            raise ValueError("name either a file or a url")
        if self.url is not None and urlsplit(self.url).scheme not in ("https", "http"):
            raise ValueError("a url begins with https:// (or http://)")
        if self.url is not None and self.sha256 is None:
            raise ValueError("a url needs the sha256 of what lies there")
        return self

"""The section `network.weights` of a recipe: published weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from medseg.config.base import Section
from medseg.redaction import has_credentials


class Weights(Section):
    """Published weights of the network's backbone, in their publisher's names; give a file or a URL."""

    file: Path | None = None
    """File with the weights: `.safetensors`, or `.pth` with plain tensors. Typical: `vgg16.safetensors`."""

    url: str | None = None
    """Address of the file, which is downloaded once into the work folder's `weights/`; needs `sha256`.
    Typical: left out."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Checksum of the file; other weights are refused. Typical: the one that the publisher gives."""

    @model_validator(mode="after")
    def _one_place_that_can_be_trusted(self) -> Self:
        if (self.file is None) == (self.url is None):
            raise ValueError("give either file or url")
        if self.url is not None and urlsplit(self.url).scheme not in ("https", "http"):
            raise ValueError("a url begins with https:// (or http://)")
        if self.url is not None and has_credentials(self.url):
            raise ValueError("a url holds no password or token: get the file by hand and name it as file")
        if self.url is not None and self.sha256 is None:
            raise ValueError("a url needs the sha256 of its file")
        return self

"""Readers of charts as SVG, for tests."""

from __future__ import annotations

from xml.etree import ElementTree


def is_chart(svg: bytes, most: int = 200_000) -> bool:
    """True for an SVG of moderate size that draws something and refers to nothing outside itself."""
    tree = ElementTree.fromstring(svg)
    links = [value for e in tree.iter() for key, value in e.attrib.items() if key.endswith("href")]
    drawn = [e for e in tree.iter() if e.tag.endswith(("}path", "}use", "}image"))]
    return len(svg) < most and len(drawn) > 3 and all(link.startswith(("#", "data:")) for link in links)


def texts(svg: bytes) -> list[str]:
    """The words of a chart, which are text."""
    return [e.text or "" for e in ElementTree.fromstring(svg).iter() if e.tag.endswith("}text")]

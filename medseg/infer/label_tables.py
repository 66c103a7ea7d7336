"""Label descriptions for viewers: names and colours of a class list, as ITK-SNAP and 3D Slicer load them."""

from __future__ import annotations

from medseg.classes import ClassList

ITK_SNAP = "labels-itksnap.txt"
"""File for ITK-SNAP: Segmentation, Import Label Descriptions."""

SLICER = "labels-slicer.ctbl"
"""File for 3D Slicer: a colour table, chosen when the label map is loaded."""


def tables(classes: ClassList) -> dict[str, str]:
    """File name → text; none for masks that may overlap, whose files hold 0 and 1 alone."""
    if classes.multilabel:
        return {}
    return {ITK_SNAP: itk_snap(classes), SLICER: slicer(classes)}


def itk_snap(classes: ClassList) -> str:
    """A line for each class: value, red, green, blue, opacity, visible, visible as a mesh, name."""
    lines = ["# value red green blue opacity visible mesh name"]
    if 0 not in classes.values:
        lines.append('0 0 0 0 0 0 0 "Clear Label"')
    for number, row in enumerate(classes.classes):
        shown = 0 if classes.background and number == 0 else 1
        red, green, blue = row.colour
        name = row.name.replace('"', "'")
        lines.append(f'{row.value} {red} {green} {blue} {shown} {shown} {shown} "{name}"')
    return "\n".join(lines) + "\n"


def slicer(classes: ClassList) -> str:
    """A line for each class: value, name without spaces, red, green, blue, opacity of 255."""
    lines = ["# value name red green blue opacity"]
    for number, row in enumerate(classes.classes):
        red, green, blue = row.colour
        opacity = 0 if classes.background and number == 0 else 255
        lines.append(f"{row.value} {'_'.join(row.name.split())} {red} {green} {blue} {opacity}")
    return "\n".join(lines) + "\n"

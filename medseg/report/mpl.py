"""A figure of matplotlib's object interface and its way to SVG, PNG or JPEG bytes, without a display."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO
from typing import Any

from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

DPI = 180
"""Pixels per inch of what a chart holds as pixels."""

INK = "#1f2430"
QUIET = "#6b7280"
RULE = "#d9dce3"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7a5195", "#8a8d91")
"""Hues that stay apart for colour-blind readers (after Okabe and Ito, 2008)."""


def figure(width: float, height: float, background: str = "white") -> Figure:
    """An empty figure of ``width`` × ``height`` inches."""
    empty = Figure(figsize=(width, height), facecolor=background)
    FigureCanvasAgg(empty)
    return empty


def quiet_axes(axes: Any) -> None:
    """Draw no frame but the base line, and thin horizontal rules."""
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.grid(axis="y", color=RULE, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, colors=QUIET, labelsize=9)


def legend(figure: Figure, named: Mapping[str, tuple[int, int, int]], columns: int) -> None:
    """Draw names and colours (RGB, 0-255) under dark panels, ``columns`` side by side, if there are any."""
    patches = [Patch(color=[v / 255 for v in colour], label=plain(name)) for name, colour in named.items()]
    if patches:
        figure.legend(
            handles=patches,
            loc="lower center",
            ncols=columns,
            frameon=False,
            labelcolor="white",
            fontsize=8.5,
            handlelength=1,
            handleheight=1,
            columnspacing=1.4,
            borderaxespad=0.3,
        )


def plain(text: str) -> str:
    """A name as matplotlib shows it character by character, dollar signs included."""
    return text.replace("$", r"\$")


def svg(figure: Figure) -> bytes:
    """The figure as SVG with its letters as text, which keeps it small; equal figures give equal bytes."""
    drawn = BytesIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "medseg", "savefig.dpi": DPI}):
        figure.savefig(drawn, format="svg", metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return drawn.getvalue()


def png(figure: Figure, dpi: int = DPI, colours: int = 256) -> bytes:
    """The figure as PNG with a palette of ``colours``: half the bytes of true colour, rare hues kept."""
    small = BytesIO()
    _rendered(figure, dpi).quantize(
        colours, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
    ).save(small, format="PNG", optimize=True)
    return small.getvalue()


def jpeg(figure: Figure, dpi: int = DPI) -> bytes:
    """The figure as JPEG without chroma subsampling, for photographs."""
    small = BytesIO()
    _rendered(figure, dpi).save(small, format="JPEG", quality=88, subsampling=0, optimize=True)
    return small.getvalue()


def _rendered(figure: Figure, dpi: int) -> Image.Image:
    true_colour = BytesIO()
    figure.savefig(true_colour, format="png", dpi=dpi, facecolor=figure.get_facecolor())
    return Image.open(true_colour).convert("RGB")

"""Figures without a display: matplotlib's objects, imported when a figure is drawn. One figure a file.

Every figure is made by `figure(...)` of its file, and is legible in grey: what differs in colour differs in marker or
dashes too.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import textwrap

import numpy as np
from etils import epath

from fusion_jax.results.store import write_bytes


def new_figure(width: float, height: float, rows: int = 0, columns: int = 0):
    """A figure of that size in inches and its axes; with rows and columns an array of axes [rows, columns].

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        _import_matplotlib()
        made = _figure_class()
    except ImportError as error:
        raise ImportError("figures need matplotlib: pip install 'fusion_jax[figures]'") from error
    figure = made(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False) if rows else figure.add_subplot()


def _figure_class() -> type:
    from matplotlib import figure

    class Figure(figure.Figure):
        """matplotlib's, which a notebook shows as an image by itself.

        IPython knows how to show matplotlib's own only where pyplot was loaded first, which figures here have no use
        for: it would print its name.
        """

        def _repr_png_(self) -> bytes:
            return image(self, "png")

    return Figure


def _import_matplotlib() -> None:
    """Imports matplotlib whatever MPLBACKEND names, which is the notebook's or a window's and need not be here.

    These figures have no use for it; the user's own have, and find it chosen as matplotlib would have.
    """
    if "matplotlib" in sys.modules:
        return
    named = os.environ.pop("MPLBACKEND", "")
    try:
        import matplotlib
    finally:
        if named:
            os.environ["MPLBACKEND"] = named
    if named:
        with contextlib.suppress(ValueError):  # no such backend
            matplotlib.rcParams["backend"] = named


COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito, 2008
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ((), (5, 2), (1, 1.5), (5, 1.5, 1, 1.5), (8, 2), (3, 1, 1, 1, 1, 1), (2, 2))


def style(i: int) -> dict:
    """Colour, marker and dashes of the i-th of several lines: told apart in grey and by colour-blind readers too."""
    k = i % len(COLOURS)
    dashes = DASHES[k]
    return dict(color=COLOURS[k], marker=MARKERS[k], ls=(0, dashes) if dashes else "-", ms=4, lw=1.4)


def elided(name: str, length: int = 44) -> str:
    """A row's name on an axis: what is too long keeps its begin and its end, in which names differ."""
    if len(name) <= length:
        return name
    end = (length - 3) // 2
    return f"{name[: length - 3 - end]}...{name[len(name) - end :]}"


def marks_every(count: int, marks: int = 8) -> int:
    """So that a line of so many points has about so many markers."""
    return max(1, int(np.ceil(count / marks)))


def spread_out(ax, costs) -> None:
    """A logarithmic axis where the costs are far apart, with few numbers written out: "0.2", "20,000"."""
    low, high = np.min(costs), np.max(costs)
    span = high / low if low > 0 else 0
    if span > 5:
        from matplotlib import ticker  # an extra, which is there where a figure is drawn

        ax.set_xscale("log")
        ax.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5) if span < 1000 else (1,)))
        ax.xaxis.set_minor_formatter(ticker.NullFormatter())
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")


def wrapped(name: str, width: int = 44) -> str:
    """A row's name in lines, so that a legend beside the axes leaves them their place."""
    return textwrap.fill(name, width)


def image(figure, form: str) -> bytes:
    """The figure as an image: "png", "pdf" or "svg"."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=form, dpi=150)
    return buffer.getvalue()


def save_figure(path: epath.Path, figure) -> None:
    """The figure as an image of the path's type; it appears whole or not at all."""
    write_bytes(path, image(figure, path.suffix[1:]))

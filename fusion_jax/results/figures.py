"""Figures without a display: matplotlib's objects, imported when a figure is drawn."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import textwrap

from etils import epath

from fusion_jax.results.store import write_bytes


def new_figure(width: float, height: float, rows: int = 0, columns: int = 0):
    """A figure of that size in inches and its axes; with rows and columns an array of axes [rows, columns].

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        _import_matplotlib()
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("figures need matplotlib: pip install 'fusion_jax[figures]'") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False) if rows else figure.add_subplot()


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

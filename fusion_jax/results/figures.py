"""Figures without a display: matplotlib's objects, imported when a figure is drawn."""

from __future__ import annotations

import io

from etils import epath

from fusion_jax.results.store import write_bytes


def new_figure(width: float, height: float, rows: int = 0, columns: int = 0):
    """A figure of that size in inches and its axes; with rows and columns an array of axes [rows, columns].

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("figures need matplotlib: pip install 'fusion_jax[figures]'") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False) if rows else figure.add_subplot()


def save_figure(path: epath.Path, figure) -> None:
    """The figure as an image of the path's type; it appears whole or not at all."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format=path.suffix[1:], dpi=150)
    write_bytes(path, buffer.getvalue())

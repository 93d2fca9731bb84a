"""What is asked of every figure, and studies to draw."""

from __future__ import annotations

import importlib.util

import pytest

from tests.rows import noisy, row

NEEDS = pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="figures are an extra")
LONG = "a_mechanism_of_a_very_long_name, model.fusion.options.heads=8, model.layer.name=sage"


def study(count=6, data="toy", name="mechanism"):
    rows = [row("concat_mlp", noisy(0.7), data=data)]
    for i in range(count):
        costs = dict(parameters=100 * 2**i, seconds=0.1 * 3**i)
        rows.append(row(f"{name}_{i}", noisy(0.6 + 0.2 * i / count, draw=i + 1), data=data, **costs))
    return rows


def inside(figure):
    """Whether all texts lie within the figure, which is drawn for that."""
    figure.draw_without_rendering()
    box, axes = figure.bbox, figure.axes
    texts = [t for ax in axes for t in [*ax.get_yticklabels(), *ax.texts, ax.title, ax.xaxis.label] if t.get_text()]
    legends = [ax.get_legend() for ax in axes if ax.get_legend() is not None]
    boxes = [t.get_window_extent() for t in texts] + [legend.get_window_extent() for legend in legends]
    return all(b.x0 >= box.x0 - 1 and b.x1 <= box.x1 + 1 and b.y0 >= -1 and b.y1 <= box.y1 + 1 for b in boxes)


def apart(texts):
    """Whether no two of the texts overlap."""
    boxes = [t.get_window_extent() for t in texts if t.get_text()]
    return not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])

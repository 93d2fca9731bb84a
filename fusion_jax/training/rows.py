"""An output without the rows behind the first, which stand for nothing (`inductive.Grown`)."""

from __future__ import annotations

import dataclasses

import jax

from fusion_jax.records import Attention, Output


def first_rows(output: Output, rows: int) -> Output:
    """The output without the rows behind the first `rows`, which stand for nothing."""
    if len(output.prediction) == rows:
        return output
    kept = ("prediction", "streams", "embeddings", "hidden", "mask", "uncertainty", "present", "tokens", "history")
    held = {name: getattr(output, name) for name in (*kept, "states", "evidence", "revealed")}
    heads = tuple(dataclasses.replace(head, values=head.values[:rows]) for head in output.heads)
    attention = tuple(a if "node" not in a.axes else _of_rows(a, rows) for a in output.attention)
    return dataclasses.replace(output, **jax.tree.map(lambda v: v[:rows], held), heads=heads, attention=attention)


def _of_rows(attention: Attention, rows: int) -> Attention:
    """The weights of the first rows: what has as many entries along the axes called "node" as there are nodes."""
    nodes = [axis for axis, name in enumerate(attention.axes) if name == "node"]

    def cut(a):
        for axis in nodes:
            a = jax.lax.slice_in_dim(a, 0, min(rows, a.shape[axis]), axis=axis)
        return a

    held = {name: getattr(attention, name) for name in ("weights", "valid", "scores")}
    return dataclasses.replace(attention, **jax.tree.map(cut, held))

"""A data set from a networkx graph: the features and labels are attributes of its nodes, their ids their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from fusion_jax.data.base import Dataset
from fusion_jax.data.making.tables import from_tables
from fusion_jax.zoo import nearest

MISSING = object()


def from_networkx(
    graph: Any, features: Mapping[str, str | Sequence[str]], label: str | None = None, **options: Any
) -> Dataset:
    """A data set from a graph of networkx (of any of its classes); see `tables.from_tables` for what is made of it.

    Args:
        graph: nodes are called by their names as text. Edge attributes `weight` and `time` are read. A directed graph
            stays one, unless directed=False.
        features: {modality: the attribute that holds its vector, or the attributes that hold a number each}. A node
            without them lacks the modality.
        label: the attribute to be predicted; nodes without it are unlabelled.
        options: the other keywords of `from_tables`.
    Raises:
        ValueError: no node has an attribute (names the nearest), or vectors of different lengths.
    """
    nodes = list(graph.nodes(data=True))
    names = [str(node) for node, _ in nodes]
    known = dict.fromkeys(str(key) for _, held in nodes for key in held)
    wanted = [a for given in features.values() for a in ([given] if isinstance(given, str) else given)]
    for attribute in (*wanted, label):
        if attribute not in known:
            near = "" if attribute is None else nearest(attribute, known)
            raise ValueError(f"no node has an attribute {attribute!r}{near}; they have: {', '.join(known) or 'none'}")
    tables = {modality: _table(modality, given, nodes, names) for modality, given in features.items()}
    labels = pd.DataFrame({"id": names, label: pd.Series([held.get(label) for _, held in nodes], dtype=object)})
    usual = dict(name="networkx", directed=bool(graph.is_directed()), source="a networkx graph of the user")
    return from_tables(tables, labels, _edges(graph), **{**usual, "target": label, **options})


def _table(modality: str, given: str | Sequence[str], nodes: list, names: list[str]) -> pd.DataFrame:
    if not isinstance(given, str):
        columns = {a: [held.get(a, np.nan) for _, held in nodes] for a in given}
        return pd.DataFrame({"id": names, **columns})
    rows = {name: np.atleast_1d(held[given]) for name, (_, held) in zip(names, nodes, strict=True) if given in held}
    widths = {len(row): name for name, row in rows.items()}
    if len(widths) > 1:
        shown = ", ".join(f"{width} at node {name!r}" for width, name in widths.items())
        raise ValueError(f"modality {modality!r}, attribute {given!r}: vectors of lengths {shown}; expected one length")
    columns = [f"{given}{i}" for i in range(next(iter(widths)))]
    return pd.DataFrame(np.stack(list(rows.values())), index=pd.Index(list(rows), name="id"), columns=columns)


def _edges(graph: Any) -> pd.DataFrame | None:
    pairs = [(str(a), str(b), held) for a, b, held in graph.edges(data=True)]
    if not pairs:
        return None
    table = pd.DataFrame([(a, b) for a, b, _ in pairs], columns=["source", "target"])
    for key, usual in (("weight", 1.0), ("time", MISSING)):
        if any(key in held for _, _, held in pairs):
            values = [held.get(key, usual) for _, _, held in pairs]
            if any(value is MISSING for value in values):
                raise ValueError(f"edges: some have no attribute {key!r}; expected it at all of them, or at none")
            table[key] = values
    return table

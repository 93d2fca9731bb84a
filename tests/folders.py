"""A folder of tables as a user would have it: planted classes, two modalities, a homophilous graph."""

from __future__ import annotations

import pathlib

import numpy as np
import pandas as pd


def planted(
    nodes: int = 120,
    classes: int = 3,
    homophily: float = 0.85,
    degree: int = 6,
    noise: float = 1.0,
    missing: float = 0.0,
    seed: int = 0,
    prefix: str = "p",
) -> dict[str, pd.DataFrame]:
    """{"genes", "clinical", "labels", "edges"}: tables with the columns id; 6 and 4 features around the class's own
    centre; label (texts); source, target, every undirected edge once.

    Args:
        missing: probability that a node has no row among the clinical ones.
        prefix: of the ids, which are numbered with leading zeros.
    """
    rng = np.random.default_rng(seed)
    width = len(str(nodes - 1))
    names = np.array([f"{prefix}{i:0{width}d}" for i in range(nodes)])
    y = rng.permutation(np.arange(nodes) % classes)
    tables = {}
    for modality, d in (("genes", 6), ("clinical", 4)):
        x = 2 * rng.normal(size=(classes, d))[y] + noise * rng.normal(size=(nodes, d))
        table = pd.DataFrame(x.round(4), columns=[f"{modality[0]}{j}" for j in range(d)])
        table.insert(0, "id", names)
        tables[modality] = table
    tables["clinical"] = tables["clinical"][rng.random(nodes) >= missing]
    tables["labels"] = pd.DataFrame(dict(id=names, label=np.array(["alpha", "beta", "gamma", "delta", "eps"])[y]))
    pairs = set()
    while len(pairs) < nodes * degree // 2:
        a = int(rng.integers(nodes))
        same = rng.random() < homophily
        b = int(rng.choice(np.flatnonzero((y == y[a]) == same)))
        if a != b:
            pairs.add((min(a, b), max(a, b)))
    at = np.array(sorted(pairs))
    tables["edges"] = pd.DataFrame(dict(source=names[at[:, 0]], target=names[at[:, 1]]))
    return tables


def write(folder: pathlib.Path, tables: dict[str, pd.DataFrame] | None = None, **options) -> pathlib.Path:
    """Writes the tables (those of `planted` if none are given) as CSV files into the folder, which it returns."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in (planted(**options) if tables is None else tables).items():
        table.to_csv(folder / f"{name}.csv", index=False)
    return folder

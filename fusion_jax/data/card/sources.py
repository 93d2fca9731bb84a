"""What a card looks at: training rows' classes, what these rows hold, and the means of what their neighbours hold.

Targets are read at training rows alone, and shifts, units, directions and clusters are fitted on them. Their
neighbours are nodes that training sees: any in the transductive setting, in the inductive one those that are no test
rows.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from fusion_jax.data.base import Dataset

MOST_ROWS = 3000
DIRECTIONS, TOGETHER = 8, 24  # of a modality, of all
QUANTILES = 4
OWN, NEAR, GRAPH = "own features", "neighbours' means", "own and neighbours"
OTHERS = "all others"


@dataclasses.dataclass(frozen=True)
class Sources:
    """The two kinds of sources, and the classes they are asked about.

    Attributes:
        rows: int [n], the training rows that are looked at.
        labels: int [n], their classes, 0 ... classes - 1.
        classes: C.
        own: {modality: float64 [n, k]}, principal directions of a modality in units of their deviation.
        near: the same of the means of neighbours; {} without a graph.
        kept: {modality: the share of the variance over training rows that its directions have}.
    """

    rows: np.ndarray
    labels: np.ndarray
    classes: int
    own: dict[str, np.ndarray]
    near: dict[str, np.ndarray]
    kept: dict[str, float]


def sources(data: Dataset, seed: int = 0) -> Sources:
    """Of the split of a seed.

    Raises:
        ValueError: a target other than classes or one value of nodes, or fewer than two modalities.
    """
    if data.target.words not in ("classes of nodes", "values of nodes") or data.target.num_outputs < 1:
        raise ValueError(f"card is for classes or values of nodes; data set {data.name!r} has {data.target.words}")
    if len(data.modalities) < 2:
        raise ValueError(f"card: data set {data.name!r} has one modality, expected two or more to be decomposed")
    split = data.split(seed)
    rows = np.asarray(split.train)
    if len(rows) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MOST_ROWS, replace=False))
    labels = _classes(data, rows)
    allowed = np.ones(data.num_nodes, bool)
    if data.setting == "inductive":
        allowed[split.test] = False
    width = max(2, min(DIRECTIONS, TOGETHER // len(data.modalities), len(rows) // 10))
    own, near, kept = {}, {}, {}
    for i, name in enumerate(data.modalities):
        x, there = data.features[name], data.mask[:, i]
        own[name], kept[name] = reduced(_dense(x[rows]), there[rows], width)
        if data.default_graph:
            mean, heard = _neighbour_means(data, x, there & allowed, rows)
            near[name] = reduced(mean, heard, width)[0]
    return Sources(rows, labels, int(labels.max()) + 1, own, near, kept)


def _classes(data: Dataset, rows: np.ndarray) -> np.ndarray:
    if data.target.kind == "classes":
        return np.unique(np.asarray(data.target.labels)[rows], return_inverse=True)[1].reshape(-1)
    values = np.asarray(data.target.values)[rows]
    if values.shape[1] != 1:
        raise ValueError(f"card: data set {data.name!r} has {values.shape[1]} values a row, expected one")
    cuts = np.quantile(values[:, 0], np.arange(1, QUANTILES) / QUANTILES)
    return np.unique(np.searchsorted(cuts, values[:, 0]), return_inverse=True)[1].reshape(-1)


def _dense(x) -> np.ndarray:
    return np.asarray(x.toarray() if hasattr(x, "toarray") else x, np.float64)


def _neighbour_means(data: Dataset, x, sends: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean [n, d] of the features of the senders of each row that have the modality, loops apart; and [n], whether
    there is one."""
    g = data.graphs[data.default_graph]
    place = np.full(data.num_nodes, -1)
    place[rows] = np.arange(len(rows))
    used = (place[g.receivers] >= 0) & sends[g.senders] & (g.senders != g.receivers)
    senders, to = np.asarray(g.senders)[used], place[np.asarray(g.receivers)[used]]
    nodes, at = np.unique(senders, return_inverse=True)
    values = _dense(x[nodes])
    known = ~np.isnan(values)
    total, count = np.zeros((2, len(rows), values.shape[1]))
    np.add.at(total, to, np.where(known, values, 0)[at])
    np.add.at(count, to, known[at])
    return np.where(count > 0, total / np.maximum(count, 1), np.nan), np.bincount(to, minlength=len(rows)) > 0


def reduced(x: np.ndarray, present: np.ndarray, width: int) -> tuple[np.ndarray, float]:
    """The first `width` principal directions of rows [n, d], each in units of its deviation, and their share of the
    variance. A missing value is the mean; where some rows lack all, a last column says which.

    Columns are centred and not scaled: what has the spread has the directions.
    """
    known = present[:, None] & ~np.isnan(x)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, x, 0).sum(0) / count
    centred = np.where(known, x - mean, 0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    keep = min(width, int((s > 1e-9 * max(s[0], 1e-300)).sum())) if s.size else 0
    found = u[:, :keep] * np.sqrt(len(x))
    if 0 < present.sum() < len(present):
        found = np.concatenate([found, (present - present.mean())[:, None] / present.std()], 1)
    if not found.shape[1]:
        found = np.zeros((len(x), 1))
    return found, float((s[:keep] ** 2).sum() / max((s**2).sum(), 1e-300))

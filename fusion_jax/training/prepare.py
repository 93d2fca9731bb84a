"""From a config and a data set on the host to what training needs on the device.

This is the one place where labels are hidden: what leaves here as a device target has 0 in every row whose
label training and selection must not see.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from fusion_jax.arrays import spread
from fusion_jax.data.base import Dataset, Split
from fusion_jax.data.graphs import spectral_encoding
from fusion_jax.graphs import Graph
from fusion_jax.records import Batch, Target
from fusion_jax.training import inductive
from fusion_jax.training.inductive import without_nodes
from fusion_jax.training.step import Trial
from fusion_jax.zoo import nearest

STRUCTURE = "structure"  # the modality name that stands for a spectral encoding of the run's graph
UNEVEN = 0.03  # a usual column whose spread is so small a part of the modality's is next to nothing after "view"


@dataclasses.dataclass(frozen=True)
class Units:
    """The units of a regression target, from one seed's training rows: a model learns (y - shift) / scale.

    Attributes:
        shift, scale: float64 [K]; mean and standard deviation of every column.
    """

    shift: np.ndarray
    scale: np.ndarray

    def standardise(self, values: np.ndarray) -> np.ndarray:
        """float32 [N, K], what a model learns; the difference is taken in float64."""
        return ((np.asarray(values, np.float64) - self.shift) / self.scale).astype(np.float32)

    def undo(self, prediction: np.ndarray) -> np.ndarray:
        """float64 [N, K] in the target's own units, of what a model predicts."""
        return np.asarray(prediction, np.float64) * self.scale + self.shift


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A cell ready to train.

    Attributes:
        batch: features (unscaled), mask and graph on the device; no graph where every seed evaluates on its own.
        splits: one a seed, as selection uses them (protocol `paper` has val = test).
        seeds: their numbers.
        target: leaves [S, ...]; labels of rows a seed must not see are 0. Values are standardised, see `units`.
        trials: leaves [S, ...].
        init_keys: [S], the randomness of the initial values.
        evaluated: one a seed, the graph its predictions are made on, over all N nodes; None without a graph.
        units: one a seed, where the target is values; else None.
    """

    batch: Batch
    splits: tuple[Split, ...]
    seeds: tuple[int, ...]
    target: Target
    trials: Trial
    init_keys: jax.Array
    evaluated: tuple[Graph | None, ...]
    units: tuple[Units, ...] | None = None

    def own_units(self, prediction: np.ndarray, i: int) -> np.ndarray:
        """What the i-th seed's model predicts [N, C] in the target's own units: float64 values, else as it is."""
        return prediction if self.units is None else self.units[i].undo(prediction)


def select_modalities(data: Dataset, names: list[str], graph: str) -> tuple[dict[str, Any], np.ndarray]:
    """The features and mask of the named modalities, in that order; all of the data set's if none is named.

    Raises:
        ValueError: a modality the data set does not have, or one named twice.
    """
    names = list(names) or list(data.features)
    if len(set(names)) != len(names):
        raise ValueError(f"data.modalities={names}: a modality is named twice")
    features, columns = {}, []
    for name in names:
        if name in data.features:
            x = data.features[name]
            features[name] = x.toarray() if sp.issparse(x) else x
            columns.append(data.mask[:, list(data.features).index(name)])
        elif name == STRUCTURE and data.graphs:
            edge_set = data.graphs[graph or data.default_graph]
            features[name] = spectral_encoding(edge_set, min(64, data.num_nodes - 1))
            columns.append(np.ones(data.num_nodes, bool))
        else:
            known = [*data.features, *([STRUCTURE] if data.graphs else [])]
            raise ValueError(f"data set {data.name!r} has no modality {name!r}{nearest(name, known)}; it has: {known}")
    return features, np.stack(columns, axis=1)


def select_split(split: Split, protocol: str) -> Split:
    """The split as selection uses it: `paper` trains on training and validation rows and selects on test rows."""
    if protocol == "honest":
        return split
    return Split(np.sort(np.concatenate([split.train, split.val])), split.test, split.test)


def split_of(config: Mapping[str, Any], data: Dataset, seed: int) -> Split:
    """The split with which the cell trains and selects that seed.

    Raises:
        ValueError: it is not a split of the data set.
    """
    return select_split(data.split(seed if "split" in config["vary"] else 0), config["protocol"])


def fit_scaler(x: np.ndarray, present: np.ndarray, rows: np.ndarray, how: str) -> tuple[np.ndarray, np.ndarray]:
    """shift and scale [d] of (x - shift) * scale, from the present rows among `rows` only.

    "column": unit variance a column; "view": one scale for the whole modality, 1 / sqrt(mean variance), which keeps
    columns that happen to be constant on few rows from exploding; "none": as it is; so too "row", which is no matter
    of columns and not fitted (`row_scaled`). The scale is 0 where there is no spread to take it from (a column with
    "column", a whole modality with "view"; see `arrays.spread`): of such a column training rows tell nothing, and
    other rows would reach the model in whatever unit they have.
    """
    d = x.shape[1]
    fit = x[rows[present[rows]]]
    if how in ("none", "row") or len(fit) == 0:
        return np.zeros(d, np.float32), np.ones(d, np.float32)
    deviation = spread(fit)
    if how == "view":
        deviation = np.full(d, np.sqrt((deviation**2).mean()))
    scale = np.where(deviation > 0, 1 / np.where(deviation > 0, deviation, 1), 0)
    return fit.mean(0, dtype=np.float64).astype(np.float32), scale.astype(np.float32)


def fit_units(values: np.ndarray, rows: np.ndarray) -> Units:
    """Mean and deviation of every column on `rows`; a column without spread there has the size of its mean, or 1."""
    fit = np.asarray(values)[rows]
    shift, deviation = fit.mean(0, dtype=np.float64), spread(fit)
    size = np.where(shift == 0, 1, np.abs(shift))
    return Units(shift, np.where(deviation > 0, deviation, size))


def lack(x: np.ndarray, present: np.ndarray, rows: np.ndarray, how: str) -> str:
    """What the training rows `rows` do not tell of a modality x [N, d], and what follows; "" where they tell enough."""
    fit = x[rows[present[rows]]]
    if len(fit) == 0:
        return "no training row has it; it is treated as missing everywhere"
    if how not in ("column", "view"):
        return ""
    deviation = spread(fit)
    varies = deviation > 0
    if not varies.any():
        return "no column varies over the training rows; it is 0 wherever it is present"
    if how == "column" and (~varies & (spread(x[present]) > 0)).any():
        return (
            f"some of its {x.shape[1]} columns do not vary over the training rows: data.scale='column' has no unit for "
            "them, and they are 0 everywhere"
        )
    usual = np.sort(deviation[varies])[(varies.sum() - 1) // 2]
    if how == "view" and usual < UNEVEN * np.sqrt((deviation[varies] ** 2).mean()):
        return (
            f"column {deviation.argmax()} has so much more spread than the others that data.scale='view', one number "
            "for all, leaves next to nothing of them: data.scale='column' gives each its own"
        )
    return ""


def warn_of_lacks(
    data: Dataset, features: Mapping[str, np.ndarray], mask: np.ndarray, rows: Mapping[int, np.ndarray], how: str
) -> None:
    """One warning for each lack of a modality, with its seeds; `rows` are the training nodes of each seed."""
    for i, (name, x) in enumerate(features.items()):
        found: dict[str, list[int]] = {}
        for seed, nodes in rows.items():
            found.setdefault(lack(x, mask[:, i], nodes, how), []).append(seed)
        for what, seeds in found.items():
            if what:
                of = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
                warnings.warn(f"data set {data.name!r}, modality {name!r}, {of}: {what}", stacklevel=3)


def row_scaled(x: np.ndarray, present: np.ndarray) -> np.ndarray:
    """x [N, d], each present row divided by the sum of its absolute values; missing rows and rows of 0 as they are."""
    total = np.abs(np.where(present[:, None], x, 0)).sum(1, dtype=np.float64)
    return np.where(total[:, None] > 0, x / np.where(total > 0, total, 1)[:, None], x).astype(x.dtype)


def hide(target: Target, seen: np.ndarray) -> Target:
    """The target with 0 (time 1, no event) in every row that is not `seen`."""

    def keep(a, fill):
        if a is None:
            return None
        a = np.asarray(a)
        shown = seen.reshape(-1, *([1] * (a.ndim - 1)))
        return np.where(shown, a, np.asarray(fill, a.dtype))

    return dataclasses.replace(
        target,
        labels=keep(target.labels, 0),
        values=keep(target.values, 0),
        time=keep(target.time, 1),
        event=keep(target.event, False),
    )


def training_weight(target: Target, train: np.ndarray, rows: int, class_weights: bool) -> np.ndarray:
    """float32 [rows]: 1 on training rows (or 1 / (C share of the row's class) with `class_weights`), else 0."""
    weight = np.zeros(rows, np.float32)
    weight[train] = 1
    if class_weights:
        if target.kind != "classes":
            raise ValueError(f"loss.class_weights=True needs a classification target, this one is {target.kind!r}")
        labels = np.asarray(target.labels)[train]
        share = np.bincount(labels, minlength=target.num_outputs) / len(labels)
        weight[train] = 1 / (target.num_outputs * share[labels])
    return weight


def trained_on(graph: Graph | None, evaluated: Graph | None, nodes: np.ndarray | None) -> Graph | None:
    """The graph of training where it is the seed's own (without the nodes that are yet to come, or with other edges
    than evaluation has), else None."""
    if graph is not None and nodes is not None:
        return without_nodes(graph, nodes)
    return None if graph is evaluated else graph


def prepare(config: Mapping[str, Any], data: Dataset, seeds: tuple[int, ...]) -> Prepared:
    """Splits, scalers, weights, keys and arrays of the given seeds.

    Raises:
        ValueError: whatever of the config does not fit the data set.
    """
    part = config["data"]
    coming = (part["setting"] or data.setting) == "inductive"  # test nodes are yet to come
    if coming and STRUCTURE in (part["modalities"] or data.modalities):
        raise ValueError(f"modality {STRUCTURE!r} encodes the whole graph and test nodes: not for setting 'inductive'")
    graph = data.graph(part["graph"] or None, tuple(part["views"]))
    features, mask = select_modalities(data, part["modalities"], part["graph"])
    if part["scale"] == "row":
        features = {name: row_scaled(x, mask[:, i]) for i, (name, x) in enumerate(features.items())}
    evaluated = data.graph(part["graph"] or None, tuple(part["test_views"])) if part["test_views"] else graph
    for key in ("views", "test_views"):
        if part[key] and len(part[key]) != len(features):
            raise ValueError(f"data.{key} names {len(part[key])} edge sets for {len(features)} modalities")
    rows = len(data.target)
    splits = tuple(split_of(config, data, seed) for seed in seeds)
    there = [_nodes_in_training(data, split, config["protocol"]) for split in splits]
    grown = _grown(part, data, there, seeds) if coming and graph is not None else None
    trials, targets, units, keys, trained = [], [], [], [], {}
    for i, (seed, split) in enumerate(zip(seeds, splits, strict=True)):
        seen = np.zeros(rows, bool)
        seen[split.train] = seen[split.val] = True
        nodes = there[i]
        train_nodes = (
            np.isin(np.arange(data.num_nodes), split.train)
            if data.target.level == "node"
            else (np.isin(_graph_of_node(data), split.train))
        )
        trained[seed] = np.flatnonzero(train_nodes)
        scalers = {
            name: fit_scaler(x, mask[:, i], trained[seed], part["scale"])
            for i, (name, x) in enumerate(features.items())
        }
        val = np.zeros(rows, np.float32)
        val[split.val] = 1
        init, drop = (seed if what in config["vary"] else 0 for what in ("init", "dropout"))
        trials.append(
            Trial(
                key=jax.random.fold_in(jax.random.key(1), drop),
                shift={k: v[0] for k, v in scalers.items()},
                scale={k: v[1] for k, v in scalers.items()},
                train_weight=training_weight(data.target, split.train, rows, config["loss"]["class_weights"]),
                val_weight=val,
                graph=grown[i].training if grown else trained_on(graph, evaluated, nodes if coming else None),
                mask=jnp.asarray(mask & nodes[:, None]) if coming else None,
                evaluated=grown[i].padded if grown else None,
                known=mask[trained[seed]].any(0),
            )
        )
        target = data.target
        if target.kind == "values":
            units.append(fit_units(target.values, split.train))
            target = dataclasses.replace(target, values=units[-1].standardise(target.values))
        targets.append(hide(target, seen))
        keys.append(jax.random.fold_in(jax.random.key(0), init))
    warn_of_lacks(data, features, mask, trained, part["scale"])
    if config["model"]["missing"] == "mean" and part["scale"] in ("none", "row") and not mask.all():
        warnings.warn(
            f"model.missing='mean' fills what is missing with 0, which is the training mean of standardised features "
            f"and not of those of data.scale={part['scale']!r}",
            stacklevel=2,
        )
    if all(trial.known.all() for trial in trials):
        trials = [dataclasses.replace(trial, known=None) for trial in trials]
    stacked = jax.tree.map(lambda *a: jnp.stack(a), *trials)
    target = jax.tree.map(lambda *a: jnp.stack([jnp.asarray(x) for x in a]), *targets)
    batch = Batch({k: jnp.asarray(x) for k, x in features.items()}, jnp.asarray(mask), None if grown else evaluated)
    graphs = tuple(g.evaluation for g in grown) if grown else (evaluated,) * len(seeds)
    units = tuple(units) or None
    return Prepared(batch, splits, seeds, target, stacked, jnp.stack(keys), graphs, units)


def _nodes_in_training(data: Dataset, split: Split, protocol: str) -> np.ndarray:
    """bool [N], false at nodes that are yet to come in the inductive setting: all but training and validation nodes.

    With protocol `paper` the rows that select are test rows, yet to come too.
    """
    here = np.isin(np.arange(len(data.target)), split.train)
    if protocol == "honest":
        here[split.val] = True
    return here if data.target.level == "node" else here[_graph_of_node(data)]


def _grown(part: Mapping[str, Any], data: Dataset, seen: list[np.ndarray], seeds: tuple[int, ...]):
    """Every seed's own graphs where one of the run's edge sets is made from features; None where all are given."""
    base, views = part["graph"] or data.default_graph, tuple(part["views"])
    training, evaluation = (base, *views), (base, *(part["test_views"] or views))
    inductive.check(data, (*training, *evaluation))
    if not data.made.keys() & {*training, *evaluation}:
        return None
    return inductive.grow_all(data, training, evaluation, seen, seeds)


def _graph_of_node(data: Dataset) -> np.ndarray:
    n_node = next(iter(data.graphs.values())).n_node
    return np.repeat(np.arange(len(n_node)), n_node)

"""From a data set on the host to what training needs on the device.

This is the one place where labels are hidden: what leaves here as a device target has 0 in every row whose
label training and selection must not see.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp

from fusion_jax import tasks
from fusion_jax.data.base import Dataset, Split
from fusion_jax.data.graphs import spectral_encoding
from fusion_jax.data.imputation import filled, fit_fill, unknown_columns
from fusion_jax.data.missing import without
from fusion_jax.graphs import Graph
from fusion_jax.nn.sparse_rows import SparseRows
from fusion_jax.plan import DataPlan
from fusion_jax.records import Batch, Target
from fusion_jax.tasks.values import Units
from fusion_jax.training import inductive
from fusion_jax.training.inductive import without_nodes
from fusion_jax.training.links import cut_all
from fusion_jax.training.scaling import fit_scaler, row_scaled, warn_of_lacks
from fusion_jax.training.trial import Trial
from fusion_jax.zoo import nearest

STRUCTURE = "structure"  # the modality name that stands for a spectral encoding of the run's graph


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A cell ready to train.

    Attributes:
        batch: features (unscaled), mask and graph on the device; no graph where every seed evaluates on its own.
        splits: one a seed, as selection uses them (protocol `paper` has val = test).
        seeds: their numbers.
        target: leaves [S, ...]; rows a seed must not see are hidden (`Task.hide`), values are standardised (`units`).
        trials: leaves [S, ...].
        init_keys: [S], the randomness of the initial values.
        evaluated: one a seed, the graph its predictions are made on, over all N nodes; None without a graph.
        units: one a seed, where the predictions have a unit; else None.
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


def select_modalities(data: Dataset, names: Sequence[str], graph: str) -> tuple[dict[str, Any], np.ndarray]:
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


def split_of(data: Dataset, seed: int, *, per_seed: Sequence[str], protocol: str) -> Split:
    """The split with which a cell trains and selects that seed.

    Raises:
        ValueError: it is not a split of the data set.
    """
    return select_split(data.split(seed if "split" in per_seed else 0), protocol)


def training_weight(target: Target, train: np.ndarray, rows: int, class_weights: bool) -> np.ndarray:
    """float32 [rows]: 1 on training rows (with `class_weights` what the task makes of them), else 0."""
    weight = np.zeros(rows, np.float32)
    weight[train] = tasks.of(target).class_weights(target, train) if class_weights else 1
    return weight


def trained_on(graph: Graph | None, evaluated: Graph | None, nodes: np.ndarray | None) -> Graph | None:
    """The graph of training where it is the seed's own (without the nodes that are yet to come, or with other edges
    than evaluation has), else None."""
    if graph is not None and nodes is not None:
        return without_nodes(graph, nodes)
    return None if graph is evaluated else graph


def prepare(
    part: DataPlan,
    data: Dataset,
    seeds: Sequence[int],
    *,
    per_seed: Sequence[str] = ("init", "dropout", "split"),
    protocol: str = "honest",
    class_weights: bool = False,
    missing: str = "mask",
    splits: Sequence[Split] | None = None,
) -> Prepared:
    """Splits, scalers, weights, keys and arrays of the given seeds.

    Args:
        part: which of the data set, what of it is taken away, and how it is scaled.
        per_seed: what differs from seed to seed, of "init", "dropout" and "split".
        protocol: see `select_split`.
        class_weights: see `training_weight`.
        missing: what the model puts for a missing modality; "mean" is warned of where it would not be the mean.
        splits: those of the seeds, as selection uses them, where they are not drawn anew.
    Raises:
        ValueError: whatever of the plan does not fit the data set.
    """
    coming = (part.setting or data.setting) == "inductive"  # test nodes are yet to come
    structural = STRUCTURE in (part.modalities or data.modalities)
    if coming and structural:
        raise ValueError(f"modality {STRUCTURE!r} encodes the whole graph and test nodes: not for setting 'inductive'")
    if data.target.level == "link":
        if structural:
            raise ValueError(f"modality {STRUCTURE!r} encodes the whole graph and the links held out: not for links")
        if coming:
            raise ValueError(
                f"data set {data.name!r}: links are held out among nodes that are all there; set "
                f"data.setting to 'transductive'"
            )
    data = without(data, part.missing.name, part.missing.options, part.graph)
    features, mask = select_modalities(data, part.modalities, part.graph)
    if part.scale == "row":
        features = {name: row_scaled(x, mask[:, i]) for i, (name, x) in enumerate(features.items())}
    graph = data.graph(part.graph or None, part.views)
    evaluated = data.graph(part.graph or None, part.test_views) if part.test_views else graph
    for key in ("views", "test_views"):
        if (named := getattr(part, key)) and len(named) != len(features):
            raise ValueError(f"data.{key} names {len(named)} edge sets for {len(features)} modalities")
    if splits is None:
        splits = tuple(split_of(data, seed, per_seed=per_seed, protocol=protocol) for seed in seeds)
    there = [_nodes_in_training(data, split, protocol) for split in splits] if coming else []
    task, trials, targets, units, fitted_on = tasks.of(data.target), [], [], [], {}
    links = [task.links(data.target, split.train) for split in splits]
    own = _grown(part, data, there, seeds) if coming and graph is not None else None
    if links[0] is not None:
        own = cut_all(graph, evaluated, links[0][0], [held for _, held in links])
    for i, (seed, split) in enumerate(zip(seeds, splits, strict=True)):
        fitted_on[seed] = _training_nodes(data, split)
        fill, scalers = fit_features(features, mask, fitted_on[seed], part.scale, data.impute)
        trials.append(
            Trial(
                key=jax.random.fold_in(jax.random.key(1), seed if "dropout" in per_seed else 0),
                shift={name: shift for name, (shift, _) in scalers.items()},
                scale={name: scale for name, (_, scale) in scalers.items()},
                train_weight=training_weight(data.target, split.train, len(data.target), class_weights),
                val_weight=_among(split.val, len(data.target)).astype(np.float32),
                graph=own[i].training if own else trained_on(graph, evaluated, there[i] if coming else None),
                mask=jnp.asarray(mask & there[i][:, None]) if coming else None,
                evaluated=own[i].padded if own else None,
                known=mask[fitted_on[seed]].any(0),
                fill=fill,
            )
        )
        units.append(task.units(data.target, split.train))
        target = task.learned(data.target, units[-1])
        targets.append(task.hide_unseen(target, _among(np.concatenate([split.train, split.val]), len(target))))
    warn_of_lacks(data.name, features, mask, fitted_on, part.scale, data.impute)
    if missing == "mean" and part.scale in ("none", "row") and not mask.all():
        warnings.warn(
            f"model.missing='mean' fills what is missing with 0, which is the training mean of standardised features "
            f"and not of those of data.scale={part.scale!r}",
            stacklevel=2,
        )
    if all(trial.known.all() for trial in trials):
        trials = [dataclasses.replace(trial, known=None) for trial in trials]
    if links[0] is not None:  # the edge sets have a last node that stands for none
        features = {name: np.concatenate([x, np.zeros_like(x[:1])]) for name, x in features.items()}
        mask = np.concatenate([mask, np.zeros_like(mask[:1])])
    batch = Batch({k: jnp.asarray(x) for k, x in features.items()}, jnp.asarray(mask), None if own else evaluated)
    # An accelerator has a dense product in no time, values that are filled differ from seed to seed, and nodes that
    # are yet to come must have no say in how those of training are multiplied.
    if jax.default_backend() == "cpu" and trials[0].fill is None and not coming:
        sparse = {name: SparseRows.of(x, mask[:, i]) for i, (name, x) in enumerate(features.items())}
        batch = batch.with_sparse({name: x for name, x in sparse.items() if x is not None})
    return Prepared(
        batch,
        tuple(splits),
        tuple(seeds),
        jax.tree.map(lambda *a: jnp.stack([jnp.asarray(x) for x in a]), *targets),
        jax.tree.map(lambda *a: jnp.stack(a), *trials),
        jnp.stack([jax.random.fold_in(jax.random.key(0), seed if "init" in per_seed else 0) for seed in seeds]),
        tuple(g.evaluation for g in own) if own else (evaluated,) * len(seeds),
        None if units[0] is None else tuple(units),
    )


def fit_features(
    features: dict[str, np.ndarray], mask: np.ndarray, rows: np.ndarray, scale: str, impute: str
) -> tuple[dict[str, np.ndarray] | None, dict[str, tuple[np.ndarray, np.ndarray]]]:
    """{modality: what fills missing values [d]} (None without `impute`), and {modality: shift and scale [d]} behind it.

    Both are fitted on the nodes `rows` alone. A column of which these have no value is 0 for every node: nothing tells
    its unit.
    """
    if not impute:
        return None, {name: fit_scaler(x, mask[:, m], rows, scale) for m, (name, x) in enumerate(features.items())}
    fill, scalers = {}, {}
    for m, (name, x) in enumerate(features.items()):
        fill[name] = fit_fill(x, mask[:, m], rows, impute)
        shift, unit = fit_scaler(filled(x[rows], fill[name]), mask[rows, m], np.arange(len(rows)), scale)
        scalers[name] = shift, np.where(unknown_columns(x, mask[:, m], rows), np.float32(0), unit)
    return fill, scalers


def _among(rows: np.ndarray, count: int) -> np.ndarray:
    """bool [count], true at the given rows."""
    found = np.zeros(count, bool)
    found[rows] = True
    return found


def _training_nodes(data: Dataset, split: Split) -> np.ndarray:
    """The nodes of the training rows: the rows themselves, all nodes of the training graphs, or those of the pairs."""
    if data.target.level == "node":
        return np.sort(split.train)
    if data.target.level == "link":
        return np.unique(data.target.pairs[split.train])
    return np.flatnonzero(np.isin(_graph_of_node(data), split.train))


def _nodes_in_training(data: Dataset, split: Split, protocol: str) -> np.ndarray:
    """bool [N], false at nodes that are yet to come in the inductive setting: all but training and validation nodes.

    With protocol `paper` the rows that select are test rows, yet to come too.
    """
    here = np.isin(np.arange(len(data.target)), split.train)
    if protocol == "honest":
        here[split.val] = True
    return here if data.target.level == "node" else here[_graph_of_node(data)]


def _grown(part: DataPlan, data: Dataset, seen: list[np.ndarray], seeds: Sequence[int]):
    """Every seed's own graphs where one of the run's edge sets is made from features; None where all are given."""
    base = part.graph or data.default_graph
    training, evaluation = (base, *part.views), (base, *(part.test_views or part.views))
    inductive.check(data, (*training, *evaluation))
    if not data.made.keys() & {*training, *evaluation}:
        return None
    return inductive.grow_all(data, training, evaluation, seen, seeds)


def _graph_of_node(data: Dataset) -> np.ndarray:
    n_node = next(iter(data.graphs.values())).n_node
    return np.repeat(np.arange(len(n_node)), n_node)

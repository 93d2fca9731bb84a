"""What one seed has of its own, and what its model sees and knows because of it."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from fusion_jax import tasks
from fusion_jax.graphs import Graph
from fusion_jax.records import Array, Batch, Context, Target
from fusion_jax.traced import Numbers


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Trial:
    """What is fixed for one seed.

    Attributes:
        key: the randomness of dropout and sampling.
        shift, scale: {modality: [d_m]}; a model sees (x - shift) * scale, fitted on training rows.
        train_weight: float [N], the weight of each training row in the loss, 0 elsewhere.
        val_weight: float [N], 1 on the rows that select the model, 0 elsewhere.
        graph, mask: the edge set and the present modalities of training, where they are the seed's own (inductive
            setting: what test nodes have is not there yet; links: those held out are not there), else None.
        evaluated: the edge set of evaluation where it is the seed's own and another than `graph`, over as many nodes
            as the batch or one more (`inductive.Own`), or None.
        known: bool [M], false for a modality that no training row has: it counts as missing everywhere, in
            evaluation too. None where training rows have all.
        fill: {modality: [d_m]}, what stands for single values that are missing (NaN), fitted on training rows; None
            where none may be missing (`Dataset.impute`).
        share: of a batch of rows what a mean over it counts in the training loss (`batches`); None: once.
        numbers: what its training is told in numbers; None where all are compiled in.
    """

    key: Array
    shift: dict[str, Array]
    scale: dict[str, Array]
    train_weight: Array
    val_weight: Array
    graph: Graph | None = None
    mask: Array | None = None
    evaluated: Graph | None = None
    known: Array | None = None
    fill: dict[str, Array] | None = None
    numbers: Numbers | None = None
    share: Array | None = None


def scaled(batch: Batch, trial: Trial) -> Batch:
    """The batch as a seed's model sees it in training: filled, scaled, its own edge set and mask if it has them."""
    mask = batch.mask if trial.mask is None else trial.mask
    mask = mask if trial.known is None else mask & trial.known
    held = batch.features
    if trial.fill is not None:  # before any arithmetic, so that a NaN reaches neither output nor gradient
        held = {name: jnp.where(jnp.isnan(x), trial.fill[name], x) for name, x in held.items()}
    features = {
        name: jnp.where(mask[:, i, None], (x - trial.shift[name]) * trial.scale[name], 0)
        for i, (name, x) in enumerate(held.items())
    }
    made = Batch(features, mask, batch.graph if trial.graph is None else trial.graph)
    return made.with_sparse({name: x.scaled(trial.shift[name], trial.scale[name]) for name, x in batch.sparse.items()})


def whole(batch: Batch, trial: Trial) -> Batch:
    """The batch as the seed's model sees it in evaluation: all that its nodes have, and its own edge set if it has one.

    Such an edge set may have a last node that stands for no row of the data: a row without modalities is added.
    """
    batch = scaled(batch, dataclasses.replace(trial, graph=None, mask=None))
    if trial.evaluated is None:
        return batch
    more = trial.evaluated.num_nodes - len(batch.mask)
    features, mask = jax.tree.map(
        lambda x: jnp.concatenate([x, jnp.zeros_like(x[:more])]), (batch.features, batch.mask)
    )
    return dataclasses.replace(batch, features=features, mask=mask, graph=trial.evaluated)


def alike(batch: Batch, trial: Trial) -> bool:
    """Whether evaluation sees what training sees; where the batch has no edge set, it has the seed's own."""
    other = trial.mask is not None or trial.evaluated is not None
    return not other and (trial.graph is None or batch.graph is None)


def known_to_model(target: Target, weight: Array, **more: Any) -> Context:
    """What a seed's model knows: the target of its training rows, of weight > 0, all others hidden; with a key and an
    epoch in training."""
    train = weight > 0
    return Context(target=tasks.of(target).hide_unseen(target, train), train=train, **more)

"""The contract of a merging: several trained networks of one shape -> one prediction for every row.

A merging is a function `name(parents, anchor, *, <options>) -> Merged` in the file of that name; `parents` are
`Parent`s in one set of input coordinates (`parents_of` makes them), `anchor` is the place of the one that the
others are brought to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from fusion_jax import tasks
from fusion_jax.data.base import Split
from fusion_jax.model import Model
from fusion_jax.records import Batch
from fusion_jax.results.restore import Restored, predict
from fusion_jax.tasks.values import Units
from fusion_jax.training.trial import Trial

MIN_ROWS = 10  # fewer rows that no parent has seen say nothing


@dataclasses.dataclass(frozen=True)
class Parent:
    """A trained network and what it was trained with.

    Attributes:
        name: for tables, such as "seed 3".
        model: the network.
        batch: the whole batch as the network sees it.
        seen: what it saw in training; the same as `batch` in the transductive setting.
        split: its rows.
        prediction: [N, C], its own; of a regression target in the target's units.
        classes: whether that is logits of classes.
        score: its validation score, larger is better; a tuple, ties broken by what comes later.
        units: what its model's outputs are in where the target is values, the anchor's as its inputs are; else None.
    """

    name: str
    model: Model
    batch: Batch
    seen: Batch
    split: Split
    prediction: np.ndarray
    classes: bool
    score: tuple[float, ...]
    units: Units | None = None


@dataclasses.dataclass(frozen=True)
class Merged:
    """A merged predictor: `prediction` [N, C] of all rows (values in the target's units), and the network behind it.

    There is no network, None, behind an ensemble.
    """

    prediction: np.ndarray
    model: Model | None = None


def leaves(model: Model) -> dict[str, jax.Array]:
    """{path: array} of everything a network stores."""
    return {"/".join(map(str, p)): v.get_value() for p, v in nnx.to_flat_state(nnx.state(model))}


def check_same_shape(parents: Sequence[Parent]) -> None:
    """Raises ValueError where two networks differ in what they store; names the first difference of each."""
    first = leaves(parents[0].model)
    for parent in parents[1:]:
        other = leaves(parent.model)
        differ = sorted(set(first) ^ set(other)) or [k for k in first if first[k].shape != other[k].shape]
        if differ:
            shapes = [tuple(t[differ[0]].shape) if differ[0] in t else "nothing" for t in (first, other)]
            raise ValueError(
                f"networks of different shape cannot be merged: {parents[0].name} has {shapes[0]} as "
                f"{differ[0]!r}, {parent.name} has {shapes[1]} ({len(differ)} such parameters)"
            )


def rescaled(model: Model, own: Trial, anchor: Trial) -> Model:
    """The same function of the raw features, as a network that reads them under the anchor's scaler.

    Every seed has a scaler of its own, (x - s) c, which is (c/c_a) x' + (s_a - s) c of the anchor's scaled features x'.
    Networks are compared and averaged in one set of input coordinates only. Where c_a is 0 (a column without spread in
    the anchor's training rows), the column is taken at s_a.

    Raises:
        ValueError: the scalers differ and an encoder cannot take others' units (`Encoder.in_units_of`).
    """
    model = nnx.clone(model)
    for name, encoder in zip(model.names, model.encoders, strict=True):
        shift, scale = own.shift[name], own.scale[name]
        if not _same(own, anchor, name):
            seen = anchor.scale[name] > 0
            ratio = jnp.where(seen, scale / jnp.where(seen, anchor.scale[name], 1), 0)
            moved = (anchor.shift[name] - shift) * scale
            if model.missing == "indicator":  # its column has no unit
                ratio, moved = jnp.append(ratio, 1), jnp.append(moved, 0)
            encoder.in_units_of(ratio, moved)
    return model


def _same(own: Trial, anchor: Trial, name: str) -> bool:
    return bool((own.shift[name] == anchor.shift[name]).all() & (own.scale[name] == anchor.scale[name]).all())


def _same_scaler(own: Trial, anchor: Trial) -> bool:
    return all(_same(own, anchor, name) for name in own.shift)


def _fills_in_its_units(cell: Restored, i: int) -> bool:
    """Whether what stands for a missing modality is a number in the units of the seed's own scaler."""
    return cell.models[i].missing in ("mean", "indicator", "propagate") and not bool(jnp.all(cell.batch(i).mask))


def in_units(model: Model, own: Units | None, anchor: Units | None) -> Model:
    """The same function as a network whose outputs are in the anchor's units of the target.

    A network of its own units y = z s + m has a last layer z = h W + b; in the anchor's it is
    h (s/s_a W) + (b s + m - m_a) / s_a.

    Raises:
        ValueError: the units differ and the predictions do not come from one linear layer.
    """
    if own is None or (np.array_equal(own.shift, anchor.shift) and np.array_equal(own.scale, anchor.scale)):
        return model
    if model.placement == "decision" or model.head is None:
        raise ValueError(
            "seeds with units of their own (regression, split varies) can be merged where one linear head predicts, "
            "not at placement 'decision' or without head: train the cell with one split, "
            '--config.per_seed=\'("init","dropout")\''
        )
    model = nnx.clone(model)
    kernel, bias = model.head.kernel[...], model.head.bias[...]
    ratio, moved = own.scale / anchor.scale, (own.shift - anchor.shift) / anchor.scale
    model.head.kernel[...] = kernel * jnp.asarray(ratio, kernel.dtype)
    model.head.bias[...] = bias * jnp.asarray(ratio, bias.dtype) + jnp.asarray(moved, bias.dtype)
    return model


def parents_of(cells: Sequence[Restored]) -> tuple[list[Parent], int]:
    """All seeds of the cells as parents, in the input coordinates and units of the anchor, and the anchor's place.

    The anchor is the seed with the best validation score.

    Raises:
        ValueError: fewer than two networks, cells on other data, or networks of different shape.
    """
    members = [(cell, i) for cell in cells for i in range(len(cell.seeds))]
    if len(members) < 2:
        raise ValueError(
            f"merging needs at least two networks, cell {cells[0].identity} has one seed: add some with "
            f"--config.seeds=5 to the command that trained it, or name a second cell"
        )
    for cell in cells[1:]:
        if cell.data.fingerprint != cells[0].data.fingerprint:
            raise ValueError(f"cells {cells[0].identity} and {cell.identity} were trained on different data")
        if list(cell.prepared.batch.features) != list(cells[0].prepared.batch.features):
            raise ValueError(f"cells {cells[0].identity} and {cell.identity} use different modalities")
        if len({"row" == c.plan.data.scale for c in (cell, cells[0])}) > 1:  # no map of columns undoes it
            raise ValueError(f"of cells {cells[0].identity} and {cell.identity} one has data.scale='row', one has not")
        if cell.plan.model.placement != cells[0].plan.model.placement:
            raise ValueError(f"cells {cells[0].identity} and {cell.identity} place their fusion differently")
    scores = [cell.validation_score(i) for cell, i in members]
    anchor = max(range(len(members)), key=lambda n: scores[n])
    anchor_cell, anchor_seed = members[anchor]
    target = anchor_cell.trial(anchor_seed)
    units = [None if cell.prepared.units is None else cell.prepared.units[i] for cell, i in members]
    raw = []
    for (cell, i), score in zip(members, scores, strict=True):
        name = f"seed {cell.seeds[i]}" if len(cells) == 1 else f"{cell.identity} seed {cell.seeds[i]}"
        prediction = cell.prediction(i)
        raw.append(
            Parent(
                name,
                cell.models[i],
                anchor_cell.batch(anchor_seed),
                anchor_cell.seen(anchor_seed),
                cell.prepared.splits[i],
                prediction,
                tasks.of(cell.data.target).probabilities,
                score,
                units[anchor],
            )
        )
    check_same_shape(raw)
    for cell, i in members:
        if _fills_in_its_units(cell, i) and not _same_scaler(cell.trial(i), target):
            raise ValueError(
                "seeds with scalers of their own (data.scale, split varies) cannot be merged where "
                f"model.missing={cell.models[i].missing!r} fills what is missing with each seed's own mean; train with "
                "another policy, or "
                'with one split, --config.per_seed=\'("init","dropout")\''
            )
    parents = [
        dataclasses.replace(p, model=in_units(rescaled(p.model, cell.trial(i), target), own, units[anchor]))
        for p, (cell, i), own in zip(raw, members, units, strict=True)
    ]
    return parents, anchor


def common_test_rows(parents: Sequence[Parent]) -> np.ndarray:
    """The rows that are test rows of every parent.

    Where seeds have splits of their own, a merged network knows the labels of all of them: a test row of one
    seed may have trained another.

    Raises:
        ValueError: there are fewer than ten.
    """
    rows = parents[0].split.test
    for parent in parents[1:]:
        rows = np.intersect1d(rows, parent.split.test)
    if len(rows) < MIN_ROWS:
        raise ValueError(
            f"only {len(rows)} rows are test rows of all {len(parents)} networks: train the cell with one split, "
            f'--config.per_seed=\'("init","dropout")\', to merge it'
        )
    return rows


def averaged(models: Sequence[Model]) -> Model:
    """The network whose every parameter and statistic is the mean of the given ones."""
    mean = jax.tree.map(lambda *a: jnp.mean(jnp.stack(a), 0).astype(a[0].dtype), *(nnx.state(m) for m in models))
    return nnx.merge(nnx.graphdef(models[0]), mean)


def merged(model: Model, parents: Sequence[Parent], anchor: int) -> Merged:
    """A network with what it predicts for the anchor's batch."""
    prediction, units = predict(model, parents[anchor].batch), parents[anchor].units
    return Merged(prediction if units is None else units.undo(prediction), model)

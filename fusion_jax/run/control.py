"""One control, fitted for every seed on what a model would see of the features."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from fusion_jax import zoo
from fusion_jax.controls.base import Control
from fusion_jax.data.base import Dataset, Split
from fusion_jax.one_thread import one_thread
from fusion_jax.plan import Plan
from fusion_jax.training.prepare import Prepared
from fusion_jax.training.trial import scaled


def fit_control(plan: Plan, data: Dataset, prepared: Prepared) -> tuple[np.ndarray, Prepared]:
    """Scores float32 [S, N, C] of a control, and the cell with the splits as the control used them.

    Validation rows are training rows where the control may use their labels. A row that lacks a modality has the mean
    of its training rows there, whatever `data.scale` is.

    Raises:
        ValueError: the task is not classification of nodes; a control that may use validation labels under protocol
            `paper`, whose validation rows are the test rows; or scores are not [N, C].
        FloatingPointError: scores are not finite; names the control, the seed and the rows.
    """
    name = plan.control.name
    if data.target.words != "classes of nodes":
        raise ValueError(f"control {name!r} is for node classification")
    control = zoo.make("control", name, options=plan.control.options)
    if control.validation_labels:
        if plan.protocol == "paper":
            raise ValueError(
                f"control {name!r}: validation_labels=True under protocol 'paper', where validation rows are the test "
                f"rows and training has all others; expected protocol 'honest'"
            )
        none = np.array([], int)
        splits = (Split(np.sort(np.concatenate([s.train, s.val])), none, s.test) for s in prepared.splits)
        prepared = dataclasses.replace(prepared, splits=tuple(splits))
    own = {seed: seed if "init" in plan.per_seed else 0 for seed in prepared.seeds}
    scores = [_fit(control, name, data, prepared, i, own[seed]) for i, seed in enumerate(prepared.seeds)]
    return np.stack(scores), prepared


def _fit(control: Control, name: str, data: Dataset, prepared: Prepared, i: int, drawn: int) -> np.ndarray:
    """Scores float32 [N, C] of the i-th seed; solvers that draw begin at `drawn`."""
    seed, split = prepared.seeds[i], prepared.splits[i]
    trial = dataclasses.replace(jax.tree.map(lambda a: a[i], prepared.trials), graph=None, mask=None)
    shown = scaled(prepared.batch, trial)
    x = [filled(np.asarray(f), shown.mask[:, m], split.train) for m, f in enumerate(shown.features.values())]
    labels = np.full(data.num_nodes, -1)
    labels[split.train] = data.target.labels[split.train]
    classes = data.target.num_outputs
    with one_thread():
        found = control.predict(np.concatenate(x, axis=1), labels, split, prepared.evaluated[i], classes, drawn)
    found = np.asarray(found)
    if found.shape != (expected := (data.num_nodes, classes)):
        raise ValueError(f"control {name!r}, seed {seed}: scores of shape {found.shape}, expected {expected}")
    with np.errstate(over="ignore"):
        stored = found.astype(np.float32)  # what is stored, so that metrics can be computed again from it
    bad = np.flatnonzero(~np.isfinite(stored).all(1))
    if bad.size:
        rows = ", ".join(map(str, bad[:5])) + (", ..." if bad.size > 5 else "")
        raise FloatingPointError(
            f"control {name!r}, seed {seed}: scores of {bad.size} rows are not finite (rows {rows}, the first "
            f"{found[bad[0]].tolist()}); expected finite numbers"
        )
    return stored


def filled(x: np.ndarray, present: np.ndarray, train: np.ndarray) -> np.ndarray:
    """x [N, d] with the mean of the present training rows in every row that is not `present`, 0 if there are none."""
    fit = x[train[present[train]]]
    return np.where(present[:, None], x, fit.mean(0, dtype=np.float64) if len(fit) else 0).astype(x.dtype)

"""A small study for its page, made by hand: predictions of five rows, some of fixed test rows, failures, odd names."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.special import log_softmax

from fusion_jax import metrics
from fusion_jax.metrics.base import Scored
from fusion_jax.records import Target
from fusion_jax.results.store import Store
from fusion_jax.study import Cell, resolve
from tests import tiny

HOSTILE = "</script><img src=x onerror=\"document.title='gone'\"> \u202eevil & <b>bold</b> 'é中' {{data}}"
ROWS, CLASSES = 90, 3
FIXED = dict(data__name="digits", data__options={})
FEW = dict(data__name="breast_cancer", data__options={})  # training rows
LABELS = np.random.default_rng(0).integers(CLASSES, size=ROWS)


class Pages:
    """A store that is filled cell by cell."""

    def __init__(self, root):
        self.store, self.cells, self.published = Store(root, create=True), [], []
        self.rng = np.random.default_rng(1)

    def add(self, label, seeds=8, skill=1.0, *, fixed=False, train=50, wanted=None, error="", history=True, **changes):
        """A cell whose predictions are right the more often the larger its skill; without seeds one that failed."""
        config = resolve(
            tiny.config(**({k.replace(".", "__"): v for k, v in FIXED.items()} if fixed else {}), **changes)
        )
        cell = Cell(config.config, label, wanted or max(seeds, 1))
        identity = f"{len(self.cells):016x}"
        self.cells.append((identity, cell))
        if seeds:
            tables = self._tables(seeds, skill, fixed, train, history)
            self.store.write_part(identity, cell, tuple(range(seeds)), tables, self._cost(seeds, fixed))
        if error:
            self.store.write_failure(identity, cell, error, f"Traceback (most recent call last):\n  {error}")
        return self.write() or identity

    def write(self):
        self.store.write_study(self.cells, "configs/ablations/by_hand.py:quick", self.published)

    def _tables(self, seeds, skill, fixed, train, history):
        found, scores, epochs = [], [], []
        for seed in range(seeds):
            order = np.random.default_rng(0 if fixed else seed).permutation(ROWS)
            part = np.full(ROWS, "test", dtype=object)
            part[order[:train]], part[order[train : train + 10]] = "train", "val"
            logits = log_softmax(self.rng.normal(size=(ROWS, CLASSES)) + skill * np.eye(CLASSES)[LABELS], -1)
            lines = dict(seed=seed, row=np.arange(ROWS), part=pd.Categorical(part), labels=LABELS)
            lines["prediction"] = list(np.float32(logits))
            found.append(pd.DataFrame(lines))
            for name in ("train", "val", "test"):
                own = part == name
                rows = Scored(Target("classes", labels=LABELS[own], num_outputs=CLASSES), np.float32(logits[own]))
                scores += [(seed, name, m, float(v)) for m, (v,) in metrics.scores([rows]).items()]
            epochs += [(seed, e, 1 / (e + 1), 1.2 / (e + 1), float(e)) for e in range(60 - seed)]
        table = pd.DataFrame(scores, columns=["seed", "part", "metric", "value"])
        tables = dict(predictions=pd.concat(found), metrics=table)
        if history:
            tables["history"] = pd.DataFrame(epochs, columns=["seed", "epoch", "train_loss", "val_loss", "val_score"])
        return tables

    def _cost(self, seeds, fixed):
        number = len(self.cells)
        return dict(
            parameters=1000 * number,
            flops=1e6 * number,
            peak_bytes=5e5,
            compile_seconds=2.0,
            train_seconds=3.0 * number,
            best_epoch=[5] * seeds,
            dim=8,
            seconds=4.0,
            seeds=seeds,
            target=dict(kind="classes", level="node", num_outputs=CLASSES),
            split_rule="by hand",
            splits={str(s): "fixed" if fixed else f"split{s}" for s in range(seeds)},
            diverged=[],
        )


def make(root) -> Pages:
    """Three data sets: splits drawn anew, fixed test rows, few training rows; an odd name; what failed and waits."""
    made = Pages(root)
    for placement in ("before", "after"):
        made.add("concat_mlp", skill=1.0, model__placement=placement)
        made.add("gmu", skill=3.5 if placement == "after" else 1.2, model__placement=placement)
    made.add(HOSTILE, seeds=7, skill=0.2, wanted=8)
    made.add("broken", seeds=0, error=f"ValueError: {HOSTILE}\nsecond line")
    made.add("waiting", seeds=0)
    made.add("concat_mlp", skill=1.0, seeds=6, fixed=True)
    made.add("gmu", skill=2.5, seeds=6, fixed=True)
    made.add("mean", skill=0.9, seeds=6, fixed=True, history=False)
    for label, seeds, skill in (("mean", 8, 1.0), ("gmu", 8, 2.0), ("lmf", 7, 3.0)):
        made.add(label, seeds, skill, train=20, wanted=8, **FEW)
    row = dict(label="theirs", source="Somebody 2020", data="digits", values={"accuracy": (0.7, 0.01)})
    made.published = [row | dict(protocol="published")]
    made.write()
    return made

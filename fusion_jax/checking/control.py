"""The rules of a control, asked on 60 nodes with two modalities."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np

from fusion_jax import zoo
from fusion_jax.checking.base import expect
from fusion_jax.checking.compared import equal
from fusion_jax.checking.inputs import planted
from fusion_jax.run.control import fit_control
from fusion_jax.training.prepare import prepare


class Case:
    """One control, fitted for one seed."""

    kind = "control"
    given = (), ()

    def __init__(self, name: str):
        self.name, self.mechanism = name, zoo.get("control", name)

    @functools.cached_property
    def planted(self):
        """A data set and the plan that fits the control on it."""
        return planted({"control.name": self.name})

    @property
    def data(self):
        return self.planted[0]

    @functools.cached_property
    def prepared(self):
        plan = self.planted[1]
        return prepare(plan.data, self.data, (0,), **plan.preparing)

    def scores(self, data) -> np.ndarray:
        return fit_control(self.planted[1], data, self.prepared)[0]


def it_scores_every_node_and_class(case):
    """Finite numbers [N, C], for one seed."""
    found = case.scores(case.data)
    expect(found.shape == (1, case.data.num_nodes, case.data.target.num_outputs), f"scores of shape {found.shape[1:]}")


def no_label_outside_training_matters(case):
    labels = case.data.target.num_outputs - 1 - np.asarray(case.data.target.labels)
    train = case.prepared.splits[0].train
    labels[train] = case.data.target.labels[train]
    other = dataclasses.replace(case.data, target=dataclasses.replace(case.data.target, labels=labels))
    do = "fit on split.train only; labels are -1 elsewhere"
    equal(case.scores(other), case.scores(case.data), "labels outside of training change the scores", do)

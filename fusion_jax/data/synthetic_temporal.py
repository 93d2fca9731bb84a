"""Planted periodicity: the label is in the phase of the times, and nowhere else.

Every node has a label y, uniform on C classes, and is predicted at a time of its own. The circle of the period P is
cut into C equal slots. A time tells the label with probability `signal`: it then lies before the time of prediction
by a span whose phase is in slot y, else in a slot drawn uniformly; within the slot, and over `cycles` periods, it is
uniform. Recorded times are seconds since 1970, spans are in days.

- `times="edges"`: every node receives `degree` events from senders drawn uniformly; their spans are
  `edges["time"]`. Features are noise. The slots of its own events are all that tells of a node, so that no model, with
  whatever graph layers, is right more often than `bayes_accuracy` says: with p_s the number of a node's events in slot
  s, the best guess is the fullest slot, E[max_y p(y | slots)].
- `times="nodes"`: the last column of the features is the node's own time in days, counted forward from the earliest.
  One slot is seen, and the best accuracy is signal + (1 - signal) / C.

Without times everything is independent of the labels: a model that does not read them is right with probability 1 / C
at best. Slow functions of time tell next to nothing, as classes differ in their mean span by less than one period of
`cycles`.
"""

from __future__ import annotations

import hashlib
import json

import numpy as np

from fusion_jax.data import splits
from fusion_jax.data._times import spans
from fusion_jax.data.base import Dataset, Provenance, Summary, edge_set
from fusion_jax.data.synthetic import bayes_accuracy as symbols_accuracy
from fusion_jax.records import Target

SOURCE = "made here from its options"
LICENCE = "Apache-2.0"
FILES = None
CHECKSUM = ""  # of its options, see `load`
SUMMARY = Summary(nodes=600, modalities={"noise": 8}, classes=4, graphs=("events",))
DAY = 86400.0  # seconds
START = 1.7e9  # seconds since 1970


def load(
    nodes: int = 600,
    classes: int = 4,
    degree: int = 6,
    dim: int = 8,
    signal: float = 0.6,
    period: float = 7.0,
    cycles: int = 6,
    times: str = "edges",
    train: float = 0.5,
    val: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Modality `noise` [dim, and the node's time with times="nodes"]; graph `events`.

    Args:
        nodes, classes, dim: N, C and the number of noise features.
        degree: events each node receives.
        signal: in [0, 1], probability that a time tells the label.
        period: P, in days.
        cycles: periods that the times spread over.
        times: where they are, "edges" or "nodes".
        train, val: shares of the nodes of every class; the rest is test.
        seed: of the data; the split has its own.
    Raises:
        ValueError: an option out of range.
    """
    options = dict(locals())
    _check(**options)
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(nodes) % classes).astype(np.int32)
    receivers = np.repeat(np.arange(nodes), degree)
    senders = rng.integers(nodes, size=nodes * degree)
    x, edges = rng.normal(size=(nodes, dim)), {}
    if times == "edges":
        asked = START + DAY * rng.uniform(0, 1000, size=nodes)  # when each node is predicted
        recorded = asked[receivers] - DAY * _spans(rng, labels[receivers], classes, signal, period, cycles)
        edges["time"] = spans(recorded, asked[receivers], DAY)
    else:
        recorded = START + DAY * _spans(rng, labels, classes, signal, period, cycles)
        x = np.concatenate([x, -spans(recorded, START, DAY)[:, None]], axis=1)
    return Dataset(
        name="synthetic_temporal",
        features={"noise": x.astype(np.float32)},
        mask=np.ones((nodes, 1), bool),
        graphs={"events": edge_set(senders, receivers, nodes, edges)},
        target=Target("classes", labels=labels, num_outputs=classes),
        splits=splits.fractions(labels, train, val),
        provenance=Provenance(SOURCE, LICENCE, _checksum(options)),
        class_names=tuple(f"slot {c}" for c in range(classes)),
        default_graph="events",
    )


def bayes_accuracy(*, classes: int = 4, degree: int = 6, signal: float = 0.6, times: str = "edges") -> float:
    """Accuracy of the best classifier that knows the period, an exact sum over the counts of the slots.

    Arguments as for `load`. A slot is a symbol that is y with probability `signal`, else uniform, as the unique
    symbols of `synthetic` are.
    """
    seen = degree if times == "edges" else 1
    return symbols_accuracy(modalities=seen, classes=classes, redundant=0, unique=signal, synergy=0, noise=0)


def _spans(rng, labels: np.ndarray, classes: int, signal: float, period: float, cycles: int) -> np.ndarray:
    """Spans in [0, cycles * period), in days, their phase in the slot of the label with probability `signal`."""
    told = rng.random(len(labels)) < signal
    slot = np.where(told, labels, rng.integers(classes, size=len(labels)))
    return period * (rng.integers(cycles, size=len(labels)) + (slot + rng.random(len(labels))) / classes)


def _check(*, nodes, classes, degree, dim, signal, period, cycles, times, seed, **shares) -> None:
    least = dict(classes=2, nodes=classes, degree=1, dim=1, cycles=1, seed=0)
    given = dict(classes=classes, nodes=nodes, degree=degree, dim=dim, cycles=cycles, seed=seed)
    for name, value in given.items():
        if value < least[name]:
            raise ValueError(f"data set 'synthetic_temporal': {name}={value}, expected at least {least[name]}")
    for name, value in dict(signal=signal, **shares).items():
        if not 0 <= value <= 1:
            raise ValueError(f"data set 'synthetic_temporal': {name}={value}, expected a number in [0, 1]")
    if not period > 0:
        raise ValueError(f"data set 'synthetic_temporal': period={period}, expected a number > 0")
    if times not in ("edges", "nodes"):
        raise ValueError(f"data set 'synthetic_temporal': times={times!r}, expected 'edges' or 'nodes'")


def _checksum(options: dict) -> str:
    """The sha256 of what determines the data; the arrays' own may differ in the last bit between machines."""
    return hashlib.sha256(("synthetic_temporal 1 " + json.dumps(options, sort_keys=True)).encode()).hexdigest()

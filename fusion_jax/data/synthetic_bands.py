"""Planted truth for mechanisms that look at bands, phases, effort or trust: each has data on which its idea pays.

The label y is uniform on C classes. Every kind whose knob is above 0 writes a block of `dim` columns into each of the M
modalities, with noise * N(0, I) on it, and carries a symbol that is y with the probability its knob says and otherwise
uniform. Codes are one-hot. Nodes are in groups, edges stay within them, and a group is in one part of the split, so
that labels of training tell nothing of the groups of the test.

- band: with frequency="high" a node's code stands, in every modality, on nuisance * N(0, I) that is the same for all
  nodes of its group: neither the own vector nor the mean of the neighbours tells much, their difference does. With
  "low" it is the group that has the symbol, and every node a nuisance of its own: the mean over neighbours tells.
- phase: modality 0 is a random signal, the others are that signal moved along the columns, round the end, by
  `shift(c)` of the symbol c. No modality tells anything by itself, nor do sums of scores of one modality each.
- effort: modalities hold a symbol and a pointer each. Reading begins at modality 0 and follows pointers until one
  points at its own modality: that one's symbol counts. A share `deep` of the nodes needs 2 ... M readings, others one.
- reliability: one modality of a node holds the symbol, the others decoys, uniform and alike to see. The modality behind
  it (modality 0 behind the last) has a mark in one column more, the others have none there.

Blocks of several kinds stand side by side and are independent given y. `draw` has what is hidden in the data,
`posterior` the best classifier and `bayes_accuracy` how often it is right. No rotation mixes columns: models begin with
linear maps of their own.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import numbers

import jraph
import numpy as np

from fusion_jax.data import splits
from fusion_jax.data._planted import LICENCE, SOURCE, completed, provenance
from fusion_jax.data.base import Dataset, Summary, edge_set
from fusion_jax.records import Target

FILES = None
CHECKSUM = ""  # of its options, see `load`
SUMMARY = Summary(nodes=1200, modalities={"m0": 16, "m1": 16, "m2": 16}, classes=3, graphs=("groups",))
KINDS = ("band", "phase", "effort", "reliability")

__all__ = ["KINDS", "LICENCE", "SOURCE", "Drawn", "bayes_accuracy", "draw", "load", "posterior", "shift"]


@dataclasses.dataclass(frozen=True)
class Drawn:
    """The data and what is hidden in them.

    Attributes:
        options: what it was drawn with.
        labels: [N].
        mask: bool [N, M].
        group: [N], the group of a node.
        blocks: {kind: [N, M, dim]} of the kinds that are on; as they are before anything is missing.
        nuisance: [N, M, C], what stands on the codes of the band; zeros where it is off.
        need: [N], how many modalities must be read for the symbol of `effort`; 1 where it is off.
        reliable: [N], the modality that holds the symbol of `reliability`; 0 where it is off.
    """

    options: dict
    labels: np.ndarray
    mask: np.ndarray
    group: np.ndarray
    blocks: dict[str, np.ndarray]
    nuisance: np.ndarray
    need: np.ndarray
    reliable: np.ndarray


def load(
    nodes: int = 1200,
    modalities: int = 3,
    classes: int = 3,
    dim: int = 16,
    band: float = 1.0,
    phase: float = 0.0,
    effort: float = 0.0,
    reliability: float = 0.0,
    frequency: str = "high",
    nuisance: float = 4.0,
    deep: float = 0.5,
    noise: float = 0.25,
    missing: float = 0.0,
    group: int = 12,
    homophily: float = 0.0,
    degree: int = 8,
    train: float = 0.5,
    val: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Modalities `m0`, `m1`, ... [dim for every kind that is on]; graph `groups`.

    Args:
        nodes, modalities, classes: N, M and C.
        dim: width of a block: at least C, 2 C with `phase`, C + M with `effort`, C + 1 with `reliability`.
        band, phase, effort, reliability: in [0, 1], how surely the symbol of that kind is the label; a kind at 0 has no
            columns, and one of them is above 0.
        frequency: "high" or "low", of `band`: what the code varies between, the nodes of a group or groups.
        nuisance: standard deviation of what stands on the codes of `band`, which have length 1.
        deep: in [0, 1], share of the nodes whose symbol of `effort` takes more than one reading.
        noise: standard deviation of the noise on every feature.
        missing: in [0, 1), probability that a node lacks a modality; every node keeps at least one.
        group: nodes of a group, about.
        homophily: in [0, 1], share of the edges that are drawn within the class. At 0 the graph tells nothing of the
            labels, and all nodes have as many neighbours: what is the same in a group is then no detail under the
            normalised Laplacian either, and bounds hold.
        degree: number of neighbours, even; less where groups are smaller or edges are drawn twice.
        train, val: shares of the groups; the rest is test.
        seed: of the data; the split has its own.
    Raises:
        ValueError: an option out of range.
    """
    options = dict(locals())
    drawn = draw(**options)
    features = np.concatenate(list(drawn.blocks.values()), axis=2)  # [N, M, kinds dim]
    features = np.where(drawn.mask[..., None], features, 0).astype(np.float32)
    return Dataset(
        name="synthetic_bands",
        features={f"m{m}": features[:, m] for m in range(modalities)},
        mask=drawn.mask,
        graphs={"groups": _graph(np.random.default_rng((seed, 1)), drawn, homophily, degree)},
        target=Target("classes", labels=drawn.labels, num_outputs=classes),
        splits=splits.whole_groups(drawn.group, train, val),
        provenance=provenance("synthetic_bands", options),
        class_names=tuple(str(c) for c in range(classes)),
        default_graph="groups",
    )


def _check(
    *, nodes, modalities, classes, dim, frequency, nuisance, noise, group, degree, seed, train, val, **shares
) -> None:
    where = "data set 'synthetic_bands'"
    whole = dict(nodes=nodes, modalities=modalities, classes=classes, dim=dim, group=group, degree=degree, seed=seed)
    for name, value in (whole | dict(nuisance=nuisance, noise=noise, train=train, val=val) | shares).items():
        kind, words = (numbers.Integral, "whole number") if name in whole else (numbers.Real, "number")
        if isinstance(value, bool) or not isinstance(value, kind):
            raise ValueError(f"{where}: {name}={value!r}, expected a {words}")
    knobs = {kind: shares[kind] for kind in KINDS}
    widths = dict(band=classes, phase=2 * classes, effort=classes + modalities, reliability=classes + 1)
    least = dict(nodes=classes, modalities=1, classes=2, nuisance=0, noise=0, group=2, degree=2, seed=0)
    least["dim"] = max([classes, *(widths[kind] for kind, knob in knobs.items() if knob > 0)])
    for name, value in (whole | dict(nuisance=nuisance, noise=noise)).items():
        if not value >= least[name]:
            raise ValueError(f"{where}: {name}={value}, expected at least {least[name]}")
    for name, value in (shares | dict(train=train, val=val)).items():
        if not 0 <= value <= 1 or (name == "missing" and value == 1):
            end = ")" if name == "missing" else "]"
            raise ValueError(f"{where}: {name}={value}, expected a number in [0, 1{end}")
    if degree % 2:
        raise ValueError(f"{where}: degree={degree}, expected an even number")
    groups = max(nodes // group, 1)
    ends = [0, round(train * groups), round((train + val) * groups), groups]
    if train + val < 1 and min(b - a for a, b in itertools.pairwise(ends)) < 1:  # else `splits.fractions` says it
        raise ValueError(
            f"{where}: nodes={nodes} are {groups} groups of group={group}, of which train={train} and val={val} leave "
            "a part without any; expected more nodes, or smaller groups"
        )
    if not any(knobs.values()):
        raise ValueError(f"{where}: {', '.join(KINDS)} are 0, expected one of them above 0: nothing tells the label")
    if frequency not in ("high", "low"):
        raise ValueError(f"{where}: frequency={frequency!r}, expected 'high' or 'low'")


def shift(symbol: np.ndarray | int, classes: int, dim: int) -> np.ndarray | int:
    """Columns that `phase` moves a signal by: less than half of them, where the cosine tells all shifts apart."""
    return symbol * (dim // (2 * classes))


def draw(**options) -> Drawn:
    """What `load` makes its data set from, by the same options and defaults.

    Raises:
        ValueError: an option out of range, or that `load` has not.
    """
    o = completed("synthetic_bands", load, options)
    _check(**o)
    n, m, c = o["nodes"], o["modalities"], o["classes"]
    rng = np.random.default_rng(o["seed"])
    labels = rng.permutation(np.arange(n) % c).astype(np.int32)
    group = rng.permutation(np.arange(n) % max(n // o["group"], 1))
    mask = rng.random((n, m)) >= o["missing"]
    mask[np.flatnonzero(~mask.any(1)), rng.integers(m, size=int((~mask.any(1)).sum()))] = True
    if o["band"] and o["frequency"] == "low":  # the symbol comes first: labels follow that of the group
        held = rng.integers(c, size=n)[group]
        labels = np.where(rng.random(n) < o["band"], held, labels).astype(np.int32)
    else:
        held = _copy(rng, labels, o["band"], c)
    blocks = {kind: o["noise"] * rng.normal(size=(n, m, o["dim"])) for kind in KINDS if o[kind] > 0}
    nuisance, need, reliable = np.zeros((n, m, c)), np.ones(n, int), np.zeros(n, int)
    if "band" in blocks:
        nuisance = o["nuisance"] * rng.normal(size=(n, m, c))
        nuisance = nuisance[group] if o["frequency"] == "high" else nuisance
        blocks["band"][..., :c] += np.eye(c)[held][:, None] + nuisance
    if "phase" in blocks:
        blocks["phase"] += _moved(rng, _copy(rng, labels, o["phase"], c), m, c, o["dim"])
    if "effort" in blocks:
        symbols, pointers, need = _paths(rng, _copy(rng, labels, o["effort"], c), m, c, o["deep"])
        blocks["effort"][..., : c + m] += np.concatenate([np.eye(c)[symbols], np.eye(m)[pointers]], axis=2)
    if "reliability" in blocks:
        reliable, symbols = rng.integers(m, size=n), rng.integers(c, size=(n, m))
        symbols[np.arange(n), reliable] = _copy(rng, labels, o["reliability"], c)
        blocks["reliability"][..., :c] += np.eye(c)[symbols]
        blocks["reliability"][np.arange(n), (reliable + 1) % m, c] += 1
    return Drawn(o, labels, mask, group, blocks, nuisance, need, reliable)


def _copy(rng, labels: np.ndarray, knob: float, classes: int) -> np.ndarray:
    """The label with probability `knob`, else a class drawn uniformly."""
    return np.where(rng.random(len(labels)) < knob, labels, rng.integers(classes, size=len(labels)))


def _moved(rng, symbol: np.ndarray, modalities: int, classes: int, dim: int) -> np.ndarray:
    """[N, M, dim], a random signal and its circular shifts by the symbol."""
    signal = rng.normal(size=(len(symbol), dim))
    columns = (np.arange(dim) - shift(symbol, classes, dim)[:, None]) % dim
    return np.stack([signal] + [np.take_along_axis(signal, columns, axis=1)] * (modalities - 1), axis=1)


def _paths(rng, symbol: np.ndarray, modalities: int, classes: int, deep: float) -> tuple:
    """Symbols [N, M], pointers [N, M] and the number of readings [N]."""
    n, rows = len(symbol), np.arange(len(symbol))
    need = np.where(rng.random(n) < deep, rng.integers(2, max(modalities, 2) + 1, size=n), 1)
    need = np.minimum(need, modalities)
    order = np.argsort(rng.random((n, modalities - 1)), axis=1) + 1
    order = np.concatenate([np.zeros((n, 1), int), order], axis=1)  # [N, M], modality 0 first
    symbols, pointers = (rng.integers(k, size=(n, modalities)) for k in (classes, modalities))
    for i in range(modalities - 1):
        goes_on = need > i + 1
        pointers[rows[goes_on], order[goes_on, i]] = order[goes_on, i + 1]
    last = order[rows, need - 1]
    pointers[rows, last], symbols[rows, last] = last, symbol
    return symbols, pointers, need


def _graph(rng, drawn: Drawn, homophily: float, degree: int) -> jraph.GraphsTuple:
    """The nodes of a group in a ring in no order, each joined with the nearest on it; then ends that are drawn anew."""
    n, group = len(drawn.labels), drawn.group
    order = np.lexsort((rng.random(n), group))
    size = np.bincount(group)
    start, size = np.repeat(np.cumsum(size) - size, size), np.repeat(size, size)
    place = np.arange(n) - start
    first = np.tile(order, degree // 2)
    second = np.concatenate([order[start + (place + step) % size] for step in range(1, degree // 2 + 1)])
    alike = group * (drawn.labels.max() + 1) + drawn.labels
    second = np.where(rng.random(len(first)) < homophily, _partner(rng, alike, first), second)
    keep = first != second
    pairs = np.stack([first[keep], second[keep]], 1)
    pairs = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
    return edge_set(pairs[:, 0], pairs[:, 1], n)


def _partner(rng, part: np.ndarray, first: np.ndarray) -> np.ndarray:
    """A node of the same part for each of `first`, drawn uniformly."""
    order, size = np.argsort(part, kind="stable"), np.bincount(part)
    start = (np.cumsum(size) - size)[part[first]]
    return order[start + (rng.random(len(first)) * size[part[first]]).astype(int)]


def posterior(drawn: Drawn, *, graph: bool = True, rounds: int | None = None, seen: tuple | None = None) -> np.ndarray:
    """p(y | data) [N, C] of the best classifier.

    Given y the kinds are independent, and a symbol with knob k is c with probability k [c = y] + (1 - k) / C. With w
    the posterior of a kind's symbol under a uniform prior, p(y | data) is as the product of k w_y + (1 - k) / C. A
    one-hot code z has w = softmax(sum_m z_m / variance); a signal and its shifts, of which A are there, have the
    logarithm |x_0 + sum_m shift_c^-1 x_m|^2 / (2 noise^2 (noise^2 + A)); symbols at unknown places have the mean of
    their w by the posterior of the place.

    Args:
        graph: of `band`, whether the classifier knows the nuisance: what no model knows exactly, those with the graph
            about, so that this bounds them all. False: a classifier that sees the node alone, and then it is exact.
        rounds: of `effort`, how many modalities it can read of a node; longer paths tell it nothing. None: all.
        seen: numbers of the modalities that it is given; None: all.
    """
    o, c = drawn.options, drawn.options["classes"]
    mask = drawn.mask & np.isin(np.arange(o["modalities"]), range(o["modalities"]) if seen is None else seen)
    variance = max(o["noise"] ** 2, 1e-4)
    told = dict(
        band=lambda x: _band(x[..., :c], drawn, mask, variance, graph),
        phase=lambda x: _phase(x, mask, c, variance),
        effort=lambda x: _effort(x[..., :c], x[..., c : c + o["modalities"]], mask, variance, o["deep"], rounds),
        reliability=lambda x: _reliability(x[..., :c], x[..., c], mask, variance),
    )
    log_p = sum(np.log(np.maximum(o[k] * told[k](x) + (1 - o[k]) / c, 1e-300)) for k, x in drawn.blocks.items())
    return _softmax(log_p)


def _softmax(z: np.ndarray) -> np.ndarray:
    w = np.exp(z - z.max(-1, keepdims=True))
    return w / w.sum(-1, keepdims=True)


def _band(code: np.ndarray, drawn: Drawn, mask: np.ndarray, variance: float, graph: bool) -> np.ndarray:
    if not graph:
        return _softmax((code * mask[..., None]).sum(1) / (variance + drawn.options["nuisance"] ** 2))
    told = ((code - drawn.nuisance) * mask[..., None]).sum(1)  # [N, C]
    if drawn.options["frequency"] == "low":
        pooled = np.zeros((drawn.group.max() + 1, told.shape[1]))
        np.add.at(pooled, drawn.group, told)
        told = pooled[drawn.group]
    return _softmax(told / variance)


def _phase(x: np.ndarray, mask: np.ndarray, classes: int, variance: float) -> np.ndarray:
    x, there = x * mask[..., None], mask.sum(1)
    log_p = []
    for symbol in range(classes):
        back = np.roll(x[:, 1:], -shift(symbol, classes, x.shape[2]), axis=2)
        log_p.append(((x[:, 0] + back.sum(1)) ** 2).sum(1) / (2 * variance * (variance + there)))
    return _softmax(np.stack(log_p, axis=1))


def _effort(code, pointer, mask, variance: float, deep: float, rounds: int | None) -> np.ndarray:
    n, m, c = code.shape
    symbol = _softmax(code * mask[..., None] / variance)  # [N, M, C]; uniform where missing
    log_pointer = np.log(np.maximum(_softmax(pointer * mask[..., None] / variance), 1e-300))
    log_place, told = [], []
    for need in range(1, m + 1):
        prior = (1 - deep if need == 1 else deep / (m - 1)) if m > 1 else 1.0
        for rest in itertools.permutations(range(1, m), need - 1):
            path = (0, *rest)
            log_p = sum(log_pointer[:, a, b] for a, b in zip(path, (*rest, path[-1]), strict=True))
            odds = prior / math.perm(m - 1, need - 1) * m**need  # a pointer beside the path is one of m
            log_place.append(log_p + math.log(max(odds, 1e-300)))
            told.append(symbol[:, path[-1]] if need <= (rounds or m) else np.full((n, c), 1 / c))
    return (_softmax(np.stack(log_place, 1))[..., None] * np.stack(told, 1)).sum(1)


def _reliability(code: np.ndarray, mark: np.ndarray, mask: np.ndarray, variance: float) -> np.ndarray:
    log_place = np.where(mask, (mark - 0.5) / variance, 0)  # [N, M], of the modality behind it
    place = _softmax(np.roll(log_place, -1, axis=1))
    return (place[..., None] * _softmax(code * mask[..., None] / variance)).sum(1)


def bayes_accuracy(
    *, graph: bool = True, rounds: int | None = None, seen: tuple | None = None, draws: int = 50_000, **options
) -> float:
    """Accuracy of the best classifier: the mean of max_y p(y | data) over `draws` nodes (standard error below 0.5 /
    sqrt(draws); with `frequency="low"` below 0.5 / sqrt(groups)).

    The figure is exact where `band` is off and the graph tells nothing (homophily 0). With `band` it is exact for
    graph=False, what a model can reach that sees the node alone, and with the graph an upper bound for all models, near
    which the difference from the neighbours' mean comes when there are many of them.

    Args:
        graph, rounds, seen: see `posterior`.
        options: as for `load`, which has the defaults.
    """
    drawn = draw(**{**options, "nodes": draws})
    return float(posterior(drawn, graph=graph, rounds=rounds, seen=seen).max(1).mean())

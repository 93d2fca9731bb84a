"""Planted truth: what the modalities share, hold alone or hold only together is set, the best accuracy known.

The label y is uniform on C classes. Three kinds of symbols in 0 ... C-1 carry it, each equal to y with the
probability its knob says and otherwise uniform:

- redundant: one copy r of y, written into every modality;
- unique: a copy u_m of its own for every modality m;
- synergistic: a copy t = s_1 + ... + s_M mod C (XOR where C = 2), of which modality m holds s_m. Any M - 1 of
  the s_m are uniform and independent of y.

Modality m is Q_m [onehot(r); onehot(u_m); onehot(s_m)] + noise * N(0, I), Q_m [dim, 3 C] with orthonormal
columns. With synergy alone every modality is independent of y, and so is every proper subset of them. Logits
that are a sum f_1(x_1) + ... + f_M(x_M), so all linear and late fusion, have at best the cross-entropy of
guessing, log C: the risk is convex in the f_m and its gradient vanishes at 0. (Accuracy is no such measure: a
line puts three of the four cells of XOR right; but what is fitted by cross-entropy does not look for it.) The
joint optimum is `bayes_accuracy`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math

import jraph
import numpy as np

from fusion_jax.data import splits
from fusion_jax.data.base import Dataset, Provenance, Summary, edge_set
from fusion_jax.records import Target

SOURCE = "made here from its options"
LICENCE = "Apache-2.0"
FILES = None
CHECKSUM = ""  # of its options, see `load`
SUMMARY = Summary(nodes=1200, modalities={"m0": 16, "m1": 16, "m2": 16}, classes=3, graphs=("planted",))


def load(
    nodes: int = 1200,
    modalities: int = 3,
    classes: int = 3,
    dim: int = 16,
    redundant: float = 0.3,
    unique: float = 0.3,
    synergy: float = 0.3,
    noise: float = 0.2,
    missing: float = 0.0,
    homophily: float = 0.7,
    degree: int = 6,
    train: float = 0.3,
    val: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Modalities `m0`, `m1`, ... [dim each]; graph `planted` (none if degree is 0).

    Args:
        nodes, modalities, classes, dim: N, M, C and the width of every modality, at least 3 C.
        redundant, unique, synergy: in [0, 1], how surely each kind of symbol is the label.
        noise: standard deviation of the noise on every feature; the symbols have length 1.
        missing: in [0, 1), probability that a node lacks a modality; every node keeps at least one.
        homophily: in [0, 1], probability that an edge is drawn within a class; 1 / C makes the graph tell
            nothing.
        degree: mean number of neighbours, before double edges and loops are dropped.
        train, val: shares of the nodes of every class; the rest is test.
        seed: of the data; the split has its own.
    Raises:
        ValueError: an option out of range.
    """
    options = dict(locals())
    _check(**options)
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(nodes) % classes).astype(np.int32)
    mask = rng.random((nodes, modalities)) >= missing
    mask[np.flatnonzero(~mask.any(1)), rng.integers(modalities, size=int((~mask.any(1)).sum()))] = True
    shared = _copy(rng, labels, redundant, classes)
    alone = [_copy(rng, labels, unique, classes) for _ in range(modalities)]
    parts = list(rng.integers(classes, size=(modalities - 1, nodes)))
    parts.append((_copy(rng, labels, synergy, classes) - sum(parts)) % classes)
    onehot = np.eye(classes)
    features = {}
    for m in range(modalities):
        code = np.concatenate([onehot[shared], onehot[alone[m]], onehot[parts[m]]], axis=1)  # [N, 3 C]
        q = np.linalg.qr(rng.normal(size=(dim, 3 * classes)))[0]
        x = code @ q.T + noise * rng.normal(size=(nodes, dim))
        features[f"m{m}"] = np.where(mask[:, [m]], x, 0).astype(np.float32)
    graphs = {"planted": _graph(rng, labels, classes, homophily, degree)} if degree else {}
    return Dataset(
        name="synthetic",
        features=features,
        mask=mask,
        graphs=graphs,
        target=Target("classes", labels=labels, num_outputs=classes),
        splits=splits.fractions(labels, train, val),
        provenance=Provenance(SOURCE, LICENCE, _checksum(options)),
        class_names=tuple(str(c) for c in range(classes)),
        default_graph="planted" if degree else "",
    )


def _check(*, nodes, modalities, classes, dim, degree, noise, seed, **shares) -> None:
    least = dict(nodes=classes, modalities=1, classes=2, dim=3 * classes, degree=0, noise=0, seed=0)
    for name, value in dict(
        classes=classes, nodes=nodes, modalities=modalities, dim=dim, degree=degree, noise=noise, seed=seed
    ).items():
        if not value >= least[name]:
            raise ValueError(f"data set 'synthetic': {name}={value}, expected at least {least[name]}")
    for name, value in shares.items():
        if not 0 <= value <= 1 or (name == "missing" and value == 1):
            end = ")" if name == "missing" else "]"
            raise ValueError(f"data set 'synthetic': {name}={value}, expected a number in [0, 1{end}")


def _checksum(options: dict) -> str:
    """The sha256 of what determines the data; the arrays' own may differ in the last bit between machines."""
    return hashlib.sha256(("synthetic 1 " + json.dumps(options, sort_keys=True)).encode()).hexdigest()


def _copy(rng, labels: np.ndarray, knob: float, classes: int) -> np.ndarray:
    """The label with probability `knob`, else a class drawn uniformly."""
    return np.where(rng.random(len(labels)) < knob, labels, rng.integers(classes, size=len(labels)))


def _graph(rng, labels: np.ndarray, classes: int, homophily: float, degree: int) -> jraph.GraphsTuple:
    """nodes * degree / 2 undirected edges: a node drawn uniformly, its partner's class, one of that class."""
    n = len(labels)
    first = rng.integers(n, size=round(n * degree / 2))
    other = (labels[first] + rng.integers(1, classes, size=len(first))) % classes
    wanted = np.where(rng.random(len(first)) < homophily, labels[first], other)
    order, size = np.argsort(labels, kind="stable"), np.bincount(labels, minlength=classes)
    start = np.cumsum(size) - size
    second = order[start[wanted] + (rng.random(len(first)) * size[wanted]).astype(int)]
    keep = first != second
    pairs = np.stack([first[keep], second[keep]], 1)
    pairs = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
    return edge_set(pairs[:, 0], pairs[:, 1], n)


def bayes_accuracy(
    *,
    modalities: int = 3,
    classes: int = 3,
    redundant: float = 0.3,
    unique: float = 0.3,
    synergy: float = 0.3,
    noise: float = 0.2,
    missing: float = 0.0,
    seen: int | None = None,
    draws: int = 50_000,
) -> float:
    """Accuracy of the best classifier that sees the features of the node alone.

    The optimum says the class of the largest posterior, so its accuracy is E[max_y p(y | x)]. Given y the
    three kinds of symbols are independent, and a symbol with knob k is c with probability k [c = y] + (1 - k)
    / C. Of the noisy one-hot block z of a symbol only w = softmax(z / noise^2) matters, the posterior of the
    symbol under a uniform prior, and p(z | y) is proportional to k w_y + (1 - k) / C. A symbol written into
    several modalities has the product of its w, normalised; t has the circular convolution of the w of s_1
    ... s_M, because it is their sum mod C. Where a modality is missing t tells nothing.

    Without noise the expectation is a finite sum and exact; with noise it is the mean over `draws` nodes
    (standard error below 0.5 / sqrt(draws)). All are alike up to a shift of the classes, so y = 0 throughout.

    A graph of homophily 1 / C adds nothing and the figure holds for every model; with more homophily
    neighbours tell more, and the figure is what a model without the graph can reach, a lower bound on the
    joint optimum.

    Args:
        modalities, ..., missing: as for `load`.
        seen: how many of the modalities the classifier is given; all if None. Which ones does not matter.
    """
    seen = modalities if seen is None else seen
    if not 1 <= seen <= modalities:
        raise ValueError(f"seen={seen}, expected 1 ... {modalities}, the number of modalities")
    probability = _there(seen, modalities, missing)
    total = probability[0] / classes
    for there in range(1, seen + 1):
        if probability[there] > 0:
            knobs = redundant, unique, synergy if there == modalities else 0.0
            best = _noisy(classes, there, *knobs, noise, draws) if noise else _exact(classes, there, *knobs)
            total += probability[there] * best
    return float(total)


def _there(seen: int, modalities: int, missing: float) -> np.ndarray:
    """Probability that 0 ... seen of these modalities are there: binomial, and a node with none gets one."""
    p = [math.comb(seen, a) * (1 - missing) ** a * missing ** (seen - a) for a in range(seen + 1)]
    moved = missing**modalities * seen / modalities
    return np.array(p) + moved * np.eye(seen + 1)[1] - moved * np.eye(seen + 1)[0]


def _exact(classes: int, there: int, redundant: float, unique: float, synergy: float) -> float:
    """(1 / C) sum over r, t and the multiset of the u_m of max_y p(r, t, u | y)."""

    def channel(knob):
        return knob * np.eye(classes) + (1 - knob) / classes  # [symbol, y]

    rt = channel(redundant)[:, None] * channel(synergy)[None]  # [r, t, y]
    log_u = np.log(np.maximum(channel(unique), 1e-300))
    total = 0.0
    for symbols in itertools.combinations_with_replacement(range(classes), there):
        ways = math.factorial(there) / math.prod(math.factorial(n) for n in np.bincount(symbols) if n)
        total += ways * (rt * np.exp(log_u[list(symbols)].sum(0))).max(-1).sum()
    return float(total / classes)


def _noisy(
    classes: int, there: int, redundant: float, unique: float, synergy: float, noise: float, draws: int
) -> float:
    rng = np.random.default_rng(0)
    y = np.zeros(draws, int)

    def softmax(z):
        w = np.exp(z - z.max(-1, keepdims=True))
        return w / w.sum(-1, keepdims=True)

    def seen(symbols):  # [..., draws] -> z / noise^2
        z = np.eye(classes)[symbols] + noise * rng.normal(size=(*np.shape(symbols), classes))
        return z / noise**2

    r = softmax(seen(np.tile(_copy(rng, y, redundant, classes), (there, 1))).sum(0))  # [draws, C]
    u = softmax(seen(np.stack([_copy(rng, y, unique, classes) for _ in range(there)])))  # [there, draws, C]
    parts = rng.integers(classes, size=(there, draws))
    parts[-1] = (_copy(rng, y, synergy, classes) - parts[:-1].sum(0)) % classes
    spectrum = np.fft.rfft(softmax(seen(parts))).prod(0)
    t = np.maximum(np.fft.irfft(spectrum, classes), 0)
    log_p = sum(
        np.log(np.maximum(knob * w + (1 - knob) / classes, 1e-300))
        for knob, w in ((redundant, r), (synergy, t), *((unique, w) for w in u))
    )
    return float(softmax(log_p).max(-1).mean())

"""Regression in context: every graph is a star, whose middle is asked for what its neighbours are examples of.

Reference: He, Pan, Chen, Yang, "In-Context Linear Regression Demystified", ICML 2025 (arXiv 2503.12734), the sampler of
XintianPan/ICL_linear, commit 87ed34f.

    beta ~ N(0, I_d / d) of a star;  x ~ N(0, C), C_ij = correlation^|i - j|;  y = beta . x + sqrt(noise) N(0, 1)

Modality `x` is x, modality `y` is y; the query, in the middle, has a 0 in the place of its y, which is its target (as
noisy as the others). The 0 is data, as in the paper: were it missing, no training row would have the modality, and it
would be treated as missing everywhere. Scalers are fitted on these rows: take data.scale "none".
Edges lead from the context to its query: nothing of a star reaches another, and no node tells anything of beta alone.
In the set of edges `causal` the context stands in a row besides, each before all behind it.

Ours: the star; a finite set of stars, of which a share is trained on, where the paper draws 256 anew for every step.
`ridge` is the best that can be said.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from fusion_jax.arrays import refuse
from fusion_jax.data import splits
from fusion_jax.data._planted import LICENCE, SOURCE, completed, provenance
from fusion_jax.data.base import Dataset, Summary, edge_set
from fusion_jax.records import Target

FILES = None
CHECKSUM = ""  # of its options, see `load`
SUMMARY = Summary(nodes=82000, modalities={"x": 5, "y": 1}, classes=1, graphs=("stars",))

__all__ = ["LICENCE", "SOURCE", "Drawn", "draw", "load", "ridge"]


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Samples, one a star. G stars, L examples in each.

    Attributes:
        options: what it was drawn with.
        x: [G, L + 1, d], the examples', the query's last.
        y: [G, L + 1].
        beta: [G, d].
    """

    options: dict
    x: np.ndarray
    y: np.ndarray
    beta: np.ndarray


def load(
    stars: int = 2000,
    context: int = 40,
    dim: int = 5,
    noise: float = 0.1,
    correlation: float = 0.0,
    causal: bool = False,
    train: float = 0.6,
    val: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Modalities `x` [d] and `y` [1]; graph `stars` (a batch of G); target values [N, 1], of queries.

    Args:
        stars, context, dim: G, L and d.
        noise: the variance of what is added to y.
        correlation: in (-1, 1), of neighbouring columns of x.
        causal: whether there is the set of edges `causal` too, of L (L - 1) / 2 + L edges a star.
        train, val: shares of the stars; the rest is test.
        seed: of the data; the split has its own.
    Raises:
        ValueError: an option out of range.
    """
    options = dict(locals())
    drawn = draw(**options)
    size = context + 1
    n = stars * size
    middles = np.arange(context, n, size)
    asked = np.zeros(n, bool)
    asked[middles] = True
    star_of = np.full(n, -1)
    star_of[middles] = np.arange(stars)
    y = drawn.y.reshape(n, 1)
    sets = {"stars": [(i, context) for i in range(context)]}
    if causal:
        sets["causal"] = [(i, j) for j in range(size) for i in range(j)]
    graphs = {}
    for name, pairs in sets.items():
        ends = (np.array(pairs) + size * np.arange(stars)[:, None, None]).reshape(-1, 2)
        graphs[name] = edge_set(*ends.T, np.full(stars, size, np.int32))
    return Dataset(
        name="icl_linear_regression",
        features={
            "x": drawn.x.reshape(n, dim).astype(np.float32),
            "y": np.where(asked[:, None], 0, y).astype("float32"),
        },
        mask=np.ones((n, 2), bool),
        graphs=graphs,
        target=Target("values", values=np.where(asked[:, None], y, 0).astype(np.float32), num_outputs=1),
        splits=splits.whole_groups(star_of, train, val, called="stars"),
        provenance=provenance("icl_linear_regression", options),
        default_graph="stars",
        labelled=asked,
    )


def draw(**options) -> Drawn:
    """What `load` makes its data set from, by the same options and defaults.

    Raises:
        ValueError: an option out of range, or that `load` has not.
    """
    o = completed("icl_linear_regression", load, options)
    _check(**o)
    rng = np.random.default_rng(o["seed"])
    stars, size, dim = o["stars"], o["context"] + 1, o["dim"]
    apart = np.abs(np.subtract.outer(np.arange(dim), np.arange(dim)))
    root = np.linalg.cholesky(float(o["correlation"]) ** apart)
    beta = rng.normal(size=(stars, dim)) / np.sqrt(dim)
    x = rng.normal(size=(stars, size, dim)) @ root.T
    y = np.einsum("gld,gd->gl", x, beta) + np.sqrt(o["noise"]) * rng.normal(size=(stars, size))
    return Drawn(o, x, y, beta)


def _check(*, stars, context, dim, noise, correlation, causal, train, val, seed) -> None:
    where = "data set 'icl_linear_regression'"
    least = dict(stars=3, context=1, dim=1, seed=0)
    for name, value in dict(stars=stars, context=context, dim=dim, seed=seed).items():
        if type(value) is not int or value < least[name]:
            refuse(where, f"{name}={value!r}", f"a whole number, at least {least[name]}")
    for name, value, low, high in (
        ("noise", noise, 0, np.inf),
        ("train", train, 0, 1),
        ("val", val, 0, 1),
        ("correlation", abs(correlation) if isinstance(correlation, int | float) else correlation, 0, 1),
    ):
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value < high:
            within = "(-1, 1)" if name == "correlation" else "[0, 1)" if high == 1 else "[0, inf)"
            refuse(where, f"{name}={correlation if name == 'correlation' else value!r}", f"a number in {within}")
    if not isinstance(causal, bool):
        refuse(where, f"causal={causal!r}", "true or false")


def ridge(x: np.ndarray, y: np.ndarray, query: np.ndarray, noise: float) -> np.ndarray:
    """query . (X X' + noise d I)^-1 X y, the mean of the query's y given its examples.

    Args:
        x, y, query: [..., L, d], [..., L] and [..., d].
        noise: the variance of what is added to y.
    """
    d = x.shape[-1]
    gram = np.swapaxes(x, -1, -2) @ x + noise * d * np.eye(d)
    beta = np.linalg.solve(gram, np.einsum("...ld,...l->...d", x, y)[..., None])[..., 0]
    return (query * beta).sum(-1)

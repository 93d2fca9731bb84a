"""A planted regression target: a product and a sum of what two modalities hold, over a homophilous graph.

Every node has two latent numbers a, b ~ N(0, 1), independent. Modality `a` is a q_a + noise * N(0, I), modality
`b` likewise with b, q_a and q_b directions of length 1 in [dim]. The target is

    y = sqrt(interaction) a b + sqrt(1 - interaction) (a + b) / sqrt(2) + target_noise * N(0, 1)

whose first two parts have variance 1 together and are uncorrelated. Neither modality, nor any sum f(x_a) + g(x_b),
tells anything of the product. Edges join nodes that are near in (a, b), so that neighbours' features tell more of a
node's latents than its own do. `best_r2` has what can be explained.
"""

from __future__ import annotations

import hashlib
import json

import jraph
import numpy as np

from fusion_jax.data import splits
from fusion_jax.data.base import Dataset, Provenance, Summary, edge_set
from fusion_jax.records import Target

SOURCE = "made here from its options"
LICENCE = "Apache-2.0"
FILES = None
CHECKSUM = ""  # of its options, see `load`
SUMMARY = Summary(nodes=1000, modalities={"a": 8, "b": 8}, classes=1, graphs=("near",))


def load(
    nodes: int = 1000,
    dim: int = 8,
    interaction: float = 0.5,
    noise: float = 0.7,
    target_noise: float = 0.2,
    missing: float = 0.0,
    homophily: float = 0.9,
    degree: int = 8,
    train: float = 0.4,
    val: float = 0.2,
    seed: int = 0,
) -> Dataset:
    """Modalities `a` and `b` [dim each]; graph `near`; target values [N, 1].

    Args:
        nodes, dim: N and the width of both modalities.
        interaction: in [0, 1], share of the explained variance that is the product's.
        noise: standard deviation of the noise on every feature; the latents have 1.
        target_noise: standard deviation of what nothing explains.
        missing: in [0, 1), probability that a node lacks a modality; every node keeps at least one.
        homophily: in [0, 1], probability that an edge goes to one of the `degree` nearest nodes in (a, b), not to
            any node.
        degree: edges drawn from every node, before double edges and loops are dropped; both directions are kept.
        train, val: shares of the nodes; the rest is test.
        seed: of the data; the split has its own.
    Raises:
        ValueError: an option out of range.
    """
    options = dict(locals())
    _check(**options)
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=(nodes, 2))
    a, b = latent.T
    y = np.sqrt(interaction) * a * b + np.sqrt((1 - interaction) / 2) * (a + b)
    y = y + target_noise * rng.normal(size=nodes)
    absent = rng.random((nodes, 2)) < missing
    both = absent.all(1)
    absent[both, rng.integers(2, size=int(both.sum()))] = False
    features = {}
    for m, name in enumerate("ab"):
        q = rng.normal(size=dim)
        x = latent[:, [m]] * (q / np.linalg.norm(q)) + noise * rng.normal(size=(nodes, dim))
        features[name] = np.where(absent[:, [m]], 0, x).astype(np.float32)
    text = "synthetic_values 1 " + json.dumps(options, sort_keys=True)
    return Dataset(
        name="synthetic_values",
        features=features,
        mask=~absent,
        graphs={"near": _graph(rng, latent, homophily, degree)},
        target=Target("values", values=y[:, None].astype(np.float32), num_outputs=1),
        splits=splits.fractions(np.zeros(nodes), train, val, stratify=False),
        provenance=Provenance(SOURCE, LICENCE, hashlib.sha256(text.encode()).hexdigest()),
        default_graph="near",
    )


def _check(*, nodes, dim, noise, target_noise, degree, seed, **shares) -> None:
    least = dict(nodes=degree + 1, dim=1, noise=0, target_noise=0, degree=1, seed=0)
    given = dict(nodes=nodes, dim=dim, noise=noise, target_noise=target_noise, degree=degree, seed=seed)
    for name, value in given.items():
        if not value >= least[name]:
            raise ValueError(f"data set 'synthetic_values': {name}={value}, expected at least {least[name]}")
    for name, value in shares.items():
        if not 0 <= value <= 1 or (name == "missing" and value == 1):
            raise ValueError(f"data set 'synthetic_values': {name}={value}, expected a number in [0, 1]")


def _graph(rng, latent: np.ndarray, homophily: float, degree: int) -> jraph.GraphsTuple:
    """degree edges from every node, each to one of its nearest nodes or, rarely, to any."""
    n = len(latent)
    distance = ((latent[:, None] - latent[None]) ** 2).sum(-1)
    np.fill_diagonal(distance, np.inf)
    near = np.argsort(distance, axis=1, kind="stable")[:, :degree]
    other = np.where(rng.random(near.shape) < homophily, near, rng.integers(n, size=near.shape))
    pairs = np.stack([np.repeat(np.arange(n), degree), other.ravel()], 1)
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    pairs = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
    return edge_set(pairs[:, 0], pairs[:, 1], n)


def best_r2(
    *,
    interaction: float = 0.5,
    noise: float = 0.7,
    target_noise: float = 0.2,
    missing: float = 0.0,
    given: str = "own",
) -> float:
    """Expected R^2 of the conditional mean, 1 - target_noise^2 / var y with everything known.

    With rho = 1 / (1 + noise^2), the share of a latent's variance that its own noisy image tells, the explained
    variance is interaction rho^2 + (1 - interaction) rho given both modalities of the node, and
    (1 - interaction) rho / 2 given one.

    Args:
        interaction, noise, target_noise, missing: as for `load`.
        given: "latents", an upper bound for every model; "own", the features of the node itself, which is what a
            model without the graph can reach; "one", those of modality a alone, or of b alone.
    Raises:
        ValueError: another `given`.
    """
    rho = 1 / (1 + noise**2)
    two, one = interaction * rho**2 + (1 - interaction) * rho, (1 - interaction) * rho / 2
    there = (1 - missing) ** 2  # both modalities; otherwise exactly one, since every node keeps one
    explained = {"latents": 1.0, "own": there * two + (1 - there) * one, "one": (there + (1 - there) / 2) * one}
    if given not in explained:
        raise ValueError(f"given={given!r}, expected one of {tuple(explained)}")
    return explained[given] / (1 + target_noise**2)

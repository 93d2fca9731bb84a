"""What the planted sets of several tasks share: two modalities that hold a latent vector each, near nodes joined."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Callable
from typing import Any

import jraph
import numpy as np

from fusion_jax.data.base import Provenance, edge_set
from fusion_jax.zoo import nearest

SOURCE = "made here from its options"
LICENCE = "Apache-2.0"


@dataclasses.dataclass(frozen=True)
class Planted:
    """Nodes with two latent vectors.

    Attributes:
        a, b: float [N, latents], N(0, I) each, independent.
        features: {"a": [N, dim], "b": [N, dim]}, the image of each under orthonormal directions, with noise; 0 where
            it is missing.
        mask: bool [N, 2].
        near: the edge set that joins nodes with those nearest to them in (a, b), in both directions.
    """

    a: np.ndarray
    b: np.ndarray
    features: dict[str, np.ndarray]
    mask: np.ndarray
    near: jraph.GraphsTuple


def draw(
    name: str,
    rng: np.random.Generator,
    *,
    nodes: int,
    latents: int,
    dim: int,
    noise: float,
    missing: float,
    degree: int,
) -> Planted:
    """Draws the nodes.

    Args:
        name: of the data set, for errors.
        nodes, latents, dim: N, the width of a latent vector and of a modality, which is at least as large.
        noise: standard deviation of the noise on every feature; a latent number has 1.
        missing: in [0, 1), probability that a node lacks a modality; every node keeps at least one.
        degree: how many of its nearest nodes each is joined with.
    Raises:
        ValueError: an option out of range.
    """
    least = dict(nodes=degree + 1, dim=latents, noise=0, degree=1)
    for option, value in dict(nodes=nodes, dim=dim, noise=noise, degree=degree).items():
        if not value >= least[option]:
            raise ValueError(f"data set {name!r}: {option}={value}, expected at least {least[option]}")
    if not 0 <= missing < 1:
        raise ValueError(f"data set {name!r}: missing={missing}, expected a number in [0, 1)")
    a, b = rng.normal(size=(2, nodes, latents))
    mask = rng.random((nodes, 2)) >= missing
    mask[np.flatnonzero(~mask.any(1)), rng.integers(2, size=int((~mask.any(1)).sum()))] = True
    features = {}
    for m, (modality, latent) in enumerate(dict(a=a, b=b).items()):
        q = np.linalg.qr(rng.normal(size=(dim, latents)))[0]
        x = latent @ q.T + noise * rng.normal(size=(nodes, dim))
        features[modality] = np.where(mask[:, [m]], x, 0).astype(np.float32)
    return Planted(a, b, features, mask, _near(np.concatenate([a, b], 1), degree))


def _near(latent: np.ndarray, degree: int) -> jraph.GraphsTuple:
    """Both directions between every node and its nearest ones."""
    n = len(latent)
    square = (latent**2).sum(1)
    distance = square[:, None] + square - 2 * latent @ latent.T
    np.fill_diagonal(distance, np.inf)
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :degree]
    pairs = np.stack([np.repeat(np.arange(n), degree), nearest.ravel()], 1)
    pairs = np.unique(np.concatenate([pairs, pairs[:, ::-1]]), axis=0)
    return edge_set(pairs[:, 0], pairs[:, 1], n)


def completed(name: str, load: Callable, options: dict[str, Any]) -> dict[str, Any]:
    """Options with the defaults of `load` for those that are not given.

    Raises:
        ValueError: an option that `load` has not.
    """
    known = {option: parameter.default for option, parameter in inspect.signature(load).parameters.items()}
    for option in options:
        if option not in known:
            guess = nearest(option, known)
            raise ValueError(f"data set {name!r}: no option {option!r}{guess}; expected some of {', '.join(known)}")
    return known | options


def provenance(name: str, options: dict[str, Any]) -> Provenance:
    """That of a set that its options determine."""
    text = f"{name} 1 " + json.dumps(options, sort_keys=True)
    return Provenance(SOURCE, LICENCE, hashlib.sha256(text.encode()).hexdigest())
